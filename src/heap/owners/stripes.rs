//! The locks of the heaps: a fixed number of stripes, each shared by many records.
//!
//! There may be thousands of records, and `fork` takes all locks. With a lock in each
//! record it would write to a page for each of them. So a lock is not in its record. New
//! records are assigned to the stripes in turn, and the host's heap, which every thread
//! uses, has a stripe of its own.
//!
//! Because two experts' heaps may share a stripe, no thread may hold two of them
//! at once (the lock order in `heap.rs`).

use crate::lock::Lock;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// How many heaps may be locked at the same time, without the host's. With a few threads,
/// two of them seldom need the same stripe.
const STRIPES: usize = 64;

/// A lock, alone in its two cache lines.
#[repr(align(128))]
pub struct Stripe(Lock<()>);

static ALL: [Stripe; STRIPES] = [const { Stripe(Lock::new(())) }; STRIPES];

/// The stripe of the host's heap.
pub static HOST: Stripe = Stripe(Lock::new(()));

/// The stripe of the common heap.
pub static COMMON: Stripe = Stripe(Lock::new(()));

/// How many records have a stripe. Orders nothing.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// The stripe of a record that is being made.
pub fn next() -> &'static Stripe {
    &ALL[TAKEN.fetch_add(1, Relaxed) % STRIPES]
}

impl Stripe {
    /// Runs `f` under the lock of this stripe.
    #[inline]
    pub fn hold<T>(&self, f: impl FnOnce() -> T) -> T {
        let _held = self.0.lock();
        f()
    }
}

/// Locks all stripes without guards, in the lock order, for `fork`.
#[cfg(unix)]
pub fn lock_forever() {
    all().for_each(|stripe| stripe.0.lock_forever());
}

/// Undoes [`lock_forever`].
///
/// # Safety
///
/// - S1 as for `tables::unlock`.
#[cfg(unix)]
pub unsafe fn unlock() {
    for stripe in all() {
        // SAFETY: S1.
        unsafe { stripe.0.force_unlock() };
    }
}

#[cfg(unix)]
fn all() -> impl Iterator<Item = &'static Stripe> {
    ALL.iter().chain([&HOST, &COMMON])
}
