//! Raw blocks: what the Netmon calls hand out. Key and pointer come from a
//! plug-in that may be broken, so nothing is trusted.
//!
//! ```text
//!  word 0       word 1 (the mark)          16
//!  +-----------+--------------------------+------------------------- --+
//!  | size      | ~guard: live             | size bytes, zero-filled     |
//!  +-----------+--------------------------+------------------------- --+
//!              ^ of a free block: its guard
//! ```
//!
//! Invariants
//!
//! - W1 a block of a raw heap is live iff its mark is in place. The mark is
//!   taken off with one compare-exchange, so of two frees one succeeds.
//! - W2 raw heaps hold raw blocks only, so every carved block has the two
//!   words, and nobody but this file and the free lists writes them (an
//!   overrun from the block before makes a mark unrecognisable: an error).

use core::alloc::Layout;
use core::ptr::NonNull;

use super::blocks;
use super::free_block::{live_mark_of, second_word};
use super::lookup::{self, Found};
use super::record::Heap;
use super::span::Span;
use super::visit::{self, Pin};
use crate::engine::Kind;
use crate::error::Error;
use crate::key::ExpertKey;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// What stands in front of the memory handed out, in bytes.
const PREFIX: usize = 16;
const _: () = assert!(PREFIX >= super::free_block::WORDS);

/// The layout of the block behind `size` bytes; `None` where it overflows. One
/// byte at least, or the address of 0 bytes would be in the next block.
fn layout_of(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.max(1).checked_add(PREFIX)?, PREFIX).ok()
}

/// Allocates a raw block of `size` bytes for the raw heap `heap`.
///
/// # Errors
///
/// [`Error::OutOfMemory`], [`Error::QuotaExceeded`].
pub fn allocate(heap: &'static Heap, size: usize) -> Result<NonNull<u8>, Error> {
    let layout = layout_of(size).ok_or(Error::OutOfMemory)?;
    let key = heap.key().ok_or(Error::InvalidKey)?;
    let block = blocks::allocate_in(heap, key, Kind::Raw, layout, true)?;
    Ok(hand_out(block, size))
}

fn hand_out(block: NonNull<u8>, size: usize) -> NonNull<u8> {
    // SAFETY: 16 bytes or more, aligned to 16.
    let size_word = unsafe { block.cast::<AtomicUsize>().as_ref() };
    size_word.store(size, Relaxed);
    // SAFETY: as above.
    (unsafe { second_word(block) }).store(live_mark_of(block), Relaxed);
    // SAFETY: the block has `PREFIX + size` bytes.
    unsafe { block.add(PREFIX) }
}

/// A live raw block that was looked up.
struct RawBlock<'p> {
    block: NonNull<u8>,
    span: &'p Span,
    heap: &'static Heap,
    size: usize,
}

/// The live raw block of `key` whose memory begins at `address`.
fn find<'p>(key: ExpertKey, address: *const u8, pin: &'p Pin) -> Result<RawBlock<'p>, Error> {
    let block = address.addr().checked_sub(PREFIX).ok_or(Error::InvalidPointer)?;
    let Found { span, heap, start } = lookup::find(block, pin).ok_or(Error::InvalidPointer)?;
    if !heap.is_kind(Kind::Raw) || start.addr().get() != block {
        return Err(Error::InvalidPointer);
    }
    // SAFETY: W2: a carved block's start.
    let mark = unsafe { second_word(start) };
    if mark.load(Relaxed) != live_mark_of(start) {
        return Err(Error::InvalidPointer);
    }
    if heap.key() != Some(key) {
        return Err(Error::AccessDenied);
    }
    // SAFETY: W2, as above.
    let size = unsafe { start.cast::<AtomicUsize>().as_ref() }.load(Relaxed);
    // A plug-in may have written over the size; it stays inside the block.
    let size = size.min(span.block_size().saturating_sub(PREFIX));
    Ok(RawBlock { block: start, span, heap, size })
}

/// The size asked for of `key`'s live block at `address`.
///
/// # Errors
///
/// [`Error::InvalidPointer`], [`Error::AccessDenied`].
pub fn size(key: ExpertKey, address: *const u8) -> Result<usize, Error> {
    let pin = visit::pin_anything();
    Ok(find(key, address, &pin)?.size)
}

/// Frees `key`'s live block at `address`.
///
/// # Errors
///
/// As [`size`].
pub fn free(key: ExpertKey, address: *const u8) -> Result<(), Error> {
    let pin = visit::pin_anything();
    let found = find(key, address, &pin)?;
    claim(&found)?;
    release(&found);
    Ok(())
}

/// Takes the mark off, so that the block is the caller's alone (W1).
fn claim(found: &RawBlock<'_>) -> Result<(), Error> {
    // SAFETY: W2: a carved block's start.
    let mark = unsafe { second_word(found.block) };
    let live = live_mark_of(found.block);
    // Relaxed: decides who frees; the free itself orders what follows.
    let claimed = mark.compare_exchange(live, 0, Relaxed, Relaxed);
    claimed.map(|_| ()).map_err(|_| Error::InvalidPointer)
}

/// Gives a claimed block back.
fn release(found: &RawBlock<'_>) {
    let layout = layout_of(found.size).unwrap_or(Layout::new::<u8>());
    // SAFETY: a live block of this heap, claimed by this thread alone.
    unsafe { blocks::dealloc(found.block.as_ptr(), layout) };
}

/// Resizes `key`'s live block at `address`, what is new zero-filled.
///
/// # Errors
///
/// As [`size`] and [`allocate`]; the block is then untouched.
pub fn reallocate(key: ExpertKey, address: *mut u8, size: usize) -> Result<NonNull<u8>, Error> {
    let pin = visit::pin_anything();
    let found = find(key, address, &pin)?;
    let new = layout_of(size).ok_or(Error::OutOfMemory)?;
    // Exactly what holds content: what is behind it is new, and zeroed.
    let old = Layout::from_size_align(found.size + PREFIX, PREFIX);
    let old = old.map_err(|_| Error::InvalidPointer)?;
    claim(&found)?;
    // SAFETY: a live block of this heap, claimed by this thread alone.
    match unsafe { blocks::resize(found.block, old, new, true) } {
        Ok(moved) => Ok(hand_out(moved, size)),
        Err(why) => {
            hand_out(found.block, found.size);
            Err(why)
        }
    }
}

/// Gives `key`'s live block at `address` to the raw heap `to`. It moves: spans
/// never mix owners.
///
/// # Errors
///
/// As [`reallocate`].
pub fn transfer(key: ExpertKey, address: *mut u8, to: &'static Heap) -> Result<NonNull<u8>, Error> {
    let pin = visit::pin_anything();
    let found = find(key, address, &pin)?;
    if core::ptr::eq(found.heap, to) {
        return Ok(NonNull::new(address).unwrap_or(found.block));
    }
    let moved = allocate(to, found.size)?;
    if let Err(why) = claim(&found) {
        let unused =
            RawBlock { block: block_of(moved), span: found.span, heap: to, size: found.size };
        claim(&unused)?;
        release(&unused);
        return Err(why);
    }
    // SAFETY: the block is claimed and has `size` bytes behind the prefix.
    let content = unsafe { found.block.add(PREFIX) };
    // SAFETY: two distinct blocks of `size` bytes each.
    unsafe { content.copy_to_nonoverlapping(moved, found.size) };
    release(&found);
    Ok(moved)
}

/// The block behind memory that was just handed out.
fn block_of(memory: NonNull<u8>) -> NonNull<u8> {
    // SAFETY: `hand_out` added as much.
    unsafe { memory.sub(PREFIX) }
}
