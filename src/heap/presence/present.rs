//! A thread, as others see it: its token, its lock and its pins.
//!
//! Invariants
//!
//! - PRESENT1 a token tells a living thread from all others; when the thread has
//!   ended, no span and no cache has it any more.
//! - PRESENT2 while the thread has pins, PIN1 and PIN2 hold (see `pins`).
//! - PRESENT3 caches, queues, lists of spans and what is kept idle are changed while the thread's
//!   lock is held: by the thread itself in its slow paths, or by another that ends spans
//!   without a block in use. Bins, current spans and lines are the thread's alone, and so
//!   is any span with a block in use; so the fast paths need no lock.

use core::cell::Cell;
use core::ptr;

use super::pins::Pins;
use super::token::token;
use crate::lock::{Guard, Lock};
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, Ordering::Relaxed};

/// What others may see of a thread, and its lock. A part of the thread's record, and
/// recycled with it, never freed.
pub struct Presence {
    lock: Lock<()>,
    /// How often the thread itself holds the lock now. The thread's alone.
    holds: Cell<u32>,
    /// The thread's token; 0 while the record is unused or its thread is lost.
    token: AtomicUsize,
    pins: Pins,
    next_made: AtomicPtr<Presence>,
}

// SAFETY: the Cell is used by the thread alone.
unsafe impl Sync for Presence {}

static MADE: AtomicPtr<Presence> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    // Const and without a destructor: it is there until the thread is gone.
    static MINE: Cell<Option<&'static Presence>> = const { Cell::new(None) };
}

/// This thread's, if it has a record.
#[inline]
pub fn mine() -> Option<&'static Presence> {
    MINE.with(Cell::get)
}

/// Those of all threads, and of unused records.
pub fn made() -> impl Iterator<Item = &'static Presence> {
    // Acquire: the records (the Release in `enrol`).
    // SAFETY: null or a part of a record, which is never freed.
    let first = unsafe { MADE.load(Ordering::Acquire).as_ref() };
    core::iter::successors(first, |presence| {
        // SAFETY: as above.
        unsafe { presence.next_made.load(Relaxed).as_ref() }
    })
}

/// Those of all threads but this one.
pub fn others() -> impl Iterator<Item = &'static Presence> {
    let mine = mine();
    made().filter(move |other| !mine.is_some_and(|mine| ptr::eq(mine, *other)))
}

/// The lock of this thread (PRESENT3), until it is dropped. Held once for all that the thread
/// does in between.
pub struct Held {
    presence: &'static Presence,
    lock: Option<Guard<'static, ()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.presence.holds.set(self.presence.holds.get() - 1);
        drop(self.lock.take());
    }
}

/// Takes the lock of this thread, if it is known, and does not hold it already.
pub fn hold() -> Option<Held> {
    mine().map(Presence::hold)
}

impl Presence {
    /// That of a new record.
    pub fn new() -> Self {
        Self {
            lock: Lock::new(()),
            holds: Cell::new(0),
            token: AtomicUsize::new(0),
            pins: Pins::new(),
            next_made: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Makes others find it, from now on. Once, under the lock of the records' pool.
    pub fn enrol(&'static self) {
        self.next_made.store(MADE.load(Relaxed), Relaxed);
        // Release: the record (the Acquire in `made`).
        MADE.store(ptr::from_ref(self).cast_mut(), Ordering::Release);
    }

    /// Makes it this thread's.
    pub fn arrive(&'static self) {
        self.token.store(token(), Relaxed);
        MINE.with(|mine| mine.set(Some(self)));
    }

    /// Makes it nobody's: this thread, whose it is, ends.
    pub fn depart(&self) {
        MINE.with(|mine| mine.set(None));
        self.token.store(0, Relaxed);
    }

    /// The thread's token; 0 where it has ended or is lost.
    pub fn token(&self) -> usize {
        self.token.load(Relaxed)
    }

    /// The thread's pins.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Takes the thread's lock, by the thread itself.
    pub fn hold(&'static self) -> Held {
        let is_first = self.holds.get() == 0;
        let lock = is_first.then(|| self.lock.lock());
        self.holds.set(self.holds.get() + 1);
        Held { presence: self, lock }
    }

    /// Runs `f` while the thread, another one, is in none of its slow paths. Does nothing
    /// where it has ended or is lost; or where it is busy, and the caller in a slow path
    /// of its own: two that waited for each other there would wait for ever.
    pub fn visit<T>(&'static self, f: impl FnOnce() -> T) -> Option<T> {
        let mine = mine();
        if self.token() == 0 || mine.is_some_and(|mine| ptr::eq(mine, self)) {
            return None;
        }
        let may_wait = mine.is_none_or(|mine| mine.holds.get() == 0);
        let held = if may_wait { Some(self.lock.lock()) } else { self.lock.try_lock() };
        let _held = held?;
        (self.token() != 0).then(f)
    }
}

/// The threads that a child of `fork` does not have are lost: nobody waits for them.
#[cfg(unix)]
pub fn lose_others() {
    for other in others() {
        other.token.store(0, Relaxed);
        // The thread that held its lock, its own or a visitor, is not in the child.
        // SAFETY: S1: as the copy of whoever took it, if anybody did.
        unsafe { other.lock.force_unlock() };
    }
}

/// Keeps other threads from visiting this one: for `fork`. A thread without a record is
/// visited by nobody, and need not be known before the lock is given back.
#[cfg(unix)]
pub fn hold_forever() {
    if let Some(mine) = mine() {
        core::mem::forget(mine.hold());
        FORKS.store(ptr::from_ref(mine).cast_mut(), Relaxed);
    }
}

/// Of the thread that forks and holds its own lock; null where it has no record.
/// Written and read by that thread, and by its copy in the child.
#[cfg(unix)]
static FORKS: AtomicPtr<Presence> = AtomicPtr::new(ptr::null_mut());

/// Undoes [`hold_forever`].
#[cfg(unix)]
pub fn let_go() {
    // SAFETY: null or a part of a record, which is never freed.
    let Some(mine) = (unsafe { FORKS.swap(ptr::null_mut(), Relaxed).as_ref() }) else { return };
    mine.holds.set(mine.holds.get() - 1);
    if mine.holds.get() == 0 {
        // SAFETY: S1: `hold_forever` took it, in this thread.
        unsafe { mine.lock.force_unlock() };
    }
}
