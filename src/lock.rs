//! The lock of the host engine's cold paths. No lock is held while other code is called.
//!
//! One exchange takes it and one gives it back, if nobody waits. A thread that finds
//! it held looks again for a moment and then waits for the word to change (see
//! `wait`), so a holder of a lower real-time priority gets the core.
//!
//! `fork` holds all locks for a while, in which handlers of other libraries run, and may
//! allocate. During that time they are open to the thread that forks.
//!
//! Invariants
//!
//! - LOCK1 the word is `FREE` iff nobody holds the lock, and `AWAITED` if a thread may
//!   be waiting for it.
//! - LOCK2 only the holder uses the value; a thread never takes a lock that it holds,
//!   except the locks of `fork`, which uses no value meanwhile.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use crate::sync::{AtomicU32, Ordering};
use crate::wait::{Waiters, look_for};

const FREE: u32 = 0;
const HELD: u32 = 1;
const AWAITED: u32 = 2;

/// A value that one thread at a time uses. See the module.
pub struct Lock<T> {
    word: AtomicU32,
    waiters: Waiters,
    value: UnsafeCell<T>,
}

// SAFETY: the value goes from thread to thread with the lock (LOCK2).
unsafe impl<T: Send> Sync for Lock<T> {}

/// A guard: the right to use the value of a lock. The thread that has it drops it.
#[must_use = "the lock is given back when this is dropped"]
pub struct Guard<'a, T> {
    lock: &'a Lock<T>,
    /// Whether this thread holds the lock for `fork`, and keeps it.
    is_passed: bool,
    not_send: PhantomData<*const ()>,
}

impl<T> Lock<T> {
    /// A lock that no thread holds.
    #[cfg(not(loom))]
    pub const fn new(value: T) -> Self {
        let (word, waiters) = (AtomicU32::new(FREE), Waiters::new());
        Self { word, waiters, value: UnsafeCell::new(value) }
    }

    /// A lock that no thread holds.
    #[cfg(loom)]
    pub fn new(value: T) -> Self {
        let (word, waiters) = (AtomicU32::new(FREE), Waiters::new());
        Self { word, waiters, value: UnsafeCell::new(value) }
    }

    /// Waits until no thread holds the lock, and takes it.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        let is_passed = !self.try_take() && self.take_slow();
        Guard { lock: self, is_passed, not_send: PhantomData }
    }

    /// Takes the lock if no thread holds it.
    #[inline]
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let is_taken = self.try_take();
        is_taken.then_some(Guard { lock: self, is_passed: false, not_send: PhantomData })
    }

    /// Takes the lock without a guard.
    #[cfg(any(unix, loom))]
    pub fn lock_forever(&self) {
        core::mem::forget(self.lock());
    }

    /// Gives back a lock that was taken without a guard.
    ///
    /// # Safety
    ///
    /// - S1 this thread, or the parent process's thread it is the copy of, called
    ///   [`lock_forever`](Self::lock_forever) and has not undone it.
    #[cfg(any(unix, loom))]
    pub unsafe fn force_unlock(&self) {
        self.give();
    }

    #[inline]
    fn try_take(&self) -> bool {
        // Acquire: the writes of the last holder (the Release in `give`).
        self.word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes the lock and returns false, or returns true if this thread already holds it
    /// for `fork`.
    #[cold]
    #[inline(never)]
    fn take_slow(&self) -> bool {
        if forking::is_this_thread() {
            return true;
        }
        if look_for(FREE, &self.word) && self.try_take() {
            return false;
        }
        // Other threads may be waiting, so a thread that takes the lock from here on marks
        // it as awaited (LOCK1). Acquire: as in `try_take`.
        while self.word.swap(AWAITED, Ordering::Acquire) != FREE {
            self.waiters.wait(&self.word, AWAITED);
        }
        false
    }

    #[inline]
    fn give(&self) {
        // Release: the writes of this holder (the Acquires above).
        if self.word.swap(FREE, Ordering::Release) == AWAITED {
            self.wake();
        }
    }

    #[cold]
    #[inline(never)]
    fn wake(&self) {
        self.waiters.wake_one(&self.word);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: LOCK2: only this thread uses the value while the guard lives.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; there is one guard (LOCK2).
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_passed {
            self.lock.give();
        }
    }
}

#[cfg(all(unix, not(loom)))]
pub use forking::{begin_fork, end_fork};

/// The thread that holds all locks, because it forks.
#[cfg(all(unix, not(loom)))]
mod forking {
    use crate::sync::{AtomicUsize, Ordering::Relaxed};

    /// That thread, or 0. Relaxed: it matters only to the thread that wrote it, and to its
    /// copy in the child.
    static THREAD: AtomicUsize = AtomicUsize::new(0);

    fn here() -> usize {
        // SAFETY: no preconditions.
        (unsafe { libc::pthread_self() }) as usize
    }

    /// Opens all locks to this thread, which has taken each of them.
    pub fn begin_fork() {
        THREAD.store(here(), Relaxed);
    }

    /// Undoes [`begin_fork`], before the first lock is given back.
    pub fn end_fork() {
        THREAD.store(0, Relaxed);
    }

    pub fn is_this_thread() -> bool {
        THREAD.load(Relaxed) == here()
    }
}

#[cfg(not(all(unix, not(loom))))]
mod forking {
    /// Always false, because this system has no `fork`.
    pub fn is_this_thread() -> bool {
        false
    }
}
