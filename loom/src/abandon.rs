//! A thread ends and leaves a span. Other threads free its last blocks, or adopt it.
//! Exactly one thread ends the span when it is empty.
//!
//! Follows `leaving::abandon_span`, `free::end_if_empty` and
//! `Cache::adopt_abandoned`.

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::lists::Span;

/// The fields of the span's header that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Owned,
    Abandoned,
    Ended,
}

/// Mistakes that the models must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// The owner checks for an empty span before it sets the mark, not after.
    LooksTooEarly,
    /// The thread that frees the last block of a span does not look at the span's state.
    EndsWithoutLooking,
    /// The thread that adopts a span marks it as its own after it has left the lock.
    AdoptsOutsideLock,
}

/// A span in use, carved into `carved` blocks, none of them free.
struct Scene {
    span: Span,
    carved: u32,
    local: AtomicUsize,
    heap: Mutex<State>,
    ends: AtomicUsize,
    mistake: Mistake,
}

impl Scene {
    fn new(carved: u32, mistake: Mistake) -> Arc<Self> {
        let (local, ends) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let heap = Mutex::new(State::Owned);
        Arc::new(Self { span: Span::new(), carved, local, heap, ends, mistake })
    }

    fn outstanding(&self) -> u32 {
        self.carved - self.local.load(Relaxed) as u32 - self.span.remote.state().count()
    }

    fn end(&self, state: &mut State) {
        *state = State::Ended;
        self.ends.fetch_add(1, Relaxed);
    }

    fn abandon(&self) {
        let mut state = self.heap.lock().unwrap();
        let before = self.span.remote.state();
        let after = self.span.remote.set_abandoned(true);
        let remote =
            if self.mistake == Mistake::LooksTooEarly { before.count() } else { after.count() };
        if self.local.load(Relaxed) as u32 + remote == self.carved {
            self.end(&mut state);
        } else {
            *state = State::Abandoned;
        }
    }

    fn free(&self, block: usize) {
        let mut is_last = false;
        let after = self.span.push_looking(block, |state| {
            is_last = self.local.load(Relaxed) as u32 + state.count() + 1 >= self.carved;
        });
        if after.is_abandoned() && is_last {
            let mut state = self.heap.lock().unwrap();
            let is_mine = *state == State::Abandoned || self.mistake == Mistake::EndsWithoutLooking;
            if is_mine && self.outstanding() == 0 {
                self.end(&mut state);
            }
        }
    }

    /// Returns whether it adopted the span.
    fn adopt(&self) -> bool {
        let mut state = self.heap.lock().unwrap();
        if *state != State::Abandoned || self.outstanding() == self.carved {
            return false;
        }
        if self.mistake != Mistake::AdoptsOutsideLock {
            *state = State::Owned;
        }
        drop(state);
        self.span.remote.set_abandoned(false);
        if self.mistake == Mistake::AdoptsOutsideLock {
            *self.heap.lock().unwrap() = State::Owned;
        }
        assert_eq!(self.ends.load(Relaxed), 0, "ended in the hands of its owner");
        let home = self.span.take();
        assert!(!home.is_empty(), "adopted for its free blocks");
        self.local.fetch_add(home.len(), Relaxed);
        true
    }
}

/// Each of two other threads frees one block, while the owner ends.
fn the_last_two_frees(mistake: Mistake) {
    loom::model(move || {
        let scene = Scene::new(2, mistake);
        let frees = [0, 1].map(|block| {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.free(block))
        });
        scene.abandon();
        frees.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(scene.ends.load(Relaxed), 1, "somebody ends it, and only one does");
    });
}

#[test]
fn the_last_free_or_the_owner_ends_the_span() {
    the_last_two_frees(Mistake::None);
}

#[test]
#[should_panic]
fn looking_before_the_mark_is_found_out() {
    the_last_two_frees(Mistake::LooksTooEarly);
}

/// One block is free already. Another thread frees the second block, and a third thread
/// adopts the span for its free block.
fn the_last_free_while_adopted(mistake: Mistake) {
    loom::model(move || {
        let scene = Scene::new(2, mistake);
        scene.span.push(0);
        scene.abandon();
        let other = Arc::clone(&scene);
        let free = thread::spawn(move || other.free(1));
        let adopted = scene.adopt();
        free.join().unwrap();
        let ends = scene.ends.load(Relaxed);
        assert_eq!(ends, usize::from(!adopted), "ended iff nobody had adopted it");
    });
}

#[test]
fn who_adopts_a_span_keeps_it() {
    the_last_free_while_adopted(Mistake::None);
}

#[test]
#[should_panic]
fn adopting_outside_the_lock_is_found_out() {
    the_last_free_while_adopted(Mistake::AdoptsOutsideLock);
}

#[test]
#[should_panic]
fn ending_without_looking_is_found_out() {
    the_last_free_while_adopted(Mistake::EndsWithoutLooking);
}
