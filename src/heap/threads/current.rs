//! The words of a thread that the fast paths read, beside its token: the cache that the
//! global allocator allocates from, and the cache that a handle found last.
//!
//! A library that may be loaded at run time reaches its thread-locals through
//! a function call, after which no register can be trusted; an allocator's
//! fast path is shorter than that call. So where the platform allows it the
//! words lie in static thread-local storage and are read by one instruction
//! with a known offset (the *initial-exec* model, as C allocators use it; it
//! takes 16 of the bytes that the loader keeps for late-loaded libraries).

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu", not(miri), not(loom)))]
mod system {
    use core::arch::{asm, global_asm};

    use crate::heap::caches::cache::{Cache, EMPTY};

    // Two words per thread, whose initial value is the address of the empty cache.
    global_asm!(
        ".pushsection .tdata.expert_alloc_0_1_caches,\"awT\",@progbits",
        ".globl expert_alloc_0_1_caches",
        ".hidden expert_alloc_0_1_caches",
        ".type expert_alloc_0_1_caches,@object",
        ".size expert_alloc_0_1_caches,16",
        ".p2align 3",
        "expert_alloc_0_1_caches:",
        ".quad {empty}",
        ".quad {empty}",
        ".popsection",
        empty = sym EMPTY,
    );

    /// Reads a word, at `$place` bytes from the first.
    macro_rules! get {
        ($place:literal) => {{
            let cache: *const Cache;
            // SAFETY: reads a word defined above, of this thread.
            unsafe {
                asm!(
                    "mov {cache}, qword ptr [rip + expert_alloc_0_1_caches@GOTTPOFF]",
                    concat!("mov {cache}, qword ptr fs:[{cache} + ", $place, "]"),
                    cache = out(reg) cache,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            // SAFETY: the word holds the address of a cache, which is never freed.
            unsafe { &*cache }
        }};
    }

    /// Writes a word, at `$place` bytes from the first.
    macro_rules! set {
        ($place:literal, $cache:expr) => {
            // SAFETY: writes a word defined above, of this thread.
            unsafe {
                asm!(
                    "mov {place}, qword ptr [rip + expert_alloc_0_1_caches@GOTTPOFF]",
                    concat!("mov qword ptr fs:[{place} + ", $place, "], {cache}"),
                    place = out(reg) _,
                    cache = in(reg) core::ptr::from_ref::<Cache>($cache),
                    options(nostack, preserves_flags),
                );
            }
        };
    }

    /// The cache that the global allocator allocates from in this thread now.
    #[inline(always)]
    pub fn current() -> &'static Cache {
        get!(0)
    }

    /// Makes `cache`, one of this thread's or the empty one, current.
    #[inline]
    pub fn set_current(cache: &'static Cache) {
        set!(0, cache);
    }

    /// The cache that a handle found last in this thread.
    #[inline(always)]
    pub fn found() -> &'static Cache {
        get!(8)
    }

    /// Remembers `cache`, one of this thread's or the empty one, as found last.
    #[inline]
    pub fn set_found(cache: &'static Cache) {
        set!(8, cache);
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

    use crate::heap::caches::cache::{Cache, EMPTY};

    std::thread_local! {
        // It is const and has no destructor, so it is there until the thread is gone. It is
        // a pointer, because a constant must not refer to memory that changes.
        static CURRENT: Cell<*const Cache> = const { Cell::new(&raw const EMPTY) };
        static FOUND: Cell<*const Cache> = const { Cell::new(&raw const EMPTY) };
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

    /// The cache that a handle found last in this thread.
    #[inline(always)]
    pub fn found() -> &'static Cache {
        // SAFETY: a cache, and those are never freed.
        FOUND.with(|found| unsafe { &*found.get() })
    }

    /// Remembers `cache`, one of this thread's or the empty one, as found last.
    #[inline]
    pub fn set_found(cache: &'static Cache) {
        FOUND.with(|found| found.set(cache));
    }
}

pub use system::{current, found, set_current, set_found};
