//! Gives out owner numbers, and finds the entry of a number.
//!
//! Entries lie in segments that double in size and never move; none is unmapped.

use core::alloc::Layout;
use core::ptr;

use super::entry::{Entry, UNUSED};
#[cfg(unix)]
use super::entry_locks;
use super::heap::HOST_ACCOUNT;
use crate::account::Account;
use crate::engine::{HOST_KEY, Kind};
use crate::heap::base::number::{Number, SEGMENT_COUNT, places};
use crate::heap::base::tables;
use crate::key::ExpertKey;
#[cfg(unix)]
use crate::lock::Lock;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::{AtomicPtr, AtomicU32, AtomicUsize};

/// The segments of all kinds.
static SEGMENTS: [AtomicPtr<Entry>; SEGMENT_COUNT] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SEGMENT_COUNT];

/// How many indices of each kind were used so far. Walks over all entries use this.
static MADE: [AtomicUsize; 3] = [const { AtomicUsize::new(1) }; 3];

/// The entry of `number`.
#[inline]
pub fn entry(number: Number) -> &'static Entry {
    let segment = number.segment();
    // Acquire: the entries (the Release in `make`).
    let first = SEGMENTS[segment].load(Acquire);
    // SAFETY: a number that exists has its segment made, and the place is one of it.
    let entry = unsafe { first.add(number.place() - places(segment)) };
    // SAFETY: initialised (zero is an entry), and never unmapped.
    unsafe { &*entry }
}

/// Gives the owner of `key` a number of `kind`. `None` if there is no memory, or if all
/// numbers are taken.
pub fn open(
    key: ExpertKey,
    kind: Kind,
    account: &Account,
    overdraft: bool,
) -> Option<(Number, &'static Entry)> {
    let mut unused = UNUSED[kind as usize].lock();
    let number = if unused.first != 0 {
        let number = Number::new(kind, unused.first)?;
        unused.first = entry(number).next_unused();
        number
    } else {
        let number = Number::new(kind, unused.made)?;
        make(number)?;
        unused.made += 1;
        MADE[kind as usize].store(unused.made, Release);
        number
    };
    drop(unused);
    let entry = entry(number);
    entry.begin(number, key, account, overdraft);
    Some((number, entry))
}

/// The host's own number for blocks in common spans, which are those of ended owners.
/// `None` if there is no memory.
pub fn host() -> Option<(Number, &'static Entry)> {
    static HOST_NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = match Number::from_raw(HOST_NUMBER.load(Acquire)) {
        Some(number) => number,
        None => {
            let (number, _) = open(HOST_KEY, Kind::Ambient, &HOST_ACCOUNT, true)?;
            // If two threads open a number, one number is used, and no block has the other.
            let raw = number.into_raw();
            let first = HOST_NUMBER.compare_exchange(0, raw, AcqRel, Acquire);
            first.map_or_else(Number::from_raw, |_| Some(number))?
        }
    };
    Some((number, entry(number)))
}

/// Makes the segment of a number, if it is the first one there.
fn make(number: Number) -> Option<()> {
    let segment = number.segment();
    let place = &SEGMENTS[segment];
    if place.load(Relaxed).is_null() {
        let entries = Layout::array::<Entry>(places(segment)).ok()?;
        let memory = tables::allocate_zeroed(entries)?;
        // Release: the zeros (the Acquire in `entry`). No other thread stores, because this
        // thread holds the lock.
        place.store(memory.as_ptr().cast(), Release);
    }
    Some(())
}

/// All numbers of `kind` given out so far, in use or not.
pub fn made(kind: Kind) -> impl Iterator<Item = (Number, &'static Entry)> {
    // Acquire: the segments.
    let made = MADE[kind as usize].load(Acquire);
    (1..made)
        .filter_map(move |index| Number::new(kind, index))
        .map(|number| (number, entry(number)))
}

/// Takes the locks of all entries and of the unused numbers without a guard, for `fork`.
#[cfg(unix)]
pub fn lock_forever() {
    entry_locks::lock_forever();
    UNUSED.iter().for_each(Lock::lock_forever);
}

/// Undoes [`lock_forever`].
///
/// # Safety
///
/// - S1 as for `tables::unlock`.
#[cfg(unix)]
pub unsafe fn unlock() {
    for unused in &UNUSED {
        // SAFETY: S1.
        unsafe { unused.force_unlock() };
    }
    // SAFETY: S1.
    unsafe { entry_locks::unlock() };
}
