//! One allocator per feature, which becomes the global allocator of the program that links
//! this library. All programs of the benchmarks share the rest: the allocator's name, a
//! call that gives free memory back to the system, measuring, and random numbers.
//!
//! Exactly one feature is on: a process has one global allocator.

pub mod measure;
pub mod random;
#[cfg(any(feature = "tracking", feature = "tracking-mimalloc"))]
pub mod tracking;

#[cfg(feature = "expert")]
mod peer {
    pub const NAME: &str = "expert-alloc";

    #[global_allocator]
    pub static ALLOC: expert_alloc::ExpertAlloc = expert_alloc::ExpertAlloc::new();

    pub fn purge() {
        ALLOC.purge();
    }
}

#[cfg(feature = "expert")]
pub use expert_alloc;
#[cfg(any(feature = "mimalloc2", feature = "mimalloc3"))]
pub use libmimalloc_sys;

#[cfg(feature = "glibc")]
mod peer {
    pub const NAME: &str = "glibc";

    #[global_allocator]
    static ALLOC: std::alloc::System = std::alloc::System;

    pub fn purge() {
        // SAFETY: takes no pointer and may be called at any time.
        unsafe { libc::malloc_trim(0) };
    }
}

#[cfg(any(feature = "mimalloc2", feature = "mimalloc3"))]
mod peer {
    #[cfg(feature = "mimalloc2")]
    pub const NAME: &str = "mimalloc 2";
    #[cfg(feature = "mimalloc3")]
    pub const NAME: &str = "mimalloc 3";

    #[global_allocator]
    static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

    pub fn purge() {
        // SAFETY: takes no pointer and may be called at any time.
        unsafe { libmimalloc_sys::mi_collect(true) };
    }
}

#[cfg(feature = "mimalloc36")]
mod peer {
    pub const NAME: &str = "mimalloc 3.6";

    #[global_allocator]
    static ALLOC: mimalloc_safe::MiMalloc = mimalloc_safe::MiMalloc;

    pub fn purge() {
        // SAFETY: takes no pointer and may be called at any time.
        unsafe { libmimalloc_sys2::mi_collect(true) };
    }
}

#[cfg(feature = "jemalloc")]
mod peer {
    use std::ptr::null_mut;

    pub const NAME: &str = "jemalloc";

    #[global_allocator]
    static ALLOC: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

    pub fn purge() {
        // 4096 is MALLCTL_ARENAS_ALL.
        for name in [c"thread.tcache.flush", c"arena.4096.purge"] {
            // SAFETY: the name is a C string; neither control reads or writes
            // a value.
            let code = unsafe {
                tikv_jemalloc_sys::mallctl(name.as_ptr(), null_mut(), null_mut(), null_mut(), 0)
            };
            assert_eq!(code, 0, "jemalloc refused to purge");
        }
    }
}

#[cfg(feature = "stoolap")]
mod peer {
    pub const NAME: &str = "stoolap-jemalloc";

    #[global_allocator]
    static ALLOC: stoolap_jemalloc::Jemalloc = stoolap_jemalloc::Jemalloc::new();

    pub fn purge() {
        stoolap_jemalloc::purge();
    }
}

#[cfg(feature = "snmalloc")]
mod peer {
    pub const NAME: &str = "snmalloc";

    #[global_allocator]
    static ALLOC: snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc;

    /// Does nothing, because the crate offers no call for it.
    pub fn purge() {}
}

#[cfg(feature = "rpmalloc")]
mod peer {
    pub const NAME: &str = "rpmalloc";

    #[global_allocator]
    static ALLOC: rpmalloc::RpMalloc = rpmalloc::RpMalloc;

    pub fn purge() {
        // SAFETY: takes no pointer; the thread is initialised, for it has
        // allocated.
        unsafe { rpmalloc_sys::rpmalloc_thread_collect() };
    }
}

#[cfg(feature = "rusty_alloc")]
mod peer {
    pub const NAME: &str = "rusty_alloc";

    #[global_allocator]
    static ALLOC: rusty_alloc_api::RustyAlloc = rusty_alloc_api::RustyAlloc;

    pub fn purge() {
        rusty_alloc::alloc::collect(true);
    }
}

#[cfg(feature = "tracking")]
mod peer {
    use std::alloc::System;

    pub const NAME: &str = "tracking-allocator";

    #[global_allocator]
    static ALLOC: tracking_allocator::Allocator<System> = tracking_allocator::Allocator::system();

    pub fn purge() {
        // SAFETY: takes no pointer and may be called at any time.
        unsafe { libc::malloc_trim(0) };
    }
}

#[cfg(feature = "tracking-mimalloc")]
mod peer {
    use mimalloc::MiMalloc;

    pub const NAME: &str = "tracking-allocator (mimalloc)";

    #[global_allocator]
    static ALLOC: tracking_allocator::Allocator<MiMalloc> =
        tracking_allocator::Allocator::from_allocator(MiMalloc);

    pub fn purge() {}
}

#[cfg(feature = "cap")]
mod peer {
    use std::alloc::System;

    pub const NAME: &str = "cap";

    #[global_allocator]
    static ALLOC: cap::Cap<System> = cap::Cap::new(System, usize::MAX);

    pub fn purge() {
        // SAFETY: takes no pointer and may be called at any time.
        unsafe { libc::malloc_trim(0) };
    }
}

#[cfg(feature = "stats_alloc")]
mod peer {
    use std::alloc::System;

    pub const NAME: &str = "stats_alloc";

    #[global_allocator]
    static ALLOC: &stats_alloc::StatsAlloc<System> = &stats_alloc::INSTRUMENTED_SYSTEM;

    pub fn purge() {
        // SAFETY: takes no pointer and may be called at any time.
        unsafe { libc::malloc_trim(0) };
    }
}

pub use peer::*;
