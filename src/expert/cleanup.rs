//! Clean-ups: closures that run when an expert ends, before its memory is freed. They
//! release everything that is not memory: files, sockets, registrations.
//!
//! A clean-up lies in a block of the host, so it is not among the blocks that are
//! reclaimed, and counts against no quota.
//!
//! Invariants
//!
//! - CLEANUP1 each node in the list came from [`Cleanups::push`], is owned by the
//!   list, and its closure has not been called.
//! - CLEANUP2 each node is a `Holding<F>` with the `F` that its `call` is for.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::engine::{Engine, Kind};
use crate::error::Error;
use crate::sync::AtomicPtr;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

/// The clean-ups of one expert, last registered first.
pub struct Cleanups(AtomicPtr<Node>);

struct Node {
    next: *mut Node,
    layout: Layout,
    call: unsafe fn(NonNull<Node>, &dyn Fn()),
}

#[repr(C)]
struct Holding<F> {
    node: Node,
    closure: F,
}

impl Cleanups {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// Adds a clean-up, to be run before those added so far.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if the host has no memory for it.
    pub(crate) fn push<E, F>(&self, engine: E, closure: F) -> Result<(), Error>
    where
        E: Engine,
        F: FnOnce() + Send + 'static,
    {
        let layout = Layout::new::<Holding<F>>();
        let block = engine.allocate(engine.host(), Kind::Ambient, layout, false)?;
        let holding = block.cast::<Holding<F>>();
        let node = Node { next: core::ptr::null_mut(), layout, call: call::<F> };
        // SAFETY: a fresh block of this layout.
        unsafe { holding.write(Holding { node, closure }) };
        self.link(holding.cast());
        Ok(())
    }

    fn link(&self, node: NonNull<Node>) {
        let mut first = self.0.load(Relaxed);
        loop {
            // SAFETY: the node is not in the list yet, so it is this thread's alone.
            unsafe { (*node.as_ptr()).next = first };
            // Release: publishes the node to `run`. Nodes are always taken all together, so
            // an unchanged first node means an unchanged list.
            match self.0.compare_exchange_weak(first, node.as_ptr(), Release, Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// Whether there is no clean-up.
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: nothing is read behind the pointer here; `run_next` orders its own reads.
        self.0.load(Relaxed).is_null()
    }

    /// Takes the clean-up that was registered last, runs it, and returns whether it
    /// returned. A panic ends that one only. `None` if none is left.
    ///
    /// Nothing of the clean-up is kept while it runs. So nothing is lost if it never comes
    /// back, because it leaves by `longjmp`, and the next call takes the next one.
    ///
    /// Only the thread that ends the expert calls this, when no thread adds clean-ups any
    /// more.
    pub(crate) fn run_next<E: Engine>(&self, engine: E) -> Option<bool> {
        // Acquire: pairs with the Release in `link`.
        let node = NonNull::new(self.0.load(Acquire))?;
        // SAFETY: CLEANUP1.
        let Node { next, layout, call } = unsafe { node.read() };
        // Relaxed: nobody else uses the list.
        self.0.store(next, Relaxed);
        // SAFETY: S1: from `allocate` with this layout; `call` has taken the closure.
        let free = || unsafe { engine.deallocate(node.cast(), layout) };
        // SAFETY: CLEANUP1 and CLEANUP2 are the duties of `call`; the node is not used again.
        Some(returns(|| unsafe { call(node, &free) }))
    }
}

/// Takes the closure out of a node, calls `free` for the node, then the closure. The
/// closure is dropped afterwards, even after a panic.
///
/// # Safety
///
/// - S1 the node is a `Holding<F>`, its closure neither called nor in use.
unsafe fn call<F: FnOnce()>(node: NonNull<Node>, free: &dyn Fn()) {
    let holding = node.cast::<Holding<F>>().as_ptr();
    // SAFETY: S1: the block holds this type.
    let closure = unsafe { &raw const (*holding).closure };
    // SAFETY: S1: it is read once.
    let closure = unsafe { closure.read() };
    free();
    closure();
}

/// Calls `f`, and returns whether it returned instead of panicking.
#[cfg(feature = "std")]
fn returns(f: impl FnOnce()) -> bool {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    // The closure is gone after its panic, so no one can see an invariant that it
    // left broken.
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
        return true;
    };
    // The payload may be of any type, and may panic once more when it is dropped.
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        core::mem::forget(another);
    }
    false
}

/// Calls `f`. Without an operating system a panic is not caught.
#[cfg(not(feature = "std"))]
fn returns(f: impl FnOnce()) -> bool {
    f();
    true
}
