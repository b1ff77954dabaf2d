//! The lock: it has one holder at a time, and no thread waits for ever.
//!
//! A wake that is lost is a thread that waits for ever, which loom calls a deadlock.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::lock::Lock;
use crate::sync::{AtomicU32, Ordering};
use crate::wait::Waiters;

/// Tries every order of steps of two threads. Of three threads, it tries the orders with at
/// most two preemptions, because there are too many others.
fn explore(threads: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = (threads > 2).then_some(2);
    builder.check(model);
}

/// Runs `step` in `threads` threads, this one among them. Their shared state is leaked,
/// because loom's own pointers cannot be dropped when it finds a deadlock.
fn together<T: Sync + 'static>(threads: usize, shared: T, step: fn(&T)) -> &'static T {
    let shared: &'static T = Box::leak(Box::new(shared));
    let others: Vec<_> = (1..threads).map(|_| thread::spawn(move || step(shared))).collect();
    step(shared);
    others.into_iter().for_each(|thread| thread.join().unwrap());
    shared
}

/// A count that loom watches.
struct Count(UnsafeCell<u32>);

impl Count {
    fn add(&self) {
        // SAFETY: only the lock's holder is here, if the lock works.
        self.0.with_mut(|count| unsafe { *count += 1 });
    }

    fn get(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|count| unsafe { *count })
    }
}

// SAFETY: the cell is checked by loom, which is what it is for.
unsafe impl Sync for Count {}
// SAFETY: as above.
unsafe impl Send for Count {}

fn each_adds_one(threads: usize) {
    explore(threads, move || {
        let lock = Lock::new(Count(UnsafeCell::new(0)));
        let lock = together(threads, lock, |lock: &Lock<Count>| lock.lock().add());
        assert_eq!(lock.lock().get(), threads as u32);
    });
}

#[test]
fn two_threads_hold_it_in_turn() {
    each_adds_one(2);
}

#[test]
fn of_three_threads_each_is_woken() {
    each_adds_one(3);
}

#[test]
fn what_was_taken_for_good_can_be_given_back() {
    loom::model(|| {
        let lock = Arc::new(Lock::new(Count(UnsafeCell::new(0))));
        lock.lock_forever();
        let there = Arc::clone(&lock);
        let other = thread::spawn(move || there.lock().add());
        // SAFETY: S1: taken above.
        unsafe { lock.force_unlock() };
        other.join().unwrap();
        assert_eq!(lock.lock().get(), 1);
    });
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    /// The twin has no mistake.
    None,
    /// A waiter takes the lock without saying that others may be waiting.
    TakesUnmarked,
    /// A waiter does not announce itself, so it is not woken.
    WaitsUnmarked,
    /// Releasing the lock orders nothing.
    GivesRelaxed,
}

/// A short copy of the lock, with a mistake.
struct Twin {
    word: AtomicU32,
    waiters: Waiters,
    count: Count,
    mistake: Mistake,
}

impl Twin {
    fn add(&self) {
        if self.word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.wait();
        }
        self.count.add();
        let order = match self.mistake {
            Mistake::GivesRelaxed => Ordering::Relaxed,
            _ => Ordering::Release,
        };
        if self.word.swap(0, order) == 2 {
            self.waiters.wake_one(&self.word);
        }
    }

    fn wait(&self) {
        let mark = if self.mistake == Mistake::WaitsUnmarked { 1 } else { 2 };
        while self.word.swap(mark, Ordering::Acquire) != 0 {
            self.waiters.wait(&self.word, mark);
            let takes = || self.word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
            if self.mistake == Mistake::TakesUnmarked && takes().is_ok() {
                break;
            }
        }
    }
}

fn each_adds_one_to_a_twin(mistake: Mistake) {
    explore(3, move || {
        let (word, count) = (AtomicU32::new(0), Count(UnsafeCell::new(0)));
        let twin = Twin { word, waiters: Waiters::new(), count, mistake };
        assert_eq!(together(3, twin, Twin::add).count.get(), 3);
    });
}

#[test]
fn a_twin_without_a_mistake_is_a_lock() {
    each_adds_one_to_a_twin(Mistake::None);
}

#[test]
#[should_panic]
fn taking_without_a_mark_is_found_out() {
    each_adds_one_to_a_twin(Mistake::TakesUnmarked);
}

#[test]
#[should_panic]
fn waiting_without_a_mark_is_found_out() {
    each_adds_one_to_a_twin(Mistake::WaitsUnmarked);
}

#[test]
#[should_panic]
fn giving_back_without_order_is_found_out() {
    each_adds_one_to_a_twin(Mistake::GivesRelaxed);
}
