//! Free-all: take back everything of one owner. Only the call itself is timed, as elapsed
//! time, because it can be shorter than reading the thread's own clock. The median of many
//! repeats counts, so a repeat in which another process had the core has no influence. An
//! operation is one block.
//!
//! Arguments: `blocks`, `size` (0 for the skewed mix), `other=1` for a call
//! from another thread than the one that allocated, which stays alive.

use std::alloc::Layout;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::Row;
use crate::memory::{layout, write_ends};
use bench_peers::measure::Run;
use bench_peers::random::Sizes;

/// An owner whose blocks can all be taken back at once.
trait Bulk: Send {
    /// A new owner.
    fn new() -> Self;

    /// A block of `layout`, which nothing else uses.
    fn take(&mut self, layout: Layout) -> *mut u8;

    /// Takes everything back.
    fn free_all(self);

    /// The pages that the owner holds, if the allocator can tell.
    fn pages(&self) -> Option<f64> {
        None
    }
}

/// The row of one kind of owner.
fn free_all<B: Bulk>(run: &mut Run) {
    let blocks = run.arguments.get("blocks", 100_000);
    let sizes = match run.arguments.get("size", 64) {
        0 => Sizes::skewed(),
        size => Sizes::fixed(u16::try_from(size).expect("a small size")),
    };
    let repeats = (300_000 / blocks).clamp(3, 51);
    let other = run.arguments.get("other", 0) == 1;
    let mut times: Vec<Duration> = (0..repeats)
        .map(|_| {
            if other {
                from_another_thread::<B>(blocks, &sizes)
            } else {
                timed(filled::<B>(blocks, &sizes))
            }
        })
        .collect();
    times.sort();
    run.record(blocks, times[repeats / 2]);
    let bytes: usize = (0..blocks).map(|index| sizes.get(index)).sum();
    run.note("bytes", bytes as f64);
    let bulk = filled::<B>(blocks, &sizes);
    run.note("pages", bulk.pages().unwrap_or(bytes as f64 / 4096.0));
    bulk.free_all();
}

fn timed<B: Bulk>(bulk: B) -> Duration {
    let start = Instant::now();
    bulk.free_all();
    start.elapsed()
}

fn filled<B: Bulk>(blocks: usize, sizes: &Sizes) -> B {
    let mut bulk = B::new();
    for index in 0..blocks {
        let size = sizes.get(index);
        let address = bulk.take(layout(size));
        assert!(!address.is_null(), "out of memory");
        // SAFETY: S1, a block of at least one byte that nothing else uses.
        unsafe { write_ends(address, size) };
    }
    bulk
}

fn from_another_thread<B: Bulk>(blocks: usize, sizes: &Sizes) -> Duration {
    let (give, take) = mpsc::channel();
    let (done, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            give.send(filled::<B>(blocks, sizes)).expect("the main thread waits");
            wait.recv().expect("the main thread answers");
        });
        let bulk: B = take.recv().expect("the other thread sends it");
        let time = timed(bulk);
        done.send(()).expect("the other thread waits");
        time
    })
}

#[cfg(feature = "expert")]
pub const ROWS: &[Row] = &[
    Row { name: "free all", run: free_all::<expert::OfExpert> },
    Row { name: "free one by one", run: free_all::<expert::OneByOne> },
];

#[cfg(feature = "expert")]
mod expert {
    use std::ptr::NonNull;

    use allocator_api2::alloc::Allocator;
    use bench_peers::expert_alloc::Expert;

    use super::{Bulk, Layout};

    fn register() -> Expert {
        bench_peers::ALLOC.expert("benchmark").register().expect("slots are left")
    }

    pub struct OfExpert(Expert);

    impl Bulk for OfExpert {
        fn new() -> Self {
            Self(register())
        }

        fn take(&mut self, layout: Layout) -> *mut u8 {
            self.0.allocator().allocate(layout).expect("memory is left").as_ptr().cast()
        }

        fn free_all(self) {
            let _ = self.0.finish();
        }

        fn pages(&self) -> Option<f64> {
            Some(self.0.stats().charged_bytes as f64 / 4096.0)
        }
    }

    /// The row that `finish` is compared with: each block is freed by itself, in order.
    pub struct OneByOne(Expert, Vec<(NonNull<u8>, Layout)>);

    // SAFETY: blocks of an expert may be freed by any thread.
    unsafe impl Send for OneByOne {}

    impl Bulk for OneByOne {
        fn new() -> Self {
            Self(register(), Vec::new())
        }

        fn take(&mut self, layout: Layout) -> *mut u8 {
            let block = self.0.allocator().allocate(layout).expect("memory is left").cast();
            self.1.push((block, layout));
            block.as_ptr()
        }

        fn free_all(self) {
            for (block, layout) in self.1 {
                // SAFETY: allocated in `take` with this layout, freed once.
                unsafe { self.0.allocator().deallocate(block, layout) };
            }
        }
    }
}

#[cfg(any(feature = "mimalloc2", feature = "mimalloc3"))]
pub const ROWS: &[Row] = &[Row { name: "free all", run: free_all::<mimalloc::Heap> }];

#[cfg(any(feature = "mimalloc2", feature = "mimalloc3"))]
mod mimalloc {
    use bench_peers::libmimalloc_sys as ffi;

    use super::{Bulk, Layout};

    pub struct Heap(*mut ffi::mi_heap_t);

    // SAFETY: one thread at a time uses it, and the runner asks for another
    // thread only of the version that allows it.
    unsafe impl Send for Heap {}

    impl Bulk for Heap {
        fn new() -> Self {
            // SAFETY: no requirements.
            Self(unsafe { ffi::mi_heap_new() })
        }

        fn take(&mut self, layout: Layout) -> *mut u8 {
            // SAFETY: the heap is live.
            unsafe { ffi::mi_heap_malloc(self.0, layout.size()) }.cast()
        }

        fn free_all(self) {
            // SAFETY: the heap is live and nothing uses its blocks any more.
            unsafe { ffi::mi_heap_destroy(self.0) };
        }
    }
}

#[cfg(feature = "rpmalloc-heaps")]
pub const ROWS: &[Row] = &[Row { name: "free all", run: free_all::<rpmalloc::Heap> }];

#[cfg(feature = "rpmalloc-heaps")]
mod rpmalloc {
    use std::ffi::c_void;

    use super::{Bulk, Layout};

    // The bindings do not declare these; the library has them when it is
    // built with RPMALLOC_FIRST_CLASS_HEAPS.
    unsafe extern "C" {
        fn rpmalloc_heap_acquire() -> *mut c_void;
        fn rpmalloc_heap_alloc(heap: *mut c_void, size: usize) -> *mut c_void;
        fn rpmalloc_heap_free_all(heap: *mut c_void);
        fn rpmalloc_heap_release(heap: *mut c_void);
    }

    pub struct Heap(*mut c_void);

    // SAFETY: one thread at a time uses it.
    unsafe impl Send for Heap {}

    impl Bulk for Heap {
        fn new() -> Self {
            // SAFETY: rpmalloc is the global allocator, and so initialised.
            Self(unsafe { rpmalloc_heap_acquire() })
        }

        fn take(&mut self, layout: Layout) -> *mut u8 {
            // SAFETY: the heap is live.
            unsafe { rpmalloc_heap_alloc(self.0, layout.size()) }.cast()
        }

        fn free_all(self) {
            // SAFETY: the heap is live and nothing uses its blocks any more.
            unsafe { rpmalloc_heap_free_all(self.0) };
            // SAFETY: the heap is live, and not used again.
            unsafe { rpmalloc_heap_release(self.0) };
        }
    }
}

#[cfg(feature = "arenas")]
pub const ROWS: &[Row] = &[
    Row { name: "free all, bumpalo", run: free_all::<bumpalo::Bump> },
    Row { name: "free all, bump-scope", run: free_all::<bump_scope::Bump> },
];

#[cfg(feature = "arenas")]
mod arenas {
    use bump_scope::traits::BumpAllocatorTyped as _;

    use super::{Bulk, Layout};

    impl Bulk for bumpalo::Bump {
        fn new() -> Self {
            Self::new()
        }

        fn take(&mut self, layout: Layout) -> *mut u8 {
            self.alloc_layout(layout).as_ptr()
        }

        fn free_all(self) {
            drop(self);
        }
    }

    impl Bulk for bump_scope::Bump {
        fn new() -> Self {
            Self::new()
        }

        fn take(&mut self, layout: Layout) -> *mut u8 {
            self.allocate_layout(layout).as_ptr()
        }

        fn free_all(self) {
            drop(self);
        }
    }
}

#[cfg(not(any(
    feature = "expert",
    feature = "mimalloc2",
    feature = "mimalloc3",
    feature = "rpmalloc-heaps",
    feature = "arenas"
)))]
pub const ROWS: &[Row] = &[];
