//! The locks of the entries (NUM4 of `entry`): a fixed number of them, of which each serves
//! many entries, so that `fork` takes the same time however many there are.

use crate::heap::base::number::Number;
use crate::lock::{Guard, Lock};

/// On a cache line of its own.
#[repr(align(64))]
struct EntryLock(Lock<()>);

const LOCK_COUNT: usize = 64;

/// Innermost: nothing else is locked under one but the pool of heap records.
static LOCKS: [EntryLock; LOCK_COUNT] = [const { EntryLock(Lock::new(())) }; LOCK_COUNT];

/// Takes the lock of the entry of `number`, until the guard is dropped.
pub fn hold(number: Number) -> Guard<'static, ()> {
    LOCKS[number.index() % LOCK_COUNT].0.lock()
}

/// Keeps all entries as they are: for `fork`.
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
