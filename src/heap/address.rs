//! From addresses to pointers: the only place where provenance is rebuilt.
//!
//! A pointer that comes back from a program may carry the provenance of a
//! small object only (`Box` narrows it), so neither a header nor a neighbour
//! may be reached from it. Each chunk exposes its provenance when it is mapped;
//! here pointers into chunks are made from addresses with that provenance.

use core::ptr::{self, NonNull};

use crate::heap::base::geometry::{CHUNK, HEADER_SHIFT, SLICE, SLICE_SHIFT, SLICES};
use crate::heap::span::Span;

/// The address of the chunk that holds `address`.
#[inline(always)]
pub const fn chunk_of(address: usize) -> usize {
    address & !(CHUNK - 1)
}

/// The number, in its chunk, of the slice that holds `address`.
#[inline(always)]
pub const fn slice_of(address: usize) -> usize {
    address >> SLICE_SHIFT & (SLICES - 1)
}

/// The header of the slice that holds `address`: mask, shift, index.
///
/// # Safety
///
/// - S1 `address` lies in a chunk that stays mapped while the header is used,
///   in a slice other than the first.
#[inline(always)]
pub unsafe fn header_of(address: usize) -> &'static Span {
    let place = address >> (SLICE_SHIFT - HEADER_SHIFT) & ((SLICES - 1) << HEADER_SHIFT);
    let header = ptr::with_exposed_provenance::<Span>(chunk_of(address) + place);
    // SAFETY: S1: slice 0 of a mapped chunk holds initialised headers (zero is
    // one), all of whose fields may change behind a shared reference.
    unsafe { &*header }
}

/// The header of slice `slice` of the chunk at `chunk`.
///
/// # Safety
///
/// - S1 as for [`header_of`].
pub unsafe fn header_at(chunk: usize, slice: usize) -> &'static Span {
    // SAFETY: S1 is handed on.
    unsafe { header_of(chunk + slice * SLICE) }
}

/// A pointer to `address` with the provenance of its whole chunk.
///
/// # Safety
///
/// - S1 `address` is not 0 and lies in a mapped chunk.
#[inline(always)]
pub unsafe fn block_at(address: usize) -> NonNull<u8> {
    // SAFETY: S1.
    unsafe { NonNull::new_unchecked(ptr::with_exposed_provenance_mut(address)) }
}

/// Asks for the cache line at `address`, which need not be mapped.
#[inline(always)]
pub fn prefetch(address: *const i8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a hint; it reads nothing and cannot fail.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(address) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
