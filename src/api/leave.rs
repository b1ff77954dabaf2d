//! Leaving a call by `longjmp`: a clean-up, or another function of a plug-in, may jump to a
//! place that was set before the call.
//!
//! Such a jump drops the frames in between silently, so the rest of their work would be
//! lost. glibc offers one way to hear of it: the handlers of `pthread_cleanup_push` in its
//! older form, which `longjmp` calls for the frames that it leaves (as does `pthread_exit`,
//! which does not come this far: see [`foreign`](super::foreign)). The handler does the
//! rest of the work on the stack of the frames that are left, and then the jump goes on.
//!
//! The handler may also refuse the jump, by going back to the frame of the call
//! itself: for a plug-in that would jump over its host.
//!
//! Other systems offer no such way, so code must not leave a call there by
//! `longjmp`.
//!
//! Source: glibc, `nptl/cleanup_compat.c`, `nptl/unwind.c`, `sysdeps/nptl/jmp-unwind.c`.

pub(crate) use system::{contained, or_rest};

#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
mod system {
    use core::ffi::{c_int, c_void};
    use core::ptr;

    /// `struct _pthread_cleanup_buffer`.
    #[repr(C)]
    struct Buffer {
        routine: unsafe extern "C" fn(*mut c_void),
        argument: *mut c_void,
        cancel_type: c_int,
        previous: *mut Buffer,
    }

    core::arch::global_asm!(
        ".pushsection .text.expert_alloc_jumpable_call,\"ax\",@progbits",
        ".hidden expert_alloc_jumpable_call",
        ".globl expert_alloc_jumpable_call",
        ".type expert_alloc_jumpable_call,@function",
        "expert_alloc_jumpable_call:",
        ".cfi_startproc",
        "push rbx",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbx, -16",
        "push rbp",
        ".cfi_def_cfa_offset 24",
        ".cfi_offset rbp, -24",
        "push r12",
        ".cfi_def_cfa_offset 32",
        ".cfi_offset r12, -32",
        "push r13",
        ".cfi_def_cfa_offset 40",
        ".cfi_offset r13, -40",
        "push r14",
        ".cfi_def_cfa_offset 48",
        ".cfi_offset r14, -48",
        "push r15",
        ".cfi_def_cfa_offset 56",
        ".cfi_offset r15, -56",
        "sub rsp, 8",
        ".cfi_def_cfa_offset 64",
        "mov [rdx], rsp",
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "xor eax, eax",
        "2:",
        "add rsp, 8",
        ".cfi_def_cfa_offset 56",
        "pop r15",
        ".cfi_def_cfa_offset 48",
        "pop r14",
        ".cfi_def_cfa_offset 40",
        "pop r13",
        ".cfi_def_cfa_offset 32",
        "pop r12",
        ".cfi_def_cfa_offset 24",
        "pop rbp",
        ".cfi_def_cfa_offset 16",
        "pop rbx",
        ".cfi_def_cfa_offset 8",
        "ret",
        ".hidden expert_alloc_jump_back",
        ".globl expert_alloc_jump_back",
        "expert_alloc_jump_back:",
        "mov rsp, [rdi]",
        "mov eax, 1",
        "jmp 2b",
        ".cfi_endproc",
        ".size expert_alloc_jumpable_call, . - expert_alloc_jumpable_call",
        ".popsection",
    );

    unsafe extern "C" {
        fn _pthread_cleanup_push(
            buffer: *mut Buffer,
            routine: unsafe extern "C" fn(*mut c_void),
            argument: *mut c_void,
        );
        fn _pthread_cleanup_pop(buffer: *mut Buffer, execute: c_int);

        /// Calls the function with the context, and notes the frame of the call at `place`.
        /// Returns 0 if the function returned, and 1 if `expert_alloc_jump_back` was
        /// called.
        fn expert_alloc_jumpable_call(
            function: unsafe extern "C" fn(*mut c_void),
            context: *mut c_void,
            place: *mut usize,
        ) -> c_int;

        /// Goes back to the call that was noted at this `place`.
        fn expert_alloc_jump_back(place: *mut c_void);
    }

    /// Calls `f`. If `f` is left by `longjmp`, calls `routine` with the argument
    /// before the jump is done.
    ///
    /// # Safety
    ///
    /// - S1 `routine` may be called with the argument while `f` runs.
    unsafe fn with_routine<T>(
        routine: unsafe extern "C" fn(*mut c_void),
        argument: *mut c_void,
        f: impl FnOnce() -> T,
    ) -> T {
        let mut buffer = Buffer { routine, argument, cancel_type: 0, previous: ptr::null_mut() };
        // SAFETY: S1, and the buffer stays where it is until it is popped, below, or
        // left: its frame is one that `longjmp` leaves only after the call of `routine`.
        unsafe { _pthread_cleanup_push(&raw mut buffer, routine, argument) };
        let result = f();
        // SAFETY: pushed above, and what came after it was popped, or left with `f`.
        unsafe { _pthread_cleanup_pop(&raw mut buffer, 0) };
        result
    }

    /// Calls `f`. If `f` is left by `longjmp`, calls `rest` before the jump is done. In
    /// that case no value in the frames of `f` is dropped.
    pub(crate) fn or_rest<T>(rest: &dyn Fn(), f: impl FnOnce() -> T) -> T {
        /// # Safety
        ///
        /// - S1 `rest` is the address of a `&dyn Fn()` that is alive.
        unsafe extern "C" fn routine(rest: *mut c_void) {
            // SAFETY: S1.
            let rest = unsafe { *rest.cast::<&dyn Fn()>() };
            rest();
        }

        let argument = (&raw const rest).cast_mut().cast();
        // SAFETY: S1: `rest` is alive until this returns.
        unsafe { with_routine(routine, argument, f) }
    }

    /// Calls `f`, which does not unwind. Returns `None` if `f` was left by `longjmp` to a
    /// place outside; the jump is then not done. In that case no value in the frames of `f`
    /// is dropped.
    pub(crate) fn contained<T: Copy>(f: impl FnOnce() -> T) -> Option<T> {
        struct Context<F, T> {
            f: Option<F>,
            result: Option<T>,
        }

        /// # Safety
        ///
        /// - S1 `context` is the address of a `Context<F, T>` that no other code uses.
        unsafe extern "C" fn call<F: FnOnce() -> T, T>(context: *mut c_void) {
            // SAFETY: S1.
            let context = unsafe { &mut *context.cast::<Context<F, T>>() };
            context.result = context.f.take().map(|f| f());
        }

        fn caller<F: FnOnce() -> T, T>(_: &Context<F, T>) -> unsafe extern "C" fn(*mut c_void) {
            call::<F, T>
        }

        let mut context = Context { f: Some(f), result: None };
        let call = caller(&context);
        let (mut place, context_place) = (0, (&raw mut context).cast());
        let place = &raw mut place;
        // SAFETY: S1 of `call`.
        let body = || unsafe { expert_alloc_jumpable_call(call, context_place, place) };
        // SAFETY: S1: while the body runs, `place` says where its frame is. The jump
        // back leaves glibc's `longjmp`, which holds nothing, and frames of the body.
        unsafe { with_routine(expert_alloc_jump_back, place.cast(), body) };
        context.result
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")))]
mod system {
    /// Calls `f`, which must not be left by `longjmp` on this system.
    pub(crate) fn or_rest<T>(_rest: &dyn Fn(), f: impl FnOnce() -> T) -> T {
        f()
    }

    /// Calls `f`, which must not be left by `longjmp` here.
    pub(crate) fn contained<T: Copy>(f: impl FnOnce() -> T) -> Option<T> {
        Some(f())
    }
}
