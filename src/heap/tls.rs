//! The two words that the fast paths read of a thread: who it is, and the
//! cache it allocates from.
//!
//! A library that may be loaded at run time reaches its thread-locals through
//! a function call, after which no register can be trusted; an allocator's
//! fast path is shorter than that call. So where the platform allows it the
//! word lies in static thread-local storage and is read by one instruction
//! with a known offset (the *initial-exec* model, as C allocators use it; it
//! takes 8 of the bytes that the loader keeps for late-loaded libraries), and
//! the thread pointer itself tells threads apart.

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu", not(miri), not(loom)))]
mod system {
    use core::arch::{asm, global_asm};

    use crate::heap::cache::{Cache, EMPTY};

    // One word per thread, which begins as the address of the empty cache.
    global_asm!(
        ".pushsection .tdata.expert_alloc_0_1_current,\"awT\",@progbits",
        ".globl expert_alloc_0_1_current",
        ".hidden expert_alloc_0_1_current",
        ".type expert_alloc_0_1_current,@object",
        ".size expert_alloc_0_1_current,8",
        ".p2align 3",
        "expert_alloc_0_1_current:",
        ".quad {empty}",
        ".popsection",
        empty = sym EMPTY,
    );

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

    /// The cache that the global allocator allocates from in this thread now.
    #[inline(always)]
    pub fn current() -> &'static Cache {
        let cache: *const Cache;
        // SAFETY: reads the word defined above, of this thread.
        unsafe {
            asm!(
                "mov {cache}, qword ptr [rip + expert_alloc_0_1_current@GOTTPOFF]",
                "mov {cache}, qword ptr fs:[{cache}]",
                cache = out(reg) cache,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        // SAFETY: the word holds the address of a cache, which is never freed.
        unsafe { &*cache }
    }

    /// Makes `cache`, one of this thread's or the empty one, current.
    #[inline]
    pub fn set_current(cache: &'static Cache) {
        // SAFETY: writes the word defined above, of this thread.
        unsafe {
            asm!(
                "mov {place}, qword ptr [rip + expert_alloc_0_1_current@GOTTPOFF]",
                "mov qword ptr fs:[{place}], {cache}",
                place = out(reg) _,
                cache = in(reg) core::ptr::from_ref(cache),
                options(nostack, preserves_flags),
            );
        }
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

    use crate::heap::cache::{Cache, EMPTY};

    std::thread_local! {
        // Const and without a destructor: it is there until the thread is gone.
        // A pointer, because a constant must not refer to what changes.
        static CURRENT: Cell<*const Cache> = const { Cell::new(&raw const EMPTY) };
    }

    /// A number that no other living thread has: the address of a thread-local.
    #[inline(always)]
    pub fn token() -> usize {
        CURRENT.with(|current| core::ptr::from_ref(current).addr())
    }

    /// The cache that the global allocator allocates from in this thread now.
    #[inline(always)]
    pub fn current() -> &'static Cache {
        // SAFETY: a cache, and those are never freed.
        CURRENT.with(|current| unsafe { &*current.get() })
    }

    /// Makes `cache`, one of this thread's or the empty one, current.
    #[inline]
    pub fn set_current(cache: &'static Cache) {
        CURRENT.with(|current| current.set(cache));
    }
}

pub use system::{current, set_current, token};
