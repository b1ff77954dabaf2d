//! A thread, as others see it: its token, its lock and its pins.
//!
//! Invariants
//!
//! - PRESENT1 a token tells a living thread from all others; when the thread has
//!   ended, no span and no cache has it any more.
//! - PRESENT2 while the thread has pins, PIN1 and PIN2 hold (see `pins`).
//! - PRESENT3 caches, queues, lists of spans and what is kept idle are changed while the thread's
//!   lock is held: by the thread itself in its slow paths, or by another thread that ends spans
//!   without a block in use. Only the thread uses bins, current spans, lines, and any span with a
//!   block in use, so the fast paths need no lock.

use core::cell::Cell;
use core::ptr;

use super::pins::Pins;
use super::token::token;
use crate::lock::{Guard, Lock};
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, Ordering::Relaxed};

/// The part of a thread that others see, and its lock. It is a part of the thread's record,
/// and is recycled with it, never freed.
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
    // It is const and has no destructor, so it is there until the thread is gone.
    static MINE: Cell<Option<&'static Presence>> = const { Cell::new(None) };
}

/// The presence of this thread, if it has a record.
#[inline]
pub fn mine() -> Option<&'static Presence> {
    MINE.with(Cell::get)
}

/// The presences of all threads, and of unused records.
pub fn made() -> impl Iterator<Item = &'static Presence> {
    // Acquire: the records (the Release in `enrol`).
    // SAFETY: null or a part of a record, which is never freed.
    let first = unsafe { MADE.load(Ordering::Acquire).as_ref() };
    core::iter::successors(first, |presence| {
        // SAFETY: as above.
        unsafe { presence.next_made.load(Relaxed).as_ref() }
    })
}

/// The presences of all threads except this one.
pub fn others() -> impl Iterator<Item = &'static Presence> {
    let mine = mine();
    made().filter(move |other| !mine.is_some_and(|mine| ptr::eq(mine, *other)))
}

/// The lock of this thread (PRESENT3), until it is dropped. It is taken once for all work of
/// the thread in between.
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
    /// The presence of a new record.
    pub fn new() -> Self {
        Self {
            lock: Lock::new(()),
            holds: Cell::new(0),
            token: AtomicUsize::new(0),
            pins: Pins::new(),
            next_made: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Lets other threads find it from now on. It is called once, under the lock of the
    /// records' pool.
    pub fn enrol(&'static self) {
        self.next_made.store(MADE.load(Relaxed), Relaxed);
        // Release: the record (the Acquire in `made`).
        MADE.store(ptr::from_ref(self).cast_mut(), Ordering::Release);
    }

    /// Makes it the presence of this thread.
    pub fn arrive(&'static self) {
        self.token.store(token(), Relaxed);
        MINE.with(|mine| mine.set(Some(self)));
    }

    /// Makes it the presence of no thread, because this thread ends.
    pub fn depart(&self) {
        MINE.with(|mine| mine.set(None));
        self.token.store(0, Relaxed);
    }

    /// The thread's token; 0 if it has ended or is lost.
    pub fn token(&self) -> usize {
        self.token.load(Relaxed)
    }

    /// The thread's pins.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Takes the thread's lock; the thread itself calls this.
    pub fn hold(&'static self) -> Held {
        let is_first = self.holds.get() == 0;
        let lock = is_first.then(|| self.lock.lock());
        self.holds.set(self.holds.get() + 1);
        Held { presence: self, lock }
    }

    /// Runs `f` while this other thread is in none of its slow paths. Does nothing if that
    /// thread has ended or is lost, or if it is busy and the caller is in a slow path of
    /// its own, because two threads could wait for each other for ever.
    pub fn visit<T>(&'static self, f: impl FnOnce() -> T) -> Option<T> {
        let mine = mine();
        if self.token() == 0 || mine.is_some_and(|mine| ptr::eq(mine, self)) {
            return None;
        }
        let may_wait = mine.is_none_or(|mine| mine.holds.get() == 0);
        crate::sync::delay(crate::sync::Window::VisitThread);
        let held = if may_wait { Some(self.lock.lock()) } else { self.lock.try_lock() };
        let _held = held?;
        (self.token() != 0).then(f)
    }
}

/// Marks the threads that a child of `fork` does not have as lost, so no thread waits for
/// them.
#[cfg(unix)]
pub fn lose_others() {
    for other in others() {
        other.token.store(0, Relaxed);
        // The thread that held the lock, its owner or a visitor, is not in the child.
        // SAFETY: S1: this is the copy of the thread that took it, if a thread did.
        unsafe { other.lock.force_unlock() };
    }
}

/// Keeps other threads from visiting this one, for `fork`. A thread without a record has no
/// visitors, and need not be known before the lock is given back.
#[cfg(unix)]
pub fn hold_forever() {
    if let Some(mine) = mine() {
        core::mem::forget(mine.hold());
        FORKS.store(ptr::from_ref(mine).cast_mut(), Relaxed);
    }
}

/// The presence of the thread that forks and holds its own lock; null if it has no record.
/// That thread, and its copy in the child, write and read it.
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
