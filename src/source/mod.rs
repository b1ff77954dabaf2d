//! Page sources: where whole pages come from and go back to.
//!
//! A page source maps, purges and unmaps; it knows nothing of blocks and
//! nothing of owners. Every call is counted, and tests can make it fail (see
//! [`testing`]).

#[cfg(unix)]
#[path = "unix.rs"]
mod system;
#[cfg(windows)]
#[path = "windows.rs"]
mod system;
#[cfg(feature = "testing")]
pub mod testing;

use core::ptr::NonNull;

use crate::sync::{AtomicUsize, Ordering::Relaxed};

pub use system::coarse_millis;

/// Bytes mapped now. A statistic: orders nothing.
static MAPPED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes of address space mapped now.
pub fn mapped_bytes() -> usize {
    MAPPED_BYTES.load(Relaxed)
}

/// Maps `bytes` (a multiple of the page size) of zero-filled memory, aligned
/// to `align` (a power of two). Physical memory comes with the first touch.
/// `None` where the system has no more, or a test wants it so.
pub fn map(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    #[cfg(feature = "testing")]
    if testing::must_fail() {
        return None;
    }
    let start = system::map(bytes, align)?;
    debug_assert_eq!(start.addr().get() % align, 0);
    MAPPED_BYTES.fetch_add(bytes, Relaxed);
    Some(start)
}

/// Gives a mapping back.
///
/// # Safety
///
/// - S1 `start` and `bytes` are those of one whole earlier [`map`].
/// - S2 nothing refers to the memory any more.
pub unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    MAPPED_BYTES.fetch_sub(bytes, Relaxed);
    // SAFETY: S1 and S2 are handed on.
    unsafe { system::unmap(start, bytes) };
}

/// Gives the physical pages back and keeps the addresses. Returns whether the
/// memory now reads as zero; `false` leaves the content unknown.
///
/// # Safety
///
/// - S1 the range lies in one mapping and is aligned to 64 KiB.
/// - S2 nothing uses its content any more.
pub unsafe fn purge(start: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: S1 and S2 are handed on.
    unsafe { system::purge(start, bytes) }
}
