//! Pages by `mmap`.

use core::ptr::{self, NonNull};

use super::leftovers::Reserved;
use super::open as open_reserved;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

const READ_AND_WRITE: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;

/// The mapping that `mmap` gives for `bytes`: at `address`, if that is not null and
/// nothing is there; otherwise wherever the system likes.
fn map_near(address: usize, bytes: usize, access: libc::c_int) -> Option<NonNull<u8>> {
    // There is no `MAP_NORESERVE`, because the system must refuse a size beyond all memory
    // now, and not end the process when it is used.
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
    let wish = ptr::without_provenance_mut(address);
    // SAFETY: an anonymous mapping whose address is only a hint touches nothing that
    // exists.
    let start = unsafe { libc::mmap(wish, bytes, access, flags, -1, 0) };
    if start == libc::MAP_FAILED { None } else { NonNull::new(start.cast()) }
}

pub(super) fn map(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    map_aligned(bytes, align, READ_AND_WRITE)
}

/// Reserves addresses by a mapping that cannot be used, and is not counted as
/// memory, and opens the first part of it.
pub(super) fn map_with_room(bytes: usize, reserved: usize, align: usize) -> Option<NonNull<u8>> {
    let place = Reserved::new()?;
    let start = map_aligned(reserved, align, libc::PROT_NONE)?;
    // SAFETY: the first part of the mapping just made, unused.
    if unsafe { open_reserved(start, bytes) } {
        return Some(start);
    }
    // SAFETY: the mapping just made, whole and unused.
    unsafe { place.give_back(start, reserved) };
    None
}

/// Makes reserved memory usable. Returns whether the system has it.
pub(super) unsafe fn open(start: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: the caller passes a part of a mapping that nothing uses yet.
    unsafe { libc::mprotect(start.as_ptr().cast(), bytes, READ_AND_WRITE) == 0 }
}

/// The limit of a resource, in bytes; `usize::MAX` for none. (Each C library has another
/// type for the name of a resource.)
macro_rules! soft_limit {
    ($resource:ident) => {{
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is ours to be written.
        let failed = unsafe { libc::getrlimit(libc::$resource, &raw mut limit) };
        match failed == 0 && limit.rlim_cur != libc::RLIM_INFINITY {
            true => usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX),
            false => usize::MAX,
        }
    }};
}

/// How many bytes of addresses the process may have; `usize::MAX` if there is no limit.
pub fn address_limit() -> usize {
    let most = if usize::BITS == 32 { 1 << 31 } else { usize::MAX };
    soft_limit!(RLIMIT_AS).min(most)
}

/// How many bytes the resource limits allow the process; `usize::MAX` for no limit.
pub(super) fn resource_limit() -> usize {
    soft_limit!(RLIMIT_AS).min(soft_limit!(RLIMIT_DATA))
}

/// The machine's memory in bytes; `usize::MAX` if it is not known.
pub(super) fn physical() -> usize {
    // SAFETY: no preconditions.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    // SAFETY: no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    match (usize::try_from(pages), usize::try_from(page)) {
        (Ok(pages), Ok(page)) if pages > 0 => pages.saturating_mul(page),
        _ => usize::MAX,
    }
}

fn map_aligned(bytes: usize, align: usize, access: libc::c_int) -> Option<NonNull<u8>> {
    let place = Reserved::new()?;
    let start = map_near(0, bytes, access)?;
    if start.addr().get() % align == 0 {
        return Some(start);
    }
    // SAFETY: the mapping just made, whole and unused.
    unsafe { place.give_back(start, bytes) };
    let found = wishes(start.addr().get(), align)
        .into_iter()
        .find_map(|wish| map_exactly(wish, bytes, access));
    found
        .or_else(|| map_with_margin(bytes, align, access))
        // If addresses are few, there is no room for a margin, but there is room further down.
        .or_else(|| {
            below(start.addr().get(), align).find_map(|wish| map_exactly(wish, bytes, access))
        })
}

/// Multiples of `align` near `start`, where the system had room. The free addresses near
/// `start` are mostly below it.
fn wishes(start: usize, align: usize) -> [usize; 4] {
    let below = start & !(align - 1);
    [
        below,
        below.saturating_sub(align),
        below.saturating_add(align),
        below.saturating_sub(align.saturating_mul(2)),
    ]
}

/// The multiples of `align` below `start` that are tried.
fn below(start: usize, align: usize) -> impl Iterator<Item = usize> {
    const TRIES: usize = 16;
    let first = start & !(align - 1);
    (1..=TRIES).filter_map(move |times| first.checked_sub(align.checked_mul(times)?))
}

/// A mapping at `address`, if nothing is there.
fn map_exactly(address: usize, bytes: usize, access: libc::c_int) -> Option<NonNull<u8>> {
    let place = Reserved::new().filter(|_| address > 0)?;
    let start = map_near(address, bytes, access)?;
    if start.addr().get() == address {
        return Some(start);
    }
    // SAFETY: the mapping just made, whole and unused.
    unsafe { place.give_back(start, bytes) };
    None
}

/// Maps `front` bytes at a multiple of `align`, and `back` bytes `offset` bytes behind
/// their start.
pub(super) fn map_pair(
    front: usize,
    offset: usize,
    back: usize,
    align: usize,
) -> Option<NonNull<u8>> {
    /// The address of the last pair. It is a hint and orders nothing.
    static LAST: AtomicUsize = AtomicUsize::new(0);

    let place = Reserved::new()?;
    // This mapping shows where the system has room.
    let probe = map_near(0, front, READ_AND_WRITE)?;
    // SAFETY: the mapping just made, whole and unused.
    unsafe { place.give_back(probe, front) };
    let last = LAST.load(Relaxed);
    let near = wishes(probe.addr().get(), align);
    let start = near.into_iter().chain(below(last, align)).find_map(|wish| {
        let place = Reserved::new()?;
        let start = map_exactly(wish, front, READ_AND_WRITE)?;
        if let Some(behind) = map_exactly(wish.checked_add(offset)?, back, READ_AND_WRITE) {
            // Both are reached from addresses; the caller exposes the first.
            behind.as_ptr().expose_provenance();
            return Some(start);
        }
        // SAFETY: the mapping just made, whole and unused.
        unsafe { place.give_back(start, front) };
        None
    })?;
    LAST.store(start.addr().get(), Relaxed);
    Some(start)
}

/// Maps so many bytes that an aligned part lies inside, and gives the rest back.
fn map_with_margin(bytes: usize, align: usize, access: libc::c_int) -> Option<NonNull<u8>> {
    let (front, back) = (Reserved::new()?, Reserved::new()?);
    let whole = bytes.checked_add(align)?;
    let start = map_near(0, whole, access)?;
    let before = start.addr().get().next_multiple_of(align) - start.addr().get();
    // SAFETY: `before < align`, so it lies inside the mapping.
    let aligned = unsafe { start.add(before) };
    if before > 0 {
        // SAFETY: the part in front of what is handed out, unused.
        unsafe { front.give_back(start, before) };
    }
    // SAFETY: `before + bytes <= whole`: at most one past the end.
    let end = unsafe { aligned.add(bytes) };
    if before < align {
        // SAFETY: the part behind what is handed out, unused.
        unsafe { back.give_back(end, align - before) };
    }
    Some(aligned)
}

pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: the caller gives up a mapping, or a part of one, that nothing uses.
    unsafe { libc::munmap(start.as_ptr().cast(), bytes) == 0 }
}

pub(super) unsafe fn purge(start: NonNull<u8>, bytes: usize) -> bool {
    // On Linux a private anonymous mapping reads as zero afterwards; the other
    // systems promise less.
    // SAFETY: S1 and S2 of `source::purge`.
    let failed = unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTNEED) };
    failed == 0 && cfg!(any(target_os = "linux", target_os = "android"))
}

/// A clock in milliseconds that costs a few nanoseconds to read.
pub fn coarse_millis() -> u64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours to be written. A failure could not be reported; the
    // clock then stands still.
    unsafe { libc::clock_gettime(CLOCK, &raw mut now) };
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::source::testing::{Call, fail_calls_after, heal, leftovers};

    const MIB: usize = 1 << 20;

    #[test]
    fn what_cannot_be_trimmed_is_given_back_later() {
        // The alignment is more than a page, so a part is left in front or behind.
        let align = 4 * MIB;
        fail_calls_after(Call::Unmap, 0);
        let start = map_with_margin(MIB, align, READ_AND_WRITE).unwrap();
        assert!((1..=2).contains(&leftovers()), "{} wait", leftovers());
        heal();
        super::super::give_back_leftovers();
        assert_eq!(leftovers(), 0);
        assert_eq!(start.addr().get() % align, 0);
        // SAFETY: the mapping is writable, and nobody else's.
        unsafe { start.write_bytes(1, MIB) };
        // SAFETY: it is whole, and not used any more.
        assert!(unsafe { unmap(start, MIB) });
    }
}
