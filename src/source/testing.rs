//! The test double: makes the page source fail on demand.

use crate::sync::{AtomicUsize, Ordering::Relaxed};

pub use super::leftovers::waiting as leftovers;

/// The calls that the page source makes to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Call {
    /// A mapping.
    Map,
    /// Unmapping of a mapping, or of a part.
    Unmap,
    /// Purging, which gives back physical pages.
    Purge,
    /// Committing, which makes more of a reservation usable.
    Protect,
}

impl Call {
    /// All calls, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Map, Self::Unmap, Self::Purge, Self::Protect];
}

/// How many more calls of each kind succeed; `usize::MAX` for no limit.
static GRANTS: [AtomicUsize; Call::ALL.len()] =
    [const { AtomicUsize::new(usize::MAX) }; Call::ALL.len()];
static FAILURES: [AtomicUsize; Call::ALL.len()] = [const { AtomicUsize::new(0) }; Call::ALL.len()];
/// The most bytes that a mapping may have.
static LONGEST: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Lets `grants` more mappings succeed, then fails each until
/// [`heal`] is called.
pub fn fail_after(grants: usize) {
    fail_calls_after(Call::Map, grants);
}

/// Lets `grants` more of these calls succeed, then fails each until [`heal`] is
/// called.
pub fn fail_calls_after(call: Call, grants: usize) {
    GRANTS[call as usize].store(grants, Relaxed);
}

/// Fails mappings of more than `bytes` until [`heal`] is called.
pub fn fail_beyond(bytes: usize) {
    LONGEST.store(bytes, Relaxed);
}

/// Lets every call succeed again.
pub fn heal() {
    GRANTS.iter().for_each(|grants| grants.store(usize::MAX, Relaxed));
    LONGEST.store(usize::MAX, Relaxed);
}

/// How often memory was refused so far, by a mapping or the growth of one.
pub fn failures() -> usize {
    failed(Call::Map) + failed(Call::Protect)
}

/// How many of these calls were made to fail so far.
pub fn failed(call: Call) -> usize {
    FAILURES[call as usize].load(Relaxed)
}

/// Counts this call, and returns whether it must fail.
pub(super) fn must_fail(call: Call) -> bool {
    let take = |grants: usize| match grants {
        usize::MAX => Some(usize::MAX),
        _ => grants.checked_sub(1),
    };
    let failed = GRANTS[call as usize].fetch_update(Relaxed, Relaxed, take).is_err();
    if failed {
        FAILURES[call as usize].fetch_add(1, Relaxed);
    }
    failed
}

/// Counts a mapping of `bytes`, and returns whether it must fail.
pub(super) fn must_fail_to_map(bytes: usize) -> bool {
    let is_long = bytes > LONGEST.load(Relaxed);
    if is_long {
        FAILURES[Call::Map as usize].fetch_add(1, Relaxed);
    }
    is_long || must_fail(Call::Map)
}
