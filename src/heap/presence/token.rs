//! The token of a thread: a word that no other living thread has.
//!
//! Where the platform allows it, that is the thread pointer, which one instruction
//! reads; elsewhere the address of a thread-local.

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu", not(miri), not(loom)))]
mod system {
    use core::arch::asm;

    /// A number that no other living thread has: the thread pointer.
    #[inline(always)]
    pub fn token() -> usize {
        let token: usize;
        // SAFETY: the ABI keeps the thread pointer at its own address.
        unsafe {
            asm!("mov {}, fs:0", out(reg) token, options(pure, nomem, nostack, preserves_flags));
        }
        token
    }
}

#[cfg(not(all(
    target_arch = "x86_64",
    target_os = "linux",
    target_env = "gnu",
    not(miri),
    not(loom)
)))]
mod system {
    use core::cell::Cell;

    std::thread_local! {
        // It is const and has no destructor, so it is there until the thread is gone. It is
        // a word, because the lowest bit of a token must be free.
        static PLACE: Cell<usize> = const { Cell::new(0) };
    }

    /// A number that no other living thread has: the address of a thread-local.
    #[inline(always)]
    pub fn token() -> usize {
        PLACE.with(|place| core::ptr::from_ref(place).addr())
    }
}

pub use system::token;
