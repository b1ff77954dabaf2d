//! Requests for a class, by the owner that is seated at a cache or a desk: the order in
//! which free memory is used, and the steps if there is none.

use core::ptr::NonNull;

use super::common::{self, Limit, Served};
use crate::error::Error;
use crate::heap::base::size_class::BinPlace;
use crate::heap::caches::cache::Cache;
use crate::heap::presence::present;

/// Allocates a block of `class` for the owner that is seated at `seat`.
///
/// # Errors
///
/// [`Error::OutOfMemory`], [`Error::QuotaExceeded`]; [`Error::InvalidKey`] if the owner has
/// ended.
#[inline(always)]
pub fn allocate_at(seat: &'static Cache, class: usize, limit: Limit) -> Result<NonNull<u8>, Error> {
    let place = BinPlace::of_class(class);
    if let Some(block) = seat.pop(place) {
        return Ok(block);
    }
    if seat.serves(class) {
        return allocate_own(seat, class, limit);
    }
    match common::hand_out_at_once(seat, place) {
        Some(block) => Ok(block),
        None => allocate_at_desk(seat, class, true, limit),
    }
}

/// A block of `class` for the owner that is seated at `desk`, if none is at hand there.
/// `tag` says whether it gets its tag now.
///
/// # Errors
///
/// As [`allocate_at`].
pub fn allocate_at_desk(
    desk: &'static Cache,
    class: usize,
    tag: bool,
    limit: Limit,
) -> Result<NonNull<u8>, Error> {
    match common::allocate(desk, class, tag, limit)? {
        Served::Block(block) => Ok(block),
        Served::Own(cache) => match cache.pop(BinPlace::of_class(class)) {
            Some(block) => Ok(block),
            None => allocate_own(cache, class, limit),
        },
    }
}

/// Allocates a block of `class` from a cache that serves the class and whose bin is empty.
///
/// # Errors
///
/// As [`allocate_at`].
#[inline(always)]
pub fn allocate_own(
    cache: &'static Cache,
    class: usize,
    limit: Limit,
) -> Result<NonNull<u8>, Error> {
    match limit {
        Limit::Usual => allocate_slow(cache, class),
        Limit::Strict => cache.allocate_within(class),
    }
}

/// Allocates a block of `class` if the bin is empty: within the quota, then as a single
/// block of a common span, then beyond the quota.
///
/// # Errors
///
/// [`Error::OutOfMemory`], [`Error::QuotaExceeded`].
#[cold]
#[inline(never)]
fn allocate_slow(cache: &'static Cache, class: usize) -> Result<NonNull<u8>, Error> {
    match cache.allocate_cold(class) {
        Err(why) => allocate_last(cache, class, why),
        done => done,
    }
}

/// Handles a refusal by the quota or the system, if nothing is free in this thread's
/// caches.
///
/// # Errors
///
/// As [`allocate_slow`].
#[cold]
#[inline(never)]
fn allocate_last(cache: &'static Cache, class: usize, why: Error) -> Result<NonNull<u8>, Error> {
    let _held = present::hold();
    // Free memory in common spans does as well.
    match common::allocate_instead(cache, class) {
        Some(block) => Ok(block),
        None => cache.allocate_beyond(class, why),
    }
}
