//! Counts refused frees: of blocks that were free already, or of addresses that are no
//! blocks.

use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// It is a statistic and orders nothing.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// How many frees were refused so far.
pub fn refused_frees() -> usize {
    REFUSED.load(Relaxed)
}

/// Counts a free that was refused.
#[cold]
pub fn refuse() {
    REFUSED.fetch_add(1, Relaxed);
}
