//! The one-thread rows once more, with owners: after every turn of a hundred allocations
//! (or of `turn`) the next of 1 to 10,000 owners becomes current. `experts=0` does the same
//! work without owners. With `warm=1` the work is done once before it is measured, so that
//! every owner has had its turns.

use crate::Row;
use crate::memory::{Global, Memory};
use crate::{real, single};
use bench_peers::measure::Run;

/// A workload over any memory.
macro_rules! work {
    ($memory:ident, $name:literal, $run:expr) => {
        Row {
            name: concat!($name, ", ", stringify!($memory)),
            run: |run| {
                let experts = run.arguments.get("experts", 0);
                if experts == 0 {
                    measured(run, &mut Global, $run);
                } else {
                    measured(run, &mut $memory::register(experts), $run);
                }
            },
        }
    };
}

fn measured<M: Memory>(run: &mut Run, memory: &mut M, work: fn(&mut Run, &mut M)) {
    if run.arguments.get("warm", 0) == 1 {
        work(run, memory);
        run.forget();
    }
    work(run, memory);
}

fn churn_10k(run: &mut Run, memory: &mut impl Memory) {
    single::churn(run, memory, 10_000, 4_000_000);
}

fn churn_300k(run: &mut Run, memory: &mut impl Memory) {
    single::churn(run, memory, 300_000, 1_500_000);
}

#[cfg(feature = "expert")]
pub use expert::ROWS;

#[cfg(feature = "expert")]
mod expert {
    use std::alloc::Layout;

    use allocator_api2::alloc::Allocator;
    use bench_peers::expert_alloc::capi::{
        EXPERTHOST, ExpertAllocMemory, ExpertFreeMemory, ExpertHostTable, HEXPERTKEY, handle,
    };
    use bench_peers::expert_alloc::{Expert, ExpertHandle, Scope};

    use super::*;
    use crate::memory::Block;

    pub const ROWS: &[Row] = &[
        work!(Scopes, "pair", single::pair),
        work!(Scopes, "LIFO batch", single::lifo_batch),
        work!(Scopes, "shuffled batch", single::shuffled_batch),
        work!(Scopes, "churn 10k", churn_10k),
        work!(Scopes, "churn 300k", churn_300k),
        work!(Scopes, "growing vectors", real::growing),
        work!(Scopes, "maps of strings", real::maps),
        work!(Scopes, "JSON", real::json),
        work!(Scopes, "regex compile", real::regexes),
        work!(Handles, "pair", single::pair),
        work!(Handles, "LIFO batch", single::lifo_batch),
        work!(Handles, "shuffled batch", single::shuffled_batch),
        work!(Handles, "churn 10k", churn_10k),
        work!(Handles, "churn 300k", churn_300k),
        work!(Lent, "pair", single::pair),
        work!(Keyed, "pair", single::pair),
    ];

    /// Experts that live as long as the program.
    fn experts(count: usize) -> &'static [Expert] {
        let experts: Vec<Expert> = (0..count)
            .map(|_| bench_peers::ALLOC.expert("benchmark").register().expect("slots are left"))
            .collect();
        experts.leak()
    }

    /// The global allocator, in a scope of the current expert.
    struct Scopes {
        experts: &'static [Expert],
        next: usize,
        current: Option<Scope<'static>>,
    }

    impl Scopes {
        fn register(count: usize) -> Self {
            let mut scopes = Self { experts: experts(count), next: 0, current: None };
            scopes.switch();
            scopes
        }
    }

    impl Memory for Scopes {
        #[inline(always)]
        fn take(&mut self, layout: Layout) -> Block {
            Global.take(layout)
        }

        #[inline(always)]
        unsafe fn give(&mut self, block: Block) {
            // SAFETY: S1.
            unsafe { Global.give(block) }
        }

        #[inline(always)]
        fn switch(&mut self) {
            drop(self.current.take());
            self.current = Some(self.experts[self.next].enter());
            self.next = if self.next + 1 == self.experts.len() { 0 } else { self.next + 1 };
        }
    }

    /// The handle of the current expert. The handle is at hand, as in a collection, so only
    /// the allocator is timed.
    struct Handles {
        handles: Vec<ExpertHandle<'static>>,
        number: usize,
        current: ExpertHandle<'static>,
    }

    impl Handles {
        fn register(count: usize) -> Self {
            let handles: Vec<_> = experts(count).iter().map(Expert::allocator).collect();
            let current = handles[0];
            Self { handles, number: 0, current }
        }
    }

    impl Memory for Handles {
        #[inline(always)]
        fn take(&mut self, layout: Layout) -> Block {
            let block = self.current.allocate(layout).expect("memory is left");
            // SAFETY: S1, a block of at least the layout's size.
            unsafe { Block::fresh(block.as_ptr().cast(), layout, self.number as u32) }
        }

        #[inline(always)]
        unsafe fn give(&mut self, block: Block) {
            // SAFETY: S1: a block that was taken, so not null.
            let address = unsafe { std::ptr::NonNull::new_unchecked(block.address) };
            // SAFETY: the number of the handle that it was taken from.
            let handle = unsafe { self.handles.get_unchecked(block.owner as usize) };
            // SAFETY: S1, and it is the block's own handle.
            unsafe { handle.deallocate(address, block.layout()) }
        }

        #[inline(always)]
        fn switch(&mut self) {
            self.number = if self.number + 1 == self.handles.len() { 0 } else { self.number + 1 };
            self.current = self.handles[self.number];
        }
    }

    /// Keys of experts, one after another.
    struct Keys {
        keys: Vec<HEXPERTKEY>,
        number: usize,
    }

    impl Keys {
        fn register(count: usize) -> Self {
            Self { keys: experts(count).iter().map(|it| handle(it.key())).collect(), number: 0 }
        }

        #[inline(always)]
        fn current(&self) -> HEXPERTKEY {
            self.keys[self.number]
        }

        fn switch(&mut self) {
            self.number = if self.number + 1 == self.keys.len() { 0 } else { self.number + 1 };
        }
    }

    /// The global allocator of a plug-in: the host's table, as the plug-in calls it.
    struct Lent {
        keys: Keys,
        table: &'static EXPERTHOST,
    }

    impl Lent {
        fn register(count: usize) -> Self {
            let lent = experts(count).iter().map(|expert| {
                // SAFETY: experts live as long as the program.
                handle(unsafe { expert.lend() })
            });
            let keys = Keys { keys: lent.collect(), number: 0 };
            // SAFETY: the host's table stays for ever.
            Self { keys, table: unsafe { &*std::hint::black_box(ExpertHostTable()) } }
        }
    }

    impl Memory for Lent {
        #[inline(always)]
        fn take(&mut self, layout: Layout) -> Block {
            let block = (self.table.allocate)(self.keys.current(), layout.size(), layout.align());
            // SAFETY: S1, a block of the layout's size.
            unsafe { Block::fresh(block.cast(), layout, 0) }
        }

        #[inline(always)]
        unsafe fn give(&mut self, block: Block) {
            let layout = block.layout();
            // SAFETY: S1: it came from the table with this layout.
            unsafe { (self.table.release)(block.address.cast(), layout.size(), layout.align()) }
        }

        #[inline(always)]
        fn switch(&mut self) {
            self.keys.switch();
        }
    }

    /// The calls by key, as C code makes them; they zero blocks and check all arguments.
    struct Keyed(Keys);

    impl Keyed {
        fn register(count: usize) -> Self {
            Self(Keys::register(count))
        }
    }

    impl Memory for Keyed {
        #[inline(always)]
        fn take(&mut self, layout: Layout) -> Block {
            // SAFETY: no place for the code.
            let block =
                unsafe { ExpertAllocMemory(self.0.current(), layout.size(), std::ptr::null_mut()) };
            // SAFETY: S1, a block of the layout's size.
            unsafe { Block::fresh(block.cast(), layout, self.0.number as u32) }
        }

        #[inline(always)]
        unsafe fn give(&mut self, block: Block) {
            let code = ExpertFreeMemory(self.0.keys[block.owner as usize], block.address.cast());
            assert_eq!(code, 0);
        }

        #[inline(always)]
        fn switch(&mut self) {
            self.0.switch();
        }
    }
}

/// The rows through the global allocator, with turns made by `Scopes`.
#[cfg(not(feature = "expert"))]
pub const ROWS: &[Row] = &[
    work!(Scopes, "pair", single::pair),
    work!(Scopes, "LIFO batch", single::lifo_batch),
    work!(Scopes, "shuffled batch", single::shuffled_batch),
    work!(Scopes, "churn 10k", churn_10k),
    work!(Scopes, "churn 300k", churn_300k),
    work!(Scopes, "growing vectors", real::growing),
    work!(Scopes, "maps of strings", real::maps),
    work!(Scopes, "JSON", real::json),
    work!(Scopes, "regex compile", real::regexes),
];

#[cfg(any(feature = "tracking", feature = "tracking-mimalloc"))]
use groups::Scopes;

#[cfg(any(feature = "tracking", feature = "tracking-mimalloc"))]
mod groups {
    use std::alloc::Layout;

    use bench_peers::tracking::Groups;

    use super::*;
    use crate::memory::Block;

    /// The global allocator, in the current group of tracking-allocator.
    pub struct Scopes(Groups);

    impl Scopes {
        pub fn register(count: usize) -> Self {
            let mut groups = Groups::register(count);
            groups.switch();
            Self(groups)
        }
    }

    impl Memory for Scopes {
        #[inline(always)]
        fn take(&mut self, layout: Layout) -> Block {
            Global.take(layout)
        }

        #[inline(always)]
        unsafe fn give(&mut self, block: Block) {
            // SAFETY: S1.
            unsafe { Global.give(block) }
        }

        #[inline(always)]
        fn switch(&mut self) {
            self.0.switch();
        }
    }
}

/// An allocator without owners, which does the same work.
#[cfg(not(any(feature = "expert", feature = "tracking", feature = "tracking-mimalloc")))]
struct Scopes;

#[cfg(not(any(feature = "expert", feature = "tracking", feature = "tracking-mimalloc")))]
impl Scopes {
    fn register(_: usize) -> Global {
        Global
    }
}
