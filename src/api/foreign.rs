//! Calling a function that was written elsewhere, perhaps in C++, and coming
//! back whatever it throws.
//!
//! A Rust panic passes through here to the `catch_unwind` of the caller. Any
//! other exception Rust cannot catch: its runtime would abort the process. So
//! on Linux on x86-64 such a function is called from a few instructions with a
//! personality routine of their own, which says: I handle this. The unwinder
//! then continues at the landing, which deletes the exception and returns.
//!
//! Source: Itanium C++ ABI, Exception Handling, 1.6 (personality routine) and
//! 1.4 (foreign exceptions).

use core::ffi::c_void;

/// A function and what to call it with.
pub(crate) struct Call {
    pub(crate) function: unsafe extern "C-unwind" fn(*mut c_void),
    pub(crate) context: *mut c_void,
}

// SAFETY: the pointer is not followed here, and whoever gave it said that the
// function may be called with it from any thread.
unsafe impl Send for Call {}

impl Call {
    /// Calls the function. A foreign exception becomes a panic.
    ///
    /// # Safety
    ///
    /// - S1 the function may be called with the context, from this thread.
    pub(crate) unsafe fn call(self) {
        // SAFETY: S1.
        if !unsafe { returns(self.function, self.context) } {
            std::panic::resume_unwind(std::boxed::Box::new("a foreign exception"));
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
/// # Safety
///
/// - S1 the function may be called with the context, from this thread.
unsafe fn returns(
    function: unsafe extern "C-unwind" fn(*mut c_void),
    context: *mut c_void,
) -> bool {
    // SAFETY: S1. The runtime aborts on a foreign exception: it does not cross.
    unsafe { function(context) };
    true
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use guard::returns;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod guard {
    use core::ffi::{c_int, c_void};

    /// `_Unwind_Action`: looking for a handler, nothing unwound yet.
    const SEARCH_PHASE: c_int = 1;
    /// `_Unwind_Action`: nobody may handle this; a thread is cancelled.
    const FORCE_UNWIND: c_int = 8;
    /// `_Unwind_Reason_Code`s.
    const HANDLER_FOUND: c_int = 6;
    const INSTALL_CONTEXT: c_int = 7;
    const CONTINUE_UNWIND: c_int = 8;
    /// The class of Rust's own exceptions, whichever end its runtime begins at.
    const RUST: [u64; 2] = [u64::from_ne_bytes(*b"MOZ\0RUST"), u64::from_ne_bytes(*b"TSUR\0ZOM")];
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
        "mov rax, rdi",
        "mov rdi, rsi",
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
        "call _Unwind_DeleteException@PLT",
        "xor eax, eax",
        "jmp 2b",
        ".cfi_endproc",
        ".size expert_alloc_guarded_call, . - expert_alloc_guarded_call",
        ".popsection",
        personality = sym personality,
    );

    unsafe extern "C-unwind" {
        /// Calls the function with the context; 1 where it returned, 0 where a
        /// foreign exception came out of it.
        fn expert_alloc_guarded_call(
            function: unsafe extern "C-unwind" fn(*mut c_void),
            context: *mut c_void,
        ) -> c_int;

        /// Where that continues after a foreign exception. Not to be called.
        fn expert_alloc_guarded_landing();
    }

    unsafe extern "C" {
        fn _Unwind_SetGR(context: *mut c_void, register: c_int, value: usize);
        fn _Unwind_SetIP(context: *mut c_void, address: usize);
    }

    /// # Safety
    ///
    /// - S1 the function may be called with the context, from this thread.
    pub(crate) unsafe fn returns(
        function: unsafe extern "C-unwind" fn(*mut c_void),
        context: *mut c_void,
    ) -> bool {
        // SAFETY: S1.
        unsafe { expert_alloc_guarded_call(function, context) != 0 }
    }

    /// Tells the unwinder what the frame of `expert_alloc_guarded_call` does
    /// about an exception: handle a foreign one, let pass any other.
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
        if RUST.contains(&class) || actions & FORCE_UNWIND != 0 {
            return CONTINUE_UNWIND;
        }
        if actions & SEARCH_PHASE != 0 {
            return HANDLER_FOUND;
        }
        // SAFETY: S1: the context is the frame's.
        unsafe { _Unwind_SetGR(context, RAX, exception.expose_provenance()) };
        let landing = expert_alloc_guarded_landing as *const () as usize;
        // SAFETY: S1; the landing expects the frame as it was at the call.
        unsafe { _Unwind_SetIP(context, landing) };
        INSTALL_CONTEXT
    }
}
