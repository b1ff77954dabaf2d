//! Pages by `VirtualAlloc`.
//!
//! Windows reserves addresses and commits memory in two steps, and cannot give back a part
//! of a reservation. So an aligned mapping is found by reserving too much, releasing it,
//! and asking for the aligned address inside.

use core::ptr::{self, NonNull};

use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_RELEASE, MEM_RESERVE, MEM_RESET, PAGE_READWRITE, VirtualAlloc, VirtualFree,
};
use windows_sys::Win32::System::SystemInformation::{
    GetTickCount64, GlobalMemoryStatusEx, MEMORYSTATUSEX,
};

use super::leftovers::Reserved;
use super::open as open_reserved;

/// How often another thread may take the address between our two calls.
const ATTEMPTS: usize = 8;

fn reserve(at: *mut u8, bytes: usize, how: u32) -> Option<NonNull<u8>> {
    // SAFETY: a new reservation touches nothing that exists.
    NonNull::new(unsafe { VirtualAlloc(at.cast(), bytes, how, PAGE_READWRITE) }.cast())
}

pub(super) fn map(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    map_aligned(bytes, align, MEM_RESERVE | MEM_COMMIT)
}

/// Reserves addresses and commits the first part of them.
pub(super) fn map_with_room(bytes: usize, reserved: usize, align: usize) -> Option<NonNull<u8>> {
    let place = Reserved::new()?;
    let start = map_aligned(reserved, align, MEM_RESERVE)?;
    // SAFETY: the first part of the reservation just made, unused.
    if unsafe { open_reserved(start, bytes) } {
        return Some(start);
    }
    // SAFETY: the reservation just made, unused.
    unsafe { place.give_back(start, reserved) };
    None
}

/// Makes reserved memory usable. Returns whether the system has it.
pub(super) unsafe fn open(start: NonNull<u8>, bytes: usize) -> bool {
    reserve(start.as_ptr(), bytes, MEM_COMMIT).is_some()
}

/// How many bytes of addresses the process may have; `usize::MAX` if there is no limit.
pub fn address_limit() -> usize {
    if usize::BITS == 32 { 1 << 31 } else { usize::MAX }
}

/// Always no limit, because this system has no resource limits.
pub(super) fn resource_limit() -> usize {
    usize::MAX
}

/// The machine's memory in bytes; `usize::MAX` if it is not known.
pub(super) fn physical() -> usize {
    // SAFETY: zero is a value of every field.
    let mut memory: MEMORYSTATUSEX = unsafe { core::mem::zeroed() };
    memory.dwLength = size_of::<MEMORYSTATUSEX>() as u32;
    // SAFETY: `memory` is ours to be written, and says how long it is.
    let done = unsafe { GlobalMemoryStatusEx(&raw mut memory) };
    match done != 0 {
        true => usize::try_from(memory.ullTotalPhys).unwrap_or(usize::MAX),
        false => usize::MAX,
    }
}

/// Not needed here, because nothing limits the addresses of a process.
pub(super) fn map_pair(_: usize, _: usize, _: usize, _: usize) -> Option<NonNull<u8>> {
    None
}

fn map_aligned(bytes: usize, align: usize, how: u32) -> Option<NonNull<u8>> {
    let place = Reserved::new()?;
    let start = reserve(ptr::null_mut(), bytes, how)?;
    if start.addr().get() % align == 0 {
        return Some(start);
    }
    // SAFETY: the reservation just made, unused.
    unsafe { place.give_back(start, bytes) };
    let whole = bytes.checked_add(align)?;
    (0..ATTEMPTS).find_map(|_| {
        let place = Reserved::new()?;
        let start = reserve(ptr::null_mut(), whole, MEM_RESERVE)?;
        let aligned = start.as_ptr().map_addr(|address| address.next_multiple_of(align));
        // SAFETY: the reservation just made, unused.
        unsafe { place.give_back(start, whole) };
        reserve(aligned, bytes, how)
    })
}

pub(super) unsafe fn unmap(start: NonNull<u8>, _bytes: usize) -> bool {
    // SAFETY: the caller gives up one whole reservation (the size must be 0).
    unsafe { VirtualFree(start.as_ptr().cast(), 0, MEM_RELEASE) != 0 }
}

pub(super) unsafe fn purge(start: NonNull<u8>, bytes: usize) -> bool {
    // The pages stay committed, so using them cannot fail later; the system
    // may take the physical memory, and the content is unknown.
    // SAFETY: S1 and S2 of `source::purge`.
    unsafe { VirtualAlloc(start.as_ptr().cast(), bytes, MEM_RESET, PAGE_READWRITE) };
    false
}

/// A clock in milliseconds that costs a few nanoseconds to read.
pub fn coarse_millis() -> u64 {
    // SAFETY: no preconditions.
    unsafe { GetTickCount64() }
}
