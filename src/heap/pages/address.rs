//! Makes pointers of addresses, with the provenance of the chunk that they lie in.
//!
//! A pointer that comes back from a program may carry the provenance of a
//! small object only (`Box` narrows it), so neither a header nor a neighbour
//! may be reached from it. Each chunk exposes its provenance when it is mapped;
//! here pointers into chunks are made from addresses with that provenance.

use core::ptr::{self, NonNull};

use crate::heap::base::geometry::{CHUNK, HEADER_SHIFT, SLICE_SHIFT, SLICES};

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

/// The address of the header of the slice that holds `address`: mask, shift, index.
#[inline(always)]
pub const fn header_place(address: usize) -> usize {
    let place = address >> (SLICE_SHIFT - HEADER_SHIFT) & ((SLICES - 1) << HEADER_SHIFT);
    chunk_of(address) + place
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

/// Prefetches the cache line at `address`, which need not be mapped.
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
