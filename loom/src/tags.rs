//! A tag per block: one exchange of the tag decides which thread may free the block.
//!
//! The models run raw calls with stale pointers against the end of the block and its next
//! use. They run frees by any thread against sweeps, which free the blocks of ended owners
//! and give adopted blocks the host's number. Follows `raw::Work`, `raw::free_at_once`,
//! `common::take_tag` and `sweep::sweep_span`.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::*};
use loom::thread;

/// Tags, which name the owner of a block. `IN_WORK` is added while a raw call is at work.
const NONE: usize = 0;
const RAW: usize = 2;
const OTHER: usize = 4;
const ADOPTED: usize = 6;
const DEAD: usize = 8;
const HOSTS: usize = 10;
const BOUND: usize = 12;
const IN_WORK: usize = 1;

/// Mistakes that the models must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// A tag is taken by a load and a store.
    TakesInTwoSteps,
    /// The mark of a raw block is in the block, where the next owner may write it.
    InTheBlock,
    /// A raw call that is at work leaves no tag.
    FlickersInWork,
    /// If the exchange fails, the tag is not taken.
    GivesUp,
    /// The end of an owner does not publish what it wrote to its blocks.
    EndsInSilence,
}

/// A block, with the counts of two numbers: the ended owner's and the host's.
struct Scene {
    /// Whether the span is one of raw blocks; only one of the mistakes reads this.
    is_raw: AtomicUsize,
    tag: AtomicUsize,
    block: UnsafeCell<u32>,
    /// Whether the owner has ended and its blocks may be swept.
    has_ended: AtomicUsize,
    /// Blocks in use of the ended owner and the host.
    ended: AtomicUsize,
    hosts: AtomicUsize,
    frees: AtomicUsize,
    mistake: Mistake,
}

// SAFETY: the cell is checked by loom, which is what it is for.
unsafe impl Sync for Scene {}
// SAFETY: as above.
unsafe impl Send for Scene {}

impl Scene {
    fn new(tag: usize, mistake: Mistake) -> Arc<Self> {
        Arc::new(Self {
            is_raw: AtomicUsize::new(1),
            tag: AtomicUsize::new(tag),
            block: UnsafeCell::new(0),
            has_ended: AtomicUsize::new(usize::from(tag == DEAD)),
            ended: AtomicUsize::new(1),
            hosts: AtomicUsize::new(0),
            frees: AtomicUsize::new(0),
            mistake,
        })
    }

    /// Writes into the block, which only the caller uses.
    fn use_block(&self) {
        // SAFETY: the caller's alone, if the protocol holds.
        self.block.with_mut(|block| unsafe { *block += 1 });
    }

    fn exchange(&self, old: usize, new: usize) -> bool {
        if self.mistake == Mistake::TakesInTwoSteps {
            let is_old = self.tag.load(Acquire) == old;
            if is_old {
                self.tag.store(new, Release);
            }
            return is_old;
        }
        self.tag.compare_exchange(old, new, AcqRel, Acquire).is_ok()
    }

    /// Begins a raw call, and returns whether there is a raw block.
    fn begin(&self) -> bool {
        if self.mistake == Mistake::InTheBlock && self.is_raw.load(Acquire) == 0 {
            return false;
        }
        loop {
            match self.tag.load(Acquire) {
                RAW if self.exchange(RAW, self.at_work()) => return true,
                RAW => {}
                tag if tag == RAW | IN_WORK => thread::yield_now(),
                _ => return false,
            }
        }
    }

    fn at_work(&self) -> usize {
        if self.mistake == Mistake::FlickersInWork { NONE } else { RAW | IN_WORK }
    }

    /// A raw free, which returns whether there was a block to free.
    fn free_raw(&self) -> bool {
        let is_mine = self.begin();
        if is_mine {
            self.tag.store(NONE, Release);
            self.use_block();
        }
        is_mine
    }

    /// A raw free that takes the tag for good by one exchange, if no other call is at work.
    /// Returns whether there was a block to free.
    fn free_raw_at_once(&self) -> bool {
        if self.exchange(RAW, NONE) {
            self.use_block();
            return true;
        }
        self.free_raw()
    }

    /// A raw realloc that is refused; returns whether there was a block.
    fn refuse(&self) -> bool {
        let is_mine = self.begin();
        if is_mine {
            self.tag.store(RAW, Release);
        }
        is_mine
    }

    /// The block is handed out to another owner. The new owner may write any content.
    fn hand_out(&self) {
        self.is_raw.store(0, Release);
        self.use_block();
        let written = if self.mistake == Mistake::InTheBlock { RAW } else { OTHER };
        self.tag.store(written, Release);
    }

    /// A free of an ambient block by a thread that does not own its span.
    fn free(&self) {
        let tag = self.tag.load(Acquire);
        let taken = if self.exchange(tag, NONE) {
            tag
        } else if self.mistake == Mistake::GivesUp {
            return;
        } else {
            self.tag.swap(NONE, Relaxed)
        };
        self.count_free(taken);
    }

    fn count_free(&self, tag: usize) {
        self.use_block();
        self.frees.fetch_add(1, Relaxed);
        let count = if tag == HOSTS { &self.hosts } else { &self.ended };
        assert_ne!(count.fetch_sub(1, AcqRel), 0, "freed twice, or counted for another");
    }

    /// The sweep of the span's own thread over a block that the host has adopted.
    fn pass_to_host(&self) {
        if self.tag.load(Acquire) == ADOPTED {
            self.hosts.fetch_add(1, AcqRel);
            if self.exchange(ADOPTED, HOSTS) {
                assert_ne!(self.ended.fetch_sub(1, AcqRel), 0, "counted as freed already");
            } else {
                self.hosts.fetch_sub(1, AcqRel);
            }
        }
    }

    /// The owner of a block writes to it for the last time, and ends.
    fn end(&self) {
        self.use_block();
        let order = if self.mistake == Mistake::EndsInSilence { Relaxed } else { Release };
        self.has_ended.store(1, order);
    }

    /// A sweep over a block, which is freed if its owner has ended.
    fn sweep(&self) {
        let tag = self.tag.load(Acquire);
        if tag != NONE && self.has_ended.load(Acquire) == 1 && self.exchange(tag, NONE) {
            self.count_free(tag);
        }
    }
}

/// Two threads, and the condition that must hold in the end.
fn between<A: Send + 'static, B: 'static>(
    tag: usize,
    mistake: Mistake,
    one: fn(&Scene) -> A,
    other: fn(&Scene) -> B,
    then: fn(&Scene, A, B),
) {
    loom::model(move || {
        let scene = Scene::new(tag, mistake);
        let there = Arc::clone(&scene);
        let there = thread::spawn(move || one(&there));
        let here = other(&scene);
        then(&scene, there.join().unwrap(), here);
    });
}

/// A late free runs against the intended free and the block's next use.
fn late_free(mistake: Mistake) {
    let free_and_hand_out = |scene: &Scene| {
        let is_mine = scene.free_raw();
        if is_mine {
            scene.hand_out();
        }
        is_mine
    };
    between(RAW, mistake, Scene::free_raw, free_and_hand_out, |_, late, meant| {
        assert_ne!(late, meant, "one of two frees has the block");
    });
}

#[test]
fn a_late_free_spares_the_next_owner() {
    late_free(Mistake::None);
}

/// As `late_free`, if both frees find the block at the same time.
fn late_free_at_once(mistake: Mistake) {
    let free_and_hand_out = |scene: &Scene| {
        let is_mine = scene.free_raw_at_once();
        if is_mine {
            scene.hand_out();
        }
        is_mine
    };
    between(RAW, mistake, Scene::free_raw_at_once, free_and_hand_out, |_, late, meant| {
        assert_ne!(late, meant, "one of two frees has the block");
    });
}

#[test]
fn a_late_free_at_once_spares_the_next_owner() {
    late_free_at_once(Mistake::None);
}

#[test]
#[should_panic]
fn freeing_at_once_in_two_steps_is_found_out() {
    late_free_at_once(Mistake::TakesInTwoSteps);
}

#[test]
#[should_panic]
fn a_mark_in_the_block_is_found_out() {
    late_free(Mistake::InTheBlock);
}

#[test]
#[should_panic]
fn taking_a_raw_block_in_two_steps_is_found_out() {
    late_free(Mistake::TakesInTwoSteps);
}

/// A realloc that is refused runs against a free.
fn refused_realloc(mistake: Mistake) {
    between(RAW, mistake, Scene::refuse, Scene::free_raw, |_, _, freed| {
        assert!(freed, "the block was there all the time");
    });
}

#[test]
fn a_block_is_there_while_a_realloc_is_refused() {
    refused_realloc(Mistake::None);
}

#[test]
fn a_free_at_once_waits_for_a_realloc_that_is_refused() {
    between(RAW, Mistake::None, Scene::refuse, Scene::free_raw_at_once, |_, _, freed| {
        assert!(freed, "the block was there all the time");
    });
}

#[test]
#[should_panic]
fn a_block_that_is_gone_meanwhile_is_found_out() {
    refused_realloc(Mistake::FlickersInWork);
}

/// A free runs against the sweep that makes the block the host's.
fn free_against_adoption(mistake: Mistake) {
    between(ADOPTED, mistake, Scene::free, Scene::pass_to_host, |scene, (), ()| {
        assert_eq!(scene.tag.load(Relaxed), NONE, "a free block has no tag");
        let left = (scene.ended.load(Relaxed), scene.hosts.load(Relaxed));
        assert_eq!((left, scene.frees.load(Relaxed)), ((0, 0), 1));
    });
}

#[test]
fn a_free_is_counted_for_the_one_whose_block_it_was() {
    free_against_adoption(Mistake::None);
}

#[test]
#[should_panic]
fn taking_an_adopted_block_in_two_steps_is_found_out() {
    free_against_adoption(Mistake::TakesInTwoSteps);
}

#[test]
#[should_panic]
fn giving_up_is_found_out() {
    free_against_adoption(Mistake::GivesUp);
}

/// Two sweeps run over the blocks that an ended owner has left.
fn two_sweeps(mistake: Mistake) {
    between(DEAD, mistake, Scene::sweep, Scene::sweep, |scene, (), ()| {
        assert_eq!((scene.ended.load(Relaxed), scene.frees.load(Relaxed)), (0, 1));
    });
}

#[test]
fn one_of_two_sweeps_frees_a_block() {
    two_sweeps(Mistake::None);
}

#[test]
#[should_panic]
fn sweeping_in_two_steps_is_found_out() {
    two_sweeps(Mistake::TakesInTwoSteps);
}

/// An owner ends while a sweep runs.
fn end_against_sweep(mistake: Mistake) {
    between(BOUND, mistake, Scene::end, Scene::sweep, |scene, (), ()| {
        assert_eq!(scene.ended.load(Relaxed) + scene.frees.load(Relaxed), 1);
    });
}

#[test]
fn a_sweep_writes_to_a_block_after_its_owner() {
    end_against_sweep(Mistake::None);
}

#[test]
#[should_panic]
fn an_end_in_silence_is_found_out() {
    end_against_sweep(Mistake::EndsInSilence);
}
