//! Tasks: the wakers of an expert, for when it must stop.
//!
//! A task that waits for something else would not notice that it may go no
//! further. So its waker is kept with its expert while it waits. Wakers are
//! called with no lock held: they are somebody else's code. `stop.rs` calls them.
//!
//! Invariants
//!
//! - WAITING1 if a task saw that its expert is live, after it had put its waker here, then
//!   the thread that changes that state later wakes it.
//! - WAITING2 `WAITING` is the number of places taken, over all experts.

use std::boxed::Box;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::vec::Vec;

use crate::sync::{AtomicUsize, Ordering::SeqCst, fence};

/// How many wakers there are; usually none, so there is nothing to look for.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Whether there is a waker at all, of any expert.
pub(crate) fn anybody_waits() -> bool {
    WAITING.load(SeqCst) != 0
}

/// The wakers of one expert's tasks. It is small, because every slot has one.
pub(crate) struct Tasks(Mutex<Option<Box<Wakers>>>);

/// Places for wakers; a task knows the number of its place.
#[derive(Default)]
struct Wakers {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Tasks {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Keeps the waker of a task, in the place that it already has or gets now. The caller
    /// then reads the expert's state, which keeps WAITING1. As the host.
    pub(crate) fn keep(&self, place: &mut Option<usize>, waker: &Waker) {
        let mut lock = self.lock();
        let wakers = lock.get_or_insert_default();
        let number = *place.get_or_insert_with(|| wakers.take_place());
        let kept = &mut wakers.places[number];
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            let before = kept.replace(waker.clone());
            drop(lock);
            drop(before);
        }
        // WAITING1: either `wake` sees the waker, or the caller sees the change that came
        // before `wake`.
        fence(SeqCst);
    }

    /// Gives up a task's place.
    pub(crate) fn give_up(&self, place: &mut Option<usize>) {
        let Some(number) = place.take() else { return };
        let mut lock = self.lock();
        let Some(wakers) = lock.as_mut() else { return };
        let before = wakers.places[number].take();
        wakers.free.push(number);
        WAITING.fetch_sub(1, SeqCst);
        // The last waker also gives the memory back.
        let empty = lock.take_if(|wakers| wakers.free.len() == wakers.places.len());
        drop(lock);
        drop((before, empty));
    }

    /// Forgets tasks that the program forgot with `mem::forget`, when their expert has
    /// ended.
    pub(crate) fn clear(&self) {
        let Some(left) = self.lock().take() else { return };
        WAITING.fetch_sub(left.places.len() - left.free.len(), SeqCst);
    }

    /// Copies of the wakers.
    pub(crate) fn kept(&self) -> Vec<Waker> {
        let lock = self.lock();
        lock.iter().flat_map(|wakers| wakers.places.iter().flatten().cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Wakers>>> {
        // A waker that panicked when it was cloned has left all as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wakers {
    fn take_place(&mut self) -> usize {
        WAITING.fetch_add(1, SeqCst);
        self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        })
    }
}
