//! A request with a layout, for an owner or for the host: by class, or a large block.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use super::common::{self, Limit};
use super::large::{self, Purpose};
use super::seated::allocate_at;
use crate::engine::HOST_KEY;
use crate::error::Error;
use crate::heap::base::number::Number;
use crate::heap::base::size_class::{self, CLASSED_MAX};
use crate::heap::lives::arrival;
use crate::heap::owners::heap::HOST;
use crate::heap::owners::numbers;
use crate::heap::spans::free_block;
use crate::key::ExpertKey;

/// The class for `layout`; `None` for large blocks, and for a size of 0.
#[inline(always)]
pub fn class_of(layout: Layout) -> Option<usize> {
    // One comparison tests both limits, because 0 - 1 is the largest number.
    if layout.size().wrapping_sub(1) >= CLASSED_MAX {
        return None;
    }
    size_class::of_layout(layout)
}

/// A non-null pointer with the alignment of `layout` that points to no block.
pub fn dangling(layout: Layout) -> NonNull<u8> {
    let address = ptr::without_provenance_mut(layout.align());
    // An alignment is never 0.
    NonNull::new(address).unwrap_or(NonNull::dangling())
}

/// Allocates a block with a layout for the owner of `number`, which has `key`.
///
/// # Errors
///
/// [`Error::OutOfMemory`], [`Error::QuotaExceeded`]; [`Error::InvalidKey`] if the owner has ended.
pub fn allocate_for(
    number: Number,
    key: ExpertKey,
    layout: Layout,
    zeroed: bool,
    purpose: Purpose,
) -> Result<NonNull<u8>, Error> {
    let Some(class) = class_of(layout) else {
        return allocate_large_for(number, key, layout, zeroed, purpose);
    };
    let thread = arrival::this().ok_or(Error::OutOfMemory)?;
    let seat = thread.seat_guest(number, key)?;
    // While the line is open, the number cannot go to another owner. The check below tells
    // whether it did so before.
    if numbers::entry(number).key() != Some(key) {
        return Err(Error::InvalidKey);
    }
    let limit = if purpose == Purpose::Fit { Limit::Strict } else { Limit::Usual };
    let block = allocate_at(seat, class, limit)?;
    if zeroed {
        zero(block, layout.size());
    }
    Ok(block)
}

/// Allocates a block without a class for the owner of `number`, which has `key`.
///
/// # Errors
///
/// As [`allocate_for`].
pub fn allocate_large_for(
    number: Number,
    key: ExpertKey,
    layout: Layout,
    zeroed: bool,
    purpose: Purpose,
) -> Result<NonNull<u8>, Error> {
    if layout.size() == 0 {
        return Ok(dangling(layout));
    }
    common::open_for_large(number, key);
    let heap = numbers::entry(number).heap_or_open(number)?;
    large::allocate(heap, key, layout, zeroed, purpose)
}

/// Allocates an ambient block of the host.
///
/// # Errors
///
/// [`Error::OutOfMemory`], [`Error::QuotaExceeded`].
pub fn allocate_for_host(
    layout: Layout,
    zeroed: bool,
    purpose: Purpose,
) -> Result<NonNull<u8>, Error> {
    let Some(class) = class_of(layout) else {
        if layout.size() == 0 {
            return Ok(dangling(layout));
        }
        return large::allocate(&HOST, HOST_KEY, layout, zeroed, purpose);
    };
    let host = arrival::host_cache().ok_or(Error::OutOfMemory)?;
    let block = allocate_at(host, class, Limit::Usual)?;
    if zeroed {
        zero(block, layout.size());
    }
    Ok(block)
}

/// Zeroes a block that was just handed out.
pub fn zero(block: NonNull<u8>, bytes: usize) {
    // SAFETY: a fresh block of at least that many bytes.
    unsafe { free_block::zero(block, bytes) };
}
