//! Figures that are added up while blocks are allocated, freed and moved.
//!
//! Follows `usage::in_common`, where each thread counts for itself, and `Span::moving` and
//! `Span::used`, where free blocks move from list to list.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::*, fence};
use loom::thread;

/// Mistakes that the models must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// Allocations are added up before the frees.
    AllocationsFirst,
    /// A free is counted, or read, without an order.
    Unordered,
    /// Moving blocks are counted without a look at the version.
    NoVersion,
}

/// The lines of two threads: one allocates, the other frees.
struct Lines {
    allocations: [AtomicUsize; 2],
    frees: [AtomicUsize; 2],
    mistake: Mistake,
}

impl Lines {
    // There are no loads before these stores: see the crate's documentation.
    fn allocate(&self, thread: usize) {
        self.allocations[thread].store(1, Relaxed);
    }

    fn free(&self, thread: usize) {
        let order = if self.mistake == Mistake::Unordered { Relaxed } else { Release };
        // Release: the allocation of this block.
        self.frees[thread].store(1, order);
    }

    fn sum(&self, counts: &[AtomicUsize; 2]) -> usize {
        counts.iter().map(|count| count.load(Acquire)).sum()
    }

    /// Allocations and frees.
    fn read(&self) -> (usize, usize) {
        if self.mistake == Mistake::AllocationsFirst {
            let allocations = self.sum(&self.allocations);
            return (allocations, self.sum(&self.frees));
        }
        let frees = self.sum(&self.frees);
        (self.sum(&self.allocations), frees)
    }
}

/// A block goes to another thread, which frees it, while a third adds up.
fn added_up(mistake: Mistake) {
    loom::model(move || {
        let two = || [AtomicUsize::new(0), AtomicUsize::new(0)];
        let lines = Arc::new(Lines { allocations: two(), frees: two(), mistake });
        let there = Arc::clone(&lines);
        let one = thread::spawn(move || {
            there.allocate(0);
            // The thread begins with the block.
            thread::spawn(move || there.free(1)).join().unwrap();
        });
        let (allocations, frees) = lines.read();
        assert!(frees <= allocations, "{frees} blocks of {allocations} are free");
        one.join().unwrap();
    });
}

#[test]
fn no_more_blocks_seem_free_than_there_are() {
    added_up(Mistake::None);
}

#[test]
#[should_panic]
fn reading_allocations_first_is_found_out() {
    added_up(Mistake::AllocationsFirst);
}

#[test]
#[should_panic]
fn counting_without_an_order_is_found_out() {
    added_up(Mistake::Unordered);
}

/// A span with four blocks, two of them free, which its thread moves to its bin.
struct Span {
    local: AtomicUsize,
    bin: AtomicUsize,
    version: AtomicUsize,
    mistake: Mistake,
}

const CARVED: usize = 4;

impl Span {
    fn moving(&self, f: impl FnOnce()) {
        self.version.store(1, Relaxed);
        // Release: the odd version before the moves (the fence in `used`).
        if self.mistake != Mistake::Unordered {
            fence(Release);
        }
        f();
        // Release: the moves before the even version (the Acquire in `used`).
        self.version.store(2, Release);
    }

    fn fill_bin(&self) {
        self.moving(|| {
            self.local.store(0, Relaxed);
            self.bin.store(2, Relaxed);
        });
    }

    /// The number of blocks in use, as another thread sees it; `None` while they move.
    fn used(&self) -> Option<usize> {
        let before = self.version.load(Acquire);
        let free = self.local.load(Relaxed) + self.bin.load(Relaxed);
        fence(Acquire);
        let is_same = self.version.load(Relaxed) == before && before.is_multiple_of(2);
        (is_same || self.mistake == Mistake::NoVersion).then_some(CARVED.wrapping_sub(free))
    }
}

/// The expert ends, or its figures are read, while its thread fills a bin.
fn counted_while_moved(mistake: Mistake) {
    loom::model(move || {
        let (local, bin) = (AtomicUsize::new(2), AtomicUsize::new(0));
        let span = Arc::new(Span { local, bin, version: AtomicUsize::new(0), mistake });
        let owner = Arc::clone(&span);
        let owner = thread::spawn(move || owner.fill_bin());
        if let Some(used) = span.used() {
            assert_eq!(used, 2, "blocks that move are counted twice, or not at all");
        }
        owner.join().unwrap();
        assert_eq!(span.used(), Some(2));
    });
}

#[test]
fn blocks_that_move_are_counted_once() {
    counted_while_moved(Mistake::None);
}

#[test]
#[should_panic]
fn counting_without_a_version_is_found_out() {
    counted_while_moved(Mistake::NoVersion);
}

#[test]
#[should_panic]
fn moving_without_a_fence_is_found_out() {
    counted_while_moved(Mistake::Unordered);
}
