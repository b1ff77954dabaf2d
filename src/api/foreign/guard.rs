//! A call through a frame that handles foreign exceptions, on Linux on x86-64.
//!
//! The frame is a few instructions with a personality routine of their own, which claims to
//! handle the exception. The unwinder then continues at the landing, which disposes of the
//! exception, notes what it was, and returns.
//!
//! Source: Itanium C++ ABI, Exception Handling, 1.6 (personality routine) and
//! 1.4 (foreign exceptions).

#[cfg(feature = "capi")]
use core::cell::Cell;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::transmute;
use core::ptr;
#[cfg(feature = "capi")]
use core::ptr::NonNull;

use super::{Foreign, Function, Note};
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// `_Unwind_Action`: the search for a handler; nothing was unwound yet.
const SEARCH_PHASE: c_int = 1;
/// `_Unwind_Action`: no frame may handle this, because the thread ends.
const FORCE_UNWIND: c_int = 8;
/// `_Unwind_Reason_Code`s.
const HANDLER_FOUND: c_int = 6;
const INSTALL_CONTEXT: c_int = 7;
const CONTINUE_UNWIND: c_int = 8;
/// The class of Rust's own exceptions, in either byte order.
const RUST: [u64; 2] = [u64::from_ne_bytes(*b"MOZ\0RUST"), u64::from_ne_bytes(*b"TSUR\0ZOM")];
/// The class of C++ exceptions, without the last byte.
const CPP: u64 = u64::from_be_bytes(*b"GNUCC++\0");
/// DWARF's number of `rax`, where the landing expects the exception.
const RAX: c_int = 0;

core::arch::global_asm!(
    ".pushsection .text.expert_alloc_guarded_call,\"ax\",@progbits",
    ".hidden expert_alloc_guarded_call",
    ".globl expert_alloc_guarded_call",
    ".type expert_alloc_guarded_call,@function",
    "expert_alloc_guarded_call:",
    ".cfi_startproc",
    // 0x1b: relative to here, four bytes.
    ".cfi_personality 0x1b, {personality}",
    "sub rsp, 8",
    ".cfi_def_cfa_offset 16",
    "mov [rsp], rcx",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "call rax",
    "mov eax, 1",
    "2:",
    "add rsp, 8",
    ".cfi_def_cfa_offset 8",
    "ret",
    ".hidden expert_alloc_guarded_landing",
    ".globl expert_alloc_guarded_landing",
    "expert_alloc_guarded_landing:",
    ".cfi_def_cfa_offset 16",
    "mov rdi, rax",
    "mov rsi, [rsp]",
    "call {dispose}",
    "xor eax, eax",
    "jmp 2b",
    // At the end of the thread, its exception is the result.
    ".hidden expert_alloc_guarded_exit",
    ".globl expert_alloc_guarded_exit",
    "expert_alloc_guarded_exit:",
    "jmp 2b",
    ".cfi_endproc",
    ".size expert_alloc_guarded_call, . - expert_alloc_guarded_call",
    ".popsection",
    personality = sym personality,
    dispose = sym dispose,
);

unsafe extern "C-unwind" {
    /// Calls the function with two words. Returns 1 if it returned, 0 after a
    /// foreign exception, which is noted, and the address of the exception if the
    /// thread ends.
    fn expert_alloc_guarded_call(
        function: Function,
        one: *mut c_void,
        two: *mut c_void,
        note: *mut c_void,
    ) -> *mut c_void;

    /// The address at which the call continues after a foreign exception. It must not be
    /// called.
    fn expert_alloc_guarded_landing();

    /// The address at which the call continues when the thread ends. It must not be called.
    fn expert_alloc_guarded_exit();

    #[cfg(feature = "capi")]
    fn _Unwind_Resume(exception: *mut c_void) -> !;
}

unsafe extern "C" {
    fn _Unwind_SetGR(context: *mut c_void, register: c_int, value: usize);
    fn _Unwind_SetIP(context: *mut c_void, address: usize);
    fn _Unwind_DeleteException(exception: *mut c_void);
}

/// The beginning of every exception (`_Unwind_Exception`).
#[repr(C)]
struct Header {
    class: u64,
    /// The function that deletes it; each runtime has its own.
    cleanup: usize,
}

/// The address of the function that deletes panics of this library's runtime; 0 while
/// unknown. It never changes once it is known, so it orders nothing.
static OWN: AtomicUsize = AtomicUsize::new(0);

/// Learns [`OWN`] from a panic.
#[cold]
fn learn() {
    unsafe extern "C-unwind" fn panics(_: *mut c_void, _: *mut c_void) {
        std::panic::resume_unwind(std::boxed::Box::new(()));
    }
    // The personality routine takes the first Rust exception for our own.
    let caught = std::panic::catch_unwind(|| {
        let mut note = Note::NONE;
        let note = (&raw mut note).cast();
        // SAFETY: the function uses no words, and the note is a `Note`.
        unsafe { expert_alloc_guarded_call(panics, ptr::null_mut(), ptr::null_mut(), note) }
    });
    debug_assert!(caught.is_err() && OWN.load(Relaxed) != 0);
}

/// Whether an exception is a panic of this library's own runtime.
///
/// # Safety
///
/// - S1 `exception` is one that is being thrown.
unsafe fn is_own(class: u64, exception: *mut c_void) -> bool {
    // A runtime that aborts throws nothing.
    if cfg!(panic = "abort") || !RUST.contains(&class) {
        return false;
    }
    // SAFETY: S1.
    let cleanup = unsafe { exception.cast::<Header>().as_ref() }.map_or(0, |head| head.cleanup);
    match OWN.compare_exchange(0, cleanup, Relaxed, Relaxed) {
        Ok(_) => true,
        Err(own) => own == cleanup,
    }
}

/// Deletes an exception that was caught, and notes its kind.
///
/// # Safety
///
/// - S1 `exception` was just caught, and no other code knows it.
/// - S2 `note` is the [`Note`] of the call, and nobody else uses it now.
unsafe extern "C" fn dispose(exception: *mut c_void, note: *mut c_void) {
    // SAFETY: S1.
    let Some(header) = (unsafe { exception.cast::<Header>().as_ref() }) else { return };
    // SAFETY: S2.
    let note = unsafe { &mut *note.cast::<Note>() };
    if RUST.contains(&header.class) {
        note.what = Foreign::Rust;
        // Its runtime aborts the process if another runtime deletes it, so it leaks, with
        // the values that it owns.
        return;
    }
    note.what = Foreign::Other(header.class);
    if header.class & !0xFF == CPP {
        note.what = Foreign::Cpp;
        // This makes the runtime that threw it count it as caught.
        let find = |name| find(name, header.cleanup);
        if let (Some(begin), Some(end)) = (find(c"__cxa_begin_catch"), find(c"__cxa_end_catch")) {
            // SAFETY: `void *__cxa_begin_catch(void *)`, of the C++ ABI.
            let begin: unsafe extern "C" fn(*mut c_void) -> *mut c_void =
                unsafe { transmute(begin) };
            // SAFETY: `void __cxa_end_catch(void)`.
            let end: unsafe extern "C-unwind" fn() = unsafe { transmute(end) };
            // SAFETY: S1.
            unsafe { begin(exception) };
            if let Some(current) = find(c"__cxa_current_exception_type") {
                // SAFETY: `std::type_info *__cxa_current_exception_type(void)`.
                let current: unsafe extern "C" fn() -> *const TypeInfo =
                    unsafe { transmute(current) };
                // SAFETY: an exception is being handled.
                let thrown = unsafe { current() };
                // SAFETY: S1: what the runtime says of the exception at hand.
                unsafe { note_type(note, thrown) };
            }
            // SAFETY: ends what was begun. A destructor that throws ends the
            // process, as in C++.
            return unsafe { end() };
        }
    }
    // SAFETY: S1.
    unsafe { _Unwind_DeleteException(exception) };
}

/// The beginning of a `std::type_info`.
#[repr(C)]
struct TypeInfo {
    _functions: *const c_void,
    /// The type's mangled name.
    name: *const c_char,
}

/// Notes the name of a C++ type.
///
/// # Safety
///
/// - S1 `thrown` is null, or the `type_info` of a type.
unsafe fn note_type(note: &mut Note, thrown: *const TypeInfo) {
    // SAFETY: S1.
    let Some(thrown) = (unsafe { thrown.as_ref() }) else { return };
    if !thrown.name.is_null() {
        // SAFETY: S1: a string.
        let name = unsafe { CStr::from_ptr(thrown.name) }.to_bytes();
        // A type that is known in one library only begins with an asterisk.
        note.set_name(name.strip_prefix(b"*").unwrap_or(name));
    }
}

/// The function of this name in the library that has the code at `beside`. A plug-in may
/// bring a C++ runtime of its own, which other libraries do not see.
fn find(name: &CStr, beside: usize) -> Option<core::ptr::NonNull<c_void>> {
    let library = library_of(beside)?;
    // SAFETY: a string; the library is loaded, and is not loaded anew.
    let handle = unsafe { libc::dlopen(library.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    let handle = core::ptr::NonNull::new(handle)?;
    // SAFETY: a handle, and a string.
    let found = unsafe { libc::dlsym(handle.as_ptr(), name.as_ptr()) };
    // SAFETY: the handle; the library stays loaded, because its code is in use.
    unsafe { libc::dlclose(handle.as_ptr()) };
    let found = core::ptr::NonNull::new(found)?;
    // A function of a library that this one depends on does not count.
    (library_of(found.addr().get())?.dli_fbase == library.dli_fbase).then_some(found)
}

/// The library that has the code at an address.
fn library_of(address: usize) -> Option<libc::Dl_info> {
    let mut library = core::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: any address may be asked for; the place is one of ours.
    let known =
        unsafe { libc::dladdr(core::ptr::without_provenance(address), library.as_mut_ptr()) };
    // SAFETY: written, because the address is known.
    (known != 0).then(|| unsafe { library.assume_init() })
}

#[cfg(feature = "capi")]
std::thread_local! {
    /// The end of this thread that a call met and that has not continued yet.
    static PUT_OFF: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
}

/// The end of this thread (`pthread_exit`, a cancellation), put off.
#[cfg(feature = "capi")]
pub(crate) struct Exit(NonNull<c_void>);

#[cfg(feature = "capi")]
impl Exit {
    /// Continues the end of the thread, from the caller's frame up.
    ///
    /// # Safety
    ///
    /// - S1 no frame of Rust code above has a value to drop, or would catch the end.
    pub(crate) unsafe fn go_on(self) -> ! {
        // SAFETY: the exception was caught by the guarded call, and the unwinder
        // begins anew at the frame that it is called from.
        unsafe { _Unwind_Resume(self.0.as_ptr()) }
    }
}

/// Calls `f`, and returns the end of this thread that a guarded call in `f` met. Such a
/// call returns `false`, and the thread goes on, so the caller can finish its work first.
#[cfg(feature = "capi")]
pub(crate) fn put_off<T>(f: impl FnOnce() -> T) -> (T, Option<Exit>) {
    let outer = PUT_OFF.try_with(|exit| exit.replace(ptr::null_mut()));
    let result = f();
    let exit = PUT_OFF.try_with(|exit| exit.replace(outer.unwrap_or(ptr::null_mut())));
    (result, exit.ok().and_then(NonNull::new).map(Exit))
}

/// Learns [`OWN`] ahead of the first call.
pub(crate) fn prepare() {
    if cfg!(panic = "unwind") && OWN.load(Relaxed) == 0 {
        learn();
    }
}

/// Calls the function with two words, and returns whether the function returned. Any other
/// end is noted.
///
/// # Safety
///
/// - S1 the function may be called with the words, from this thread.
pub(super) unsafe fn returns(
    function: Function,
    one: *mut c_void,
    two: *mut c_void,
    note: &mut Note,
) -> bool {
    prepare();
    let place = ptr::from_mut(note).cast();
    // SAFETY: S1.
    let result = unsafe { expert_alloc_guarded_call(function, one, two, place) };
    if result.addr() > 1 {
        note.what = Foreign::Exit;
        // If there is no place for it any more, the thread ends anyway. If no call from C
        // is waiting, the end of the thread is dropped.
        #[cfg(feature = "capi")]
        PUT_OFF.try_with(|exit| exit.set(result)).ok();
    }
    result.addr() == 1
}

/// As [`returns`], for a function of one word.
///
/// # Safety
///
/// - S1 the function may be called with the word, from this thread.
pub(super) unsafe fn returns_of_one(
    function: unsafe extern "C-unwind" fn(*mut c_void),
    word: *mut c_void,
    note: &mut Note,
) -> bool {
    // SAFETY: in this ABI the first word is in the same place whether or not
    // another follows.
    let function =
        unsafe { transmute::<unsafe extern "C-unwind" fn(*mut c_void), Function>(function) };
    // SAFETY: S1.
    unsafe { returns(function, word, ptr::null_mut(), note) }
}

/// Tells the unwinder what the frame of `expert_alloc_guarded_call` does
/// about an exception: handle a foreign one, keep the end of a thread for
/// later, let pass a panic of this library's runtime.
///
/// # Safety
///
/// - S1 called by the unwinder, for that frame.
unsafe extern "C" fn personality(
    _version: c_int,
    actions: c_int,
    class: u64,
    exception: *mut c_void,
    context: *mut c_void,
) -> c_int {
    let is_exit = actions & FORCE_UNWIND != 0;
    // SAFETY: S1: it is being thrown.
    if !is_exit && unsafe { is_own(class, exception) } {
        return CONTINUE_UNWIND;
    }
    if actions & SEARCH_PHASE != 0 {
        return HANDLER_FOUND;
    }
    // SAFETY: S1: the context is the frame's.
    unsafe { _Unwind_SetGR(context, RAX, exception.expose_provenance()) };
    let landing: unsafe extern "C-unwind" fn() =
        if is_exit { expert_alloc_guarded_exit } else { expert_alloc_guarded_landing };
    // SAFETY: S1; both expect the frame as it was at the call.
    unsafe { _Unwind_SetIP(context, landing as usize) };
    INSTALL_CONTEXT
}
