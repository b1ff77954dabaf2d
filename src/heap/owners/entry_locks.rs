//! The locks of the entries (NUM4 of `entry`): each of a fixed number of locks serves many
//! entries, so `fork` takes the same time however many entries there are.

use crate::heap::base::number::Number;
use crate::lock::{Guard, Lock};

/// A lock on a cache line of its own.
#[repr(align(64))]
struct EntryLock(Lock<()>);

const LOCK_COUNT: usize = 64;

/// These are the innermost locks: under one of them, only the pool of heap records is
/// locked.
static LOCKS: [EntryLock; LOCK_COUNT] = [const { EntryLock(Lock::new(())) }; LOCK_COUNT];

/// Takes the lock of the entry of `number`, until the guard is dropped.
pub fn hold(number: Number) -> Guard<'static, ()> {
    LOCKS[number.index() % LOCK_COUNT].0.lock()
}

/// Takes all locks without a guard, for `fork`.
#[cfg(unix)]
pub fn lock_forever() {
    LOCKS.iter().for_each(|lock| lock.0.lock_forever());
}

/// Undoes [`lock_forever`].
///
/// # Safety
///
/// - S1 as for `tables::unlock`.
#[cfg(unix)]
pub unsafe fn unlock() {
    for lock in &LOCKS {
        // SAFETY: S1.
        unsafe { lock.0.force_unlock() };
    }
}
