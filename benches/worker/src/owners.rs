//! Owners, as each allocator has them: experts, groups of tracking-allocator,
//! or none at all. The rows of small owners are written once, over these
//! traits, and compiled for the allocator's own kind and for none.

use std::alloc::Layout;

use crate::memory::{Block, Global, Memory};

/// A number of owners that take turns on the global allocator.
pub trait Owners: Send {
    /// Registers `count` owners.
    fn register(count: usize) -> Self;

    /// Calls `work`, whose allocations belong to owner number `owner`.
    fn turn<T>(&mut self, owner: usize, work: impl FnOnce() -> T) -> T;

    /// Ends all of them.
    fn finish(self);
}

/// One owner that comes, allocates and goes.
pub trait Life {
    fn begin() -> Self;

    /// Allocates a block of each layout, written to at both ends.
    fn fill(&mut self, layouts: &[Layout; BLOCKS]);

    /// Ends the owner and takes its blocks back.
    fn end(self);
}

/// The blocks of a life.
pub const BLOCKS: usize = 20;

/// The same work without owners.
pub struct NoOwners;

impl Owners for NoOwners {
    fn register(_: usize) -> Self {
        Self
    }

    #[inline(always)]
    fn turn<T>(&mut self, _: usize, work: impl FnOnce() -> T) -> T {
        work()
    }

    fn finish(self) {}
}

/// Blocks that are freed one by one.
pub struct Listed([Block; BLOCKS]);

impl Life for Listed {
    #[inline(always)]
    fn begin() -> Self {
        Self([Block::NONE; BLOCKS])
    }

    #[inline(always)]
    fn fill(&mut self, layouts: &[Layout; BLOCKS]) {
        for (block, &layout) in self.0.iter_mut().zip(layouts) {
            *block = Global.take(layout);
        }
    }

    #[inline(always)]
    fn end(self) {
        for block in self.0.into_iter().filter(|block| !block.is_none()) {
            // SAFETY: S1, taken in `fill`, freed once.
            unsafe { Global.give(block) };
        }
    }
}

#[cfg(feature = "expert")]
pub use experts::{Experts as Chosen, OfExpert as ChosenLife};

#[cfg(feature = "expert")]
mod experts {
    use allocator_api2::alloc::Allocator;
    use bench_peers::expert_alloc::Expert;

    use super::*;
    use crate::memory::write_ends;

    fn register() -> Expert {
        bench_peers::ALLOC.expert("benchmark").register().expect("slots are left")
    }

    pub struct Experts(Vec<Expert>);

    impl Owners for Experts {
        fn register(count: usize) -> Self {
            Self((0..count).map(|_| register()).collect())
        }

        #[inline(always)]
        fn turn<T>(&mut self, owner: usize, work: impl FnOnce() -> T) -> T {
            let _scope = self.0[owner].enter();
            work()
        }

        fn finish(self) {
            for expert in self.0 {
                let _ = expert.finish();
            }
        }
    }

    /// Blocks of the expert's handle, which go with it.
    pub struct OfExpert(Expert);

    impl Life for OfExpert {
        #[inline(always)]
        fn begin() -> Self {
            Self(register())
        }

        #[inline(always)]
        fn fill(&mut self, layouts: &[Layout; BLOCKS]) {
            let handle = self.0.allocator();
            for &layout in layouts {
                let block = handle.allocate(layout).expect("memory is left");
                // SAFETY: S1, a new block of at least one byte.
                unsafe { write_ends(block.as_ptr().cast(), layout.size()) };
            }
        }

        #[inline(always)]
        fn end(self) {
            let _ = self.0.finish();
        }
    }
}

#[cfg(any(feature = "tracking", feature = "tracking-mimalloc"))]
pub use groups::{Groups as Chosen, OfGroup as ChosenLife};

#[cfg(any(feature = "tracking", feature = "tracking-mimalloc"))]
mod groups {
    use bench_peers::tracking::tracking_allocator::AllocationGroupToken;

    use super::*;

    fn register() -> AllocationGroupToken {
        AllocationGroupToken::register().expect("ids are left")
    }

    pub struct Groups(Vec<AllocationGroupToken>);

    impl Owners for Groups {
        fn register(count: usize) -> Self {
            Self((0..count).map(|_| register()).collect())
        }

        #[inline(always)]
        fn turn<T>(&mut self, owner: usize, work: impl FnOnce() -> T) -> T {
            let _guard = self.0[owner].enter();
            work()
        }

        fn finish(self) {}
    }

    pub struct OfGroup(AllocationGroupToken, Listed);

    impl Life for OfGroup {
        #[inline(always)]
        fn begin() -> Self {
            Self(register(), Listed::begin())
        }

        #[inline(always)]
        fn fill(&mut self, layouts: &[Layout; BLOCKS]) {
            let _guard = self.0.enter();
            self.1.fill(layouts);
        }

        #[inline(always)]
        fn end(self) {
            self.1.end();
        }
    }
}

#[cfg(not(any(feature = "expert", feature = "tracking", feature = "tracking-mimalloc")))]
pub use {Listed as ChosenLife, NoOwners as Chosen};
