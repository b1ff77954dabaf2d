//! Calls by key that save a fence run against the end of the key's expert.
//!
//! Follows `at_once::allocate_by_key` and `at_once::Current::free`, `Closing`, and the end of
//! an ended owner's block: a sweep takes its tag by an exchange, or its span ends. In both
//! cases the next owner gets it.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::*};
use loom::thread;

use crate::pins::Pins;
use crate::sync::{fence, fence_behind_exchange};

const KEY: usize = 5;

/// The slot's word: that of the expert, or of no expert.
const VALID: usize = 1;
const ENDED: usize = 0;

/// Tags: none, the expert's, the next owner's. `IN_WORK` is added while a call is at work.
const NONE: usize = 0;
const RAW: usize = 2;
const NEXT: usize = 4;
const IN_WORK: usize = 1;

/// Mistakes that the models must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// The exchange is no fence.
    NoFence,
    /// The key is not read again.
    LooksOnce,
    /// The tag is put back by a store.
    PutsBackByStore,
}

struct Scene {
    pins: Pins,
    word: AtomicUsize,
    tag: AtomicUsize,
    block: UnsafeCell<u32>,
    mistake: Mistake,
}

// SAFETY: the cell is checked by loom, which is what it is for.
unsafe impl Sync for Scene {}
// SAFETY: as above.
unsafe impl Send for Scene {}

impl Scene {
    /// Writes into the block, or into memory that an end takes away; only the caller uses
    /// it.
    fn use_block(&self) {
        // SAFETY: only the caller uses it, if the protocol holds.
        self.block.with_mut(|block| unsafe { *block += 1 });
    }

    /// An allocation for the expert, which does not end meanwhile. Returns whether the
    /// expert was there.
    fn allocate(&self) -> bool {
        let fenced = match self.mistake {
            Mistake::NoFence => self.pins.pin_first(KEY),
            _ => self.pins.pin_first_and_fence(KEY),
        };
        assert!(fenced);
        let is_there = self.word.load(SeqCst) == VALID;
        if is_there {
            self.use_block();
        }
        self.pins.unpin_first();
        is_there
    }

    /// A free of the block. Returns whether the expert was there and had the block.
    fn free(&self) -> bool {
        if self.word.load(SeqCst) != VALID {
            return false;
        }
        assert!(self.pins.pin_first(KEY));
        let done = self.take();
        self.pins.unpin_first();
        done
    }

    fn take(&self) -> bool {
        if self.tag.compare_exchange(RAW, RAW | IN_WORK, AcqRel, Acquire).is_err() {
            return false;
        }
        if self.mistake != Mistake::NoFence {
            fence_behind_exchange();
        }
        if self.mistake != Mistake::LooksOnce && self.word.load(SeqCst) != VALID {
            if self.mistake == Mistake::PutsBackByStore {
                self.tag.store(RAW, Release);
            } else {
                self.tag.compare_exchange(RAW | IN_WORK, RAW, AcqRel, Acquire).ok();
            }
            return false;
        }
        self.tag.store(NONE, Release);
        self.use_block();
        true
    }

    /// Ends the expert.
    fn end(&self) {
        self.word.store(ENDED, SeqCst);
        fence(SeqCst);
        let seen = self.pins.seen();
        while !self.pins.are_past(KEY, seen) {
            thread::yield_now();
        }
    }

    /// Ends the expert, and sweeps its block, which the next owner gets. Returns whether it
    /// does.
    fn end_and_sweep(&self) -> bool {
        self.end();
        let tag = self.tag.load(Acquire);
        let is_mine = tag != NONE && self.tag.compare_exchange(tag, NONE, AcqRel, Acquire).is_ok();
        if is_mine {
            self.hand_out();
        }
        is_mine
    }

    /// Ends the expert, and the block's span; the next one there is another owner's. The
    /// block is gone, freed or not.
    fn end_with_span(&self) -> bool {
        self.end();
        // This is a store in the library. loom would let an earlier store of a tag come after
        // it.
        self.tag.swap(NONE, Relaxed);
        self.hand_out();
        true
    }

    fn hand_out(&self) {
        self.use_block();
        self.tag.store(NEXT, Release);
    }
}

fn against(
    mistake: Mistake,
    call: fn(&Scene) -> bool,
    end: fn(&Scene) -> bool,
    then: fn(&Scene, bool, bool),
) {
    loom::model(move || {
        let scene = Arc::new(Scene {
            pins: Pins::new(),
            word: AtomicUsize::new(VALID),
            tag: AtomicUsize::new(RAW),
            block: UnsafeCell::new(0),
            mistake,
        });
        let caller = Arc::clone(&scene);
        let caller = thread::spawn(move || call(&caller));
        let ended = end(&scene);
        let called = caller.join().unwrap();
        then(&scene, called, ended);
    });
}

fn allocation_against_end(mistake: Mistake) {
    let end = |scene: &Scene| {
        scene.end();
        scene.use_block();
        true
    };
    against(mistake, Scene::allocate, end, |_, _, _| {});
}

#[test]
fn an_end_waits_for_an_allocation() {
    allocation_against_end(Mistake::None);
}

#[test]
#[should_panic]
fn an_allocation_without_a_fence_is_found_out() {
    allocation_against_end(Mistake::NoFence);
}

fn free_against_sweep(mistake: Mistake) {
    against(mistake, Scene::free, Scene::end_and_sweep, |scene, freed, swept| {
        assert!(!(freed && swept), "one of two has the block");
        let left = if freed {
            NONE
        } else if swept {
            NEXT
        } else {
            RAW
        };
        assert_eq!(scene.tag.load(Relaxed), left);
    });
}

fn free_against_end_of_span(mistake: Mistake) {
    against(mistake, Scene::free, Scene::end_with_span, |scene, _, _| {
        assert_eq!(scene.tag.load(Relaxed), NEXT);
    });
}

#[test]
fn a_late_free_spares_a_block_that_is_swept() {
    free_against_sweep(Mistake::None);
}

#[test]
fn a_late_free_spares_the_next_span() {
    free_against_end_of_span(Mistake::None);
}

#[test]
#[should_panic]
fn a_free_without_a_fence_is_found_out() {
    free_against_end_of_span(Mistake::NoFence);
}

#[test]
#[should_panic]
fn a_free_that_looks_once_is_found_out() {
    free_against_end_of_span(Mistake::LooksOnce);
}

#[test]
#[should_panic]
fn a_tag_put_back_by_a_store_is_found_out() {
    free_against_end_of_span(Mistake::PutsBackByStore);
}

#[test]
#[should_panic]
fn a_swept_tag_put_back_by_a_store_is_found_out() {
    free_against_sweep(Mistake::PutsBackByStore);
}
