//! Visits: how what is empty in a thread's structures is given back, also by others while
//! the thread sleeps (THREAD6 of `thread`), and what `fork` does with the threads' locks.

use core::ptr;

use super::{CACHES, POOL, Thread, caches, hold, known, made, tend};
use crate::heap::base::number::Number;
use crate::heap::cache::Cache;
use crate::heap::common;
use crate::heap::numbers;
use crate::sync::AtomicPtr;
use crate::sync::Ordering::Relaxed;

impl Thread {
    /// Runs `f` while the thread, another one, is in none of its slow paths. Does nothing
    /// where it has ended or is lost; or where it is busy, and the caller in a slow path
    /// of its own: two that waited for each other there would wait for ever.
    pub fn visit<T>(&'static self, f: impl FnOnce(&'static Self) -> T) -> Option<T> {
        if self.token() == 0 || known().is_some_and(|mine| ptr::eq(mine, self)) {
            return None;
        }
        let may_wait = known().is_none_or(|mine| mine.holds.get() == 0);
        let held = if may_wait { Some(self.lock.lock()) } else { self.lock.try_lock() };
        let _held = held?;
        (self.token() != 0).then(|| f(self))
    }
}

/// Ends what is empty in the caches of all other threads, as far as the threads
/// themselves are not needed for it: what their bins are filled from stays. `f` says in
/// which caches.
pub fn end_empty_spans_of_others(f: impl Fn(&Cache) -> bool) {
    for thread in made() {
        thread.visit(|thread| {
            thread.caches().filter(|cache| f(cache)).for_each(Cache::end_set_aside);
        });
    }
}

/// Gives back what the owner of `number` was charged for and does not use: this thread's
/// credit, and what is empty in the owner's caches, of all threads.
pub fn trim(number: Number) {
    if let Some(thread) = known() {
        let _held = thread.hold();
        if let Some(line) = thread.ledger.opened(number) {
            common::settle(number, line, 0);
        }
        thread.cache_of(number).inspect(|cache| cache.purge());
    }
    if let Some(heap) = numbers::entry(number).heap() {
        end_empty_spans_of_others(|cache| ptr::eq(cache.heap(), heap));
    }
}

/// Gives back what is empty in this thread's caches.
pub fn end_empty_spans() {
    let _held = hold();
    tend();
    if let Some(thread) = known() {
        thread.close_ended();
        let lines = thread.ledger.open_lines();
        lines.for_each(|(number, line)| common::settle(number, line, 0));
    }
    caches().for_each(Cache::purge);
}

/// The threads that a child of `fork` does not have are lost: nobody waits for them.
#[cfg(unix)]
pub fn lose_others() {
    let mine = known();
    let others = made().filter(|thread| !mine.is_some_and(|mine| ptr::eq(mine, *thread)));
    for thread in others {
        thread.token.store(0, Relaxed);
        // Whoever held the lock of it, its own thread or a visitor, is not in the child.
        // SAFETY: S1: as the copy of whoever took it, if anybody did.
        unsafe { thread.lock.force_unlock() };
    }
}

/// Keeps other threads from visiting this one: for `fork`. A thread without a record is
/// visited by nobody, and need not be known before the lock is given back.
#[cfg(unix)]
pub fn hold_forever() {
    if let Some(thread) = known() {
        core::mem::forget(thread.hold());
        FORKS.store(ptr::from_ref(thread).cast_mut(), Relaxed);
    }
}

/// The record of the thread that forks and holds its own lock; null where it has none.
/// Written and read by that thread, and by its copy in the child.
#[cfg(unix)]
static FORKS: AtomicPtr<Thread> = AtomicPtr::new(ptr::null_mut());

/// Undoes [`hold_forever`].
#[cfg(unix)]
pub fn let_go() {
    // SAFETY: null or a record, which is never freed.
    let Some(thread) = (unsafe { FORKS.swap(ptr::null_mut(), Relaxed).as_ref() }) else { return };
    thread.holds.set(thread.holds.get() - 1);
    if thread.holds.get() == 0 {
        // SAFETY: S1: `hold_forever` took it, in this thread.
        unsafe { thread.lock.force_unlock() };
    }
}

/// Keeps pools and records as they are: for `fork`.
#[cfg(unix)]
pub fn lock_forever() {
    POOL.lock_forever();
    CACHES.lock_forever();
}

/// Undoes [`lock_forever`].
///
/// # Safety
///
/// - S1 as for `tables::unlock`.
#[cfg(unix)]
pub unsafe fn unlock() {
    // SAFETY: S1.
    unsafe { CACHES.unlock() };
    // SAFETY: S1.
    unsafe { POOL.unlock() };
}
