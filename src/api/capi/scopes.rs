//! Scopes in C: a stack of them for each thread.
//!
//! Each scope is noted in a block of the host, and the thread has the address of the last
//! one. It is one word, because the shared object's thread-local storage must fit into the
//! room that the loader keeps for libraries loaded at run time.

use core::alloc::Layout;
use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use super::{HEAP, HEXPERTKEY, code, guarded, key_of};
use crate::api::{foreign, leave, netmon};
use crate::engine::{Engine, HOST_KEY, Kind};
use crate::error::Error;
use crate::expert::home::{Ambient, Home};
use crate::heap::Entered;

/// A scope that was entered, and the scope around it.
struct Outer {
    entered: Entered,
    next: *mut Outer,
}

/// The scopes of one thread, the innermost first. Each is a block of the host that no other
/// code knows.
struct Scopes(Cell<*mut Outer>);

std::thread_local! {
    static SCOPES: Scopes = const { Scopes(Cell::new(ptr::null_mut())) };
}

impl Scopes {
    fn push(&self, entered: Entered) -> Result<(), Error> {
        let engine = HEAP.engine();
        let layout = Layout::new::<Outer>();
        let block = engine.allocate(engine.host(), Kind::Ambient, layout, false)?.cast::<Outer>();
        // SAFETY: a fresh block of this layout.
        unsafe { block.write(Outer { entered, next: self.0.get() }) };
        self.0.set(block.as_ptr());
        Ok(())
    }

    fn pop(&self) -> Option<Entered> {
        let block = NonNull::new(self.0.get())?;
        // SAFETY: a block of `push`, which only this thread uses.
        let Outer { entered, next } = unsafe { block.read() };
        self.0.set(next);
        // SAFETY: S1: from `allocate` with this layout; nobody knows it any more.
        unsafe { HEAP.engine().deallocate(block.cast(), Layout::new::<Outer>()) };
        Some(entered)
    }
}

impl Drop for Scopes {
    /// Leaves all scopes of a thread that ends inside them.
    fn drop(&mut self) {
        while let Some(entered) = self.pop() {
            HEAP.leave(entered);
        }
    }
}

/// Makes `key` the owner of what this thread allocates through the global
/// allocator, until `ExpertLeave`. Scopes nest.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// #[global_allocator]
/// static ALLOC: ExpertAlloc = ExpertAlloc::new();
///
/// let expert = ALLOC.expert("one").register()?;
/// let key = handle(expert.key());
/// assert_eq!(ExpertEnter(key), 0);
/// let text = String::from("the expert's");
/// assert_eq!(ExpertLeave(), 0);
/// assert_eq!(ALLOC.owner_of(text.as_ptr()), Some(expert.key()));
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertEnter(key: HEXPERTKEY) -> u32 {
    let entered = guarded(|| {
        let entered = netmon::enter(HEAP, key_of(key))?;
        let pushed = SCOPES.try_with(|scopes| scopes.push(entered));
        // If there is no place for the scope, as when the thread ends, `ExpertLeave` has
        // nothing to leave.
        pushed.unwrap_or(Err(Error::OutOfMemory)).inspect_err(|_| HEAP.leave(entered))
    });
    code(entered)
}

/// Ends the innermost scope of this thread.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// #[global_allocator]
/// static ALLOC: ExpertAlloc = ExpertAlloc::new();
///
/// let expert = ALLOC.expert("one").register()?;
/// let key = handle(expert.key());
/// ExpertEnter(key);
/// assert_eq!(ExpertLeave(), 0);
/// assert_ne!(ExpertLeave(), 0, "there is no scope any more");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertLeave() -> u32 {
    let left = guarded(|| {
        let entered = SCOPES.try_with(Scopes::pop).ok().flatten();
        HEAP.leave(entered.ok_or(Error::InvalidPointer)?);
        Ok(())
    });
    code(left)
}

/// The key of the expert in whose scope this thread is; the host's in none.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let key = handle(expert.key());
/// assert_ne!(ExpertCurrentKey(), key);
/// ExpertEnter(key);
/// assert_eq!(ExpertCurrentKey(), key);
/// ExpertLeave();
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertCurrentKey() -> HEXPERTKEY {
    super::handle(HEAP.current().unwrap_or(HOST_KEY))
}

/// Calls `function` in the scope of `key`; an exception or a panic becomes an error.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
/// use std::ffi::c_void;
///
/// #[global_allocator]
/// static ALLOC: ExpertAlloc = ExpertAlloc::new();
///
/// let expert = ALLOC.expert("one").register()?;
/// let key = handle(expert.key());
/// unsafe extern "C-unwind" fn fails(_: *mut c_void) {
///     panic!("a plug-in's");
/// }
/// // SAFETY: the function may be called with null.
/// let code = unsafe { ExpertCall(key, Some(fails), std::ptr::null_mut()) };
/// assert_eq!(code, 69, "NMERR_INTERNAL_EXCEPTION");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// # Safety
///
/// - S1 `function` is null, or may be called with `context`, from this thread.
#[unsafe(no_mangle)]
pub unsafe extern "system-unwind" fn ExpertCall(
    key: HEXPERTKEY,
    function: Option<unsafe extern "C-unwind" fn(*mut c_void)>,
    context: *mut c_void,
) -> u32 {
    let Some(function) = function else {
        return Error::InvalidPointer.nmerr();
    };
    // SAFETY: S1.
    let (code, exit) = unsafe { call_in(key, foreign::Call { function, context }) };
    if let Some(exit) = exit {
        // SAFETY: S1: nothing is left to drop here, and the callers are C.
        unsafe { exit.go_on() }
    }
    code
}

/// Makes a call in the scope of `key`, and leaves the scope however the function ends. A
/// `longjmp` out of the call is not done. Returns the code, and the end of this thread if the
/// function asked for it.
///
/// # Safety
///
/// - S1 the call may be made, from this thread.
pub(super) unsafe fn call_in(key: HEXPERTKEY, call: foreign::Call) -> (u32, Option<foreign::Exit>) {
    let entered = match guarded(|| netmon::enter(HEAP, key_of(key))) {
        Ok(entered) => entered,
        Err(why) => return (why.nmerr(), None),
    };
    let outer = SCOPES.try_with(|scopes| scopes.0.get()).ok();
    // SAFETY: S1.
    let returns = || unsafe { call.returns() };
    let (returned, exit) = foreign::put_off(|| leave::contained(returns));
    // This also leaves scopes that the function entered and did not leave.
    let is_inside = |scopes: &Scopes| Some(scopes.0.get()) != outer && scopes.pop().is_some();
    while SCOPES.try_with(is_inside).unwrap_or(false) {}
    HEAP.leave_all(entered);
    let result = if returned == Some(true) { Ok(()) } else { Err(Error::CleanupFailed) };
    (code(result), exit)
}
