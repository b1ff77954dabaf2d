//! The test double: makes the page source fail on demand.

use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// How many more calls succeed; `usize::MAX` for no limit.
static GRANTS: AtomicUsize = AtomicUsize::new(usize::MAX);
static FAILURES: AtomicUsize = AtomicUsize::new(0);

/// Lets `grants` more mappings succeed, then fails each until
/// [`heal`] is called.
pub fn fail_after(grants: usize) {
    GRANTS.store(grants, Relaxed);
}

/// Lets every mapping succeed again.
pub fn heal() {
    GRANTS.store(usize::MAX, Relaxed);
}

/// How many mappings were made to fail so far.
pub fn failures() -> usize {
    FAILURES.load(Relaxed)
}

/// Whether this mapping has to fail; counts it.
pub(super) fn must_fail() -> bool {
    let take = |grants: usize| match grants {
        usize::MAX => Some(usize::MAX),
        _ => grants.checked_sub(1),
    };
    let failed = GRANTS.fetch_update(Relaxed, Relaxed, take).is_err();
    if failed {
        FAILURES.fetch_add(1, Relaxed);
    }
    failed
}
