//! Pages by `mmap`.

use core::ptr::{self, NonNull};

const READ_AND_WRITE: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;

/// The mapping that `mmap` gives for `bytes`, wherever it lies.
fn map_anywhere(bytes: usize, access: libc::c_int) -> Option<NonNull<u8>> {
    // Not `MAP_NORESERVE`: the system must refuse a size beyond all memory now, not
    // end the process when it is used.
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
    // SAFETY: an anonymous mapping at an address of the system's choice
    // touches nothing that exists.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, -1, 0) };
    if start == libc::MAP_FAILED { None } else { NonNull::new(start.cast()) }
}

pub(super) fn map(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    map_aligned(bytes, align, READ_AND_WRITE)
}

/// Reserves addresses by a mapping that cannot be used, and is not counted as
/// memory, and opens the first part of it.
pub(super) fn map_with_room(bytes: usize, reserved: usize, align: usize) -> Option<NonNull<u8>> {
    let start = map_aligned(reserved, align, libc::PROT_NONE)?;
    // SAFETY: the first part of the mapping just made, unused.
    if unsafe { open(start, bytes) } {
        return Some(start);
    }
    // SAFETY: the mapping just made, whole and unused.
    unsafe { unmap(start, reserved) };
    None
}

/// Makes reserved memory usable. Returns whether the system has it.
pub(super) unsafe fn open(start: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: the caller passes a part of a mapping that nothing uses yet.
    unsafe { libc::mprotect(start.as_ptr().cast(), bytes, READ_AND_WRITE) == 0 }
}

/// Whether the process may have only so many addresses.
pub(super) fn addresses_are_short() -> bool {
    if usize::BITS == 32 {
        return true;
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is ours to be written.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    failed != 0 || limit.rlim_cur != libc::RLIM_INFINITY
}

fn map_aligned(bytes: usize, align: usize, access: libc::c_int) -> Option<NonNull<u8>> {
    let start = map_anywhere(bytes, access)?;
    if start.addr().get() % align == 0 {
        return Some(start);
    }
    // SAFETY: the mapping just made, whole and unused.
    unsafe { unmap(start, bytes) };
    map_with_margin(bytes, align, access)
}

/// Maps so much that an aligned part lies inside, and gives the rest back.
fn map_with_margin(bytes: usize, align: usize, access: libc::c_int) -> Option<NonNull<u8>> {
    let whole = bytes.checked_add(align)?;
    let start = map_anywhere(whole, access)?;
    let before = start.addr().get().next_multiple_of(align) - start.addr().get();
    // SAFETY: `before < align`, so it lies inside the mapping.
    let aligned = unsafe { start.add(before) };
    if before > 0 {
        // SAFETY: the part in front of what is handed out, unused.
        unsafe { unmap(start, before) };
    }
    // SAFETY: `before + bytes <= whole`: at most one past the end.
    let end = unsafe { aligned.add(bytes) };
    if before < align {
        // SAFETY: the part behind what is handed out, unused.
        unsafe { unmap(end, align - before) };
    }
    Some(aligned)
}

pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller gives up a mapping, or a part of one, that nothing uses.
    let failed = unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    debug_assert_eq!(failed, 0);
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
    // SAFETY: `now` is ours to be written.
    let failed = unsafe { libc::clock_gettime(CLOCK, &raw mut now) };
    debug_assert_eq!(failed, 0);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}
