//! Page sources, which provide whole pages and take them back.
//!
//! A page source maps, purges and unmaps; it knows nothing of blocks and nothing of owners.
//! Every call is counted, and each may fail; tests can make them fail (see [`testing`]). A
//! call that fails changes nothing.

mod leftovers;
mod limit;
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

use leftovers::Reserved;
pub use leftovers::retry as give_back_leftovers;
pub use limit::system_limit;
pub use system::{address_limit, coarse_millis};

/// Bytes mapped now. It is a statistic and orders nothing.
static MAPPED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes of address space mapped now.
pub fn mapped_bytes() -> usize {
    MAPPED_BYTES.load(Relaxed)
}

/// Maps `bytes` (a multiple of the page size) of zero-filled memory, aligned to `align` (a
/// power of two). The first touch of a page brings physical memory. `None` if the system
/// has no more, or if a test makes the call fail.
pub fn map(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    give_back_leftovers();
    #[cfg(feature = "testing")]
    if testing::must_fail_to_map(bytes) {
        return None;
    }
    let start = system::map(bytes, align)?;
    debug_assert_eq!(start.addr().get() % align, 0);
    MAPPED_BYTES.fetch_add(bytes, Relaxed);
    Some(start)
}

/// Maps `front` bytes at a multiple of `align`, and `back` bytes that begin `offset` bytes
/// behind the start of the first. `offset` is at least `front`, and all are multiples of 64
/// KiB. This call does not map the addresses between them. `None` as for [`map`], and if
/// the addresses behind are not available.
pub fn map_pair(front: usize, offset: usize, back: usize, align: usize) -> Option<NonNull<u8>> {
    give_back_leftovers();
    #[cfg(feature = "testing")]
    if testing::must_fail_to_map(front.max(back)) {
        return None;
    }
    let start = system::map_pair(front, offset, back, align)?;
    debug_assert_eq!(start.addr().get() % align, 0);
    MAPPED_BYTES.fetch_add(front + back, Relaxed);
    Some(start)
}

/// Gives back the memory that [`map_pair`] has mapped. Returns whether the system has taken
/// it, as [`unmap`] does.
///
/// # Safety
///
/// - S1 the arguments are those of a call of [`map_pair`], and its result.
/// - S2 nothing refers to the memory any more.
#[must_use = "what the system has not taken is lost if the caller does not keep it"]
pub unsafe fn unmap_pair(start: NonNull<u8>, front: usize, offset: usize, back: usize) -> bool {
    let Some(place) = Reserved::new() else { return false };
    let behind = start.as_ptr().wrapping_add(offset);
    let Some(behind) = NonNull::new(behind) else { return false };
    // SAFETY: S1 and S2.
    if !unsafe { take_back(behind, back) } {
        return false;
    }
    MAPPED_BYTES.fetch_sub(front + back, Relaxed);
    // SAFETY: S1 and S2.
    unsafe { place.give_back(start, front) };
    true
}

/// As [`map`], with addresses reserved behind it: `reserved` bytes in all, a multiple of
/// the page size. Reserved addresses take no memory, and the system counts none for them.
/// `None` also if addresses are short.
pub fn map_with_room(bytes: usize, reserved: usize, align: usize) -> Option<NonNull<u8>> {
    if address_limit() != usize::MAX {
        return None;
    }
    give_back_leftovers();
    #[cfg(feature = "testing")]
    if testing::must_fail_to_map(bytes) {
        return None;
    }
    let start = system::map_with_room(bytes, reserved, align)?;
    debug_assert_eq!(start.addr().get() % align, 0);
    MAPPED_BYTES.fetch_add(bytes, Relaxed);
    Some(start)
}

/// Makes a mapping of `bytes` longer by `more` zero-filled bytes, out of the addresses
/// reserved behind it. Returns whether the system has the memory.
///
/// # Safety
///
/// - S1 `start` and `bytes` are those of one whole mapping; `bytes` and `more`, a
///   multiple of the page size, are together at most what is reserved.
pub unsafe fn extend(start: NonNull<u8>, bytes: usize, more: usize) -> bool {
    #[cfg(feature = "testing")]
    if testing::must_fail(testing::Call::Map) {
        return false;
    }
    // SAFETY: S1: inside the reservation.
    let end = unsafe { start.add(bytes) };
    // SAFETY: S1: reserved, and nothing refers to it yet.
    let done = unsafe { open(end, more) };
    if done {
        MAPPED_BYTES.fetch_add(more, Relaxed);
    }
    done
}

/// Gives a mapping back, with the addresses reserved behind it. Returns whether the system
/// has taken it. A process at its limit of mappings may be unable to cut this one out of
/// its neighbours. Then the mapping is as it was, and still the caller's.
///
/// # Safety
///
/// - S1 `start`, `bytes` and `reserved` are those of one whole mapping; without
///   room `bytes` and `reserved` are the same.
/// - S2 nothing refers to the memory any more.
#[must_use = "what the system has not taken is lost if the caller does not keep it"]
pub unsafe fn unmap(start: NonNull<u8>, bytes: usize, reserved: usize) -> bool {
    // SAFETY: S1 and S2 are handed on.
    let done = unsafe { take_back(start, reserved) };
    if done {
        MAPPED_BYTES.fetch_sub(bytes, Relaxed);
        // A mapping that the system could not unmap before may go now.
        give_back_leftovers();
    }
    done
}

/// Gives the physical pages back and keeps the addresses. Returns whether the
/// memory now reads as zero; `false` leaves the content unknown.
///
/// # Safety
///
/// - S1 the range lies in one mapping and is aligned to 64 KiB.
/// - S2 nothing uses its content any more.
pub unsafe fn purge(start: NonNull<u8>, bytes: usize) -> bool {
    #[cfg(feature = "testing")]
    if testing::must_fail(testing::Call::Purge) {
        return false;
    }
    // SAFETY: S1 and S2 are handed on.
    unsafe { system::purge(start, bytes) }
}

/// As [`purge`], for systems whose pages may be larger than `PAGE`; it gives back as much
/// as it can. The content is unknown afterwards: each page is as it was, or zero.
///
/// # Safety
///
/// - S1 the range lies in one mapping and is aligned to 4 KiB.
/// - S2 as for [`purge`].
pub unsafe fn purge_pages(start: NonNull<u8>, bytes: usize) {
    // SAFETY: S1 (a system with larger pages refuses the call), S2.
    unsafe { purge(start, bytes) };
}

/// Asks the system to unmap a mapping, or a part of one. Returns whether the system did so.
///
/// # Safety
///
/// - S1 nothing refers to the memory any more, and no other code will unmap it.
unsafe fn take_back(start: NonNull<u8>, bytes: usize) -> bool {
    #[cfg(feature = "testing")]
    if testing::must_fail(testing::Call::Unmap) {
        return false;
    }
    // SAFETY: S1.
    unsafe { system::unmap(start, bytes) }
}

/// Asks the system to make reserved addresses usable. Returns whether it has the memory.
///
/// # Safety
///
/// - S1 the range is part of a reservation, and nothing refers to it yet.
unsafe fn open(start: NonNull<u8>, bytes: usize) -> bool {
    #[cfg(feature = "testing")]
    if testing::must_fail(testing::Call::Protect) {
        return false;
    }
    // SAFETY: S1.
    unsafe { system::open(start, bytes) }
}
