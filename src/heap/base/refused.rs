//! How many frees were refused: of blocks that were free already, or no blocks.

use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// A statistic: orders nothing.
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
