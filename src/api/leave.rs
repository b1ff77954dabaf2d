//! Leaving a call by `longjmp`: a clean-up, or whatever else a plug-in was called
//! for, may jump to a place that was set before the call.
//!
//! Such a jump drops the frames in between without a word, so what they still
//! had to do would be lost. glibc offers one way to hear of it: the handlers of
//! `pthread_cleanup_push` in its older form, which `longjmp` calls for the frames
//! that it leaves (as does `pthread_exit`, which does not come this far: see
//! [`foreign`](super::foreign)). The handler does the rest there and then, on the
//! stack of the frames that are left, and the jump goes on.
//!
//! On other systems nobody is told, and `longjmp` out of a call must not be.
//!
//! Source: glibc, `nptl/cleanup_compat.c`, `nptl/unwind.c`, `sysdeps/nptl/jmp-unwind.c`.

/// Calls `f`. Where `f` is left by `longjmp`, calls `rest` before the jump is done.
/// Nothing in the frames between here and the jump is dropped then.
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
pub(crate) fn or_rest<T>(rest: &dyn Fn(), f: impl FnOnce() -> T) -> T {
    use core::ffi::{c_int, c_void};

    /// `struct _pthread_cleanup_buffer`.
    #[repr(C)]
    struct Buffer {
        routine: unsafe extern "C" fn(*mut c_void),
        argument: *mut c_void,
        cancel_type: c_int,
        previous: *mut Buffer,
    }

    unsafe extern "C" {
        fn _pthread_cleanup_push(
            buffer: *mut Buffer,
            routine: unsafe extern "C" fn(*mut c_void),
            argument: *mut c_void,
        );
        fn _pthread_cleanup_pop(buffer: *mut Buffer, execute: c_int);
    }

    /// # Safety
    ///
    /// - S1 `rest` is the address of a `&dyn Fn()` that is alive.
    unsafe extern "C" fn routine(rest: *mut c_void) {
        // SAFETY: S1.
        let rest = unsafe { *rest.cast::<&dyn Fn()>() };
        rest();
    }

    let argument = (&raw const rest).cast_mut().cast();
    let mut buffer = Buffer { routine, argument, cancel_type: 0, previous: core::ptr::null_mut() };
    // SAFETY: the buffer stays where it is until it is popped, below, or left: its
    // frame is one of those that `longjmp` leaves only after the call of `routine`.
    unsafe { _pthread_cleanup_push(&raw mut buffer, routine, argument) };
    let result = f();
    // SAFETY: pushed above, and what came after it was popped.
    unsafe { _pthread_cleanup_pop(&raw mut buffer, 0) };
    result
}

/// Calls `f`, which must not be left by `longjmp` here.
#[cfg(not(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")))]
pub(crate) fn or_rest<T>(_rest: &dyn Fn(), f: impl FnOnce() -> T) -> T {
    f()
}
