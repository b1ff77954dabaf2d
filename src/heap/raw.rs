//! Raw blocks: what the Netmon calls hand out. Key and pointer come from a
//! plug-in that may be broken, so nothing is trusted.
//!
//! ```text
//!  word 0       word 1 (the mark)          16
//!  +-----------+--------------------------+------------------------- --+
//!  | size      | ~guard ^ key: live       | size bytes, zero-filled     |
//!  +-----------+--------------------------+------------------------- --+
//!              ^ of a free block: its guard
//! ```
//!
//! Invariants
//!
//! - W1 a block of a raw heap is live iff its mark is in place, which names the
//!   address and the owner. The mark is taken off with one compare-exchange, so
//!   of two frees one succeeds, and neither takes a block that another owner
//!   has been given at that address meanwhile.
//! - W2 raw heaps hold raw blocks only, so every carved block has the two
//!   words, and nobody but this file and the free lists writes them (an
//!   overrun from the block before makes a mark unrecognisable: an error).

use core::alloc::Layout;
use core::ptr::NonNull;

use super::free_block::{guard_of, second_word};
use super::lookup::{self, Found};
use super::record::Heap;
use super::visit::{self, Pin};
use super::{blocks, resize};
use crate::engine::Kind;
use crate::error::Error;
use crate::key::ExpertKey;
use crate::sync::{AtomicUsize, Ordering, Ordering::Relaxed};

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
    let (block, key) = obtain(heap, size)?;
    Ok(hand_out(block, key, size))
}

/// A block for `size` bytes that bears no mark yet, and whose it is.
fn obtain(heap: &'static Heap, size: usize) -> Result<(NonNull<u8>, ExpertKey), Error> {
    let layout = layout_of(size).ok_or(Error::OutOfMemory)?;
    let key = heap.key().ok_or(Error::InvalidKey)?;
    Ok((blocks::allocate_in(heap, key, Kind::Raw, layout, true)?, key))
}

/// What a raw block of `key` that is live carries in its second word.
pub fn mark_of(block: NonNull<u8>, key: ExpertKey) -> usize {
    !guard_of(block.addr().get()) ^ key.into_raw()
}

fn hand_out(block: NonNull<u8>, key: ExpertKey, size: usize) -> NonNull<u8> {
    // SAFETY: 16 bytes or more, aligned to 16.
    let size_word = unsafe { block.cast::<AtomicUsize>().as_ref() };
    size_word.store(size, Relaxed);
    // Release: the content, to whoever is told the address by nobody but reads the
    // mark (the Acquire in `claim`).
    // SAFETY: as above.
    (unsafe { second_word(block) }).store(mark_of(block, key), Ordering::Release);
    // SAFETY: the block has `PREFIX + size` bytes.
    unsafe { block.add(PREFIX) }
}

/// The live raw block of `key` whose memory begins at `address`, and its heap.
/// It may be freed at any moment: see [`claim`].
fn find(
    key: ExpertKey,
    address: *const u8,
    pin: &Pin,
) -> Result<(NonNull<u8>, &'static Heap), Error> {
    let block = address.addr().checked_sub(PREFIX).ok_or(Error::InvalidPointer)?;
    let Found { heap, start, .. } = lookup::find(block, pin).ok_or(Error::InvalidPointer)?;
    if !heap.is_kind(Kind::Raw) || start.addr().get() != block {
        return Err(Error::InvalidPointer);
    }
    let owner = heap.key().ok_or(Error::InvalidPointer)?;
    // SAFETY: W2: a carved block's start.
    let mark = unsafe { second_word(start) };
    // Acquire: the block as it was handed out (the Release in `hand_out`).
    if mark.load(Ordering::Acquire) != mark_of(start, owner) {
        return Err(Error::InvalidPointer);
    }
    if owner != key {
        return Err(Error::AccessDenied);
    }
    Ok((start, heap))
}

/// The size that a raw block says it has. A plug-in may have written over it;
/// it stays inside the block.
///
/// # Safety
///
/// - S1 `block` is the start of a carved raw block, in a chunk that stays mapped.
unsafe fn size_of(block: NonNull<u8>) -> usize {
    // SAFETY: S1, and W2.
    let size = unsafe { block.cast::<AtomicUsize>().as_ref() }.load(Relaxed);
    // SAFETY: S1; raw blocks are aligned to 16 bytes.
    let span = unsafe { blocks::span_of(block) };
    size.min(span.block_size().saturating_sub(PREFIX))
}

/// The size asked for of `key`'s live block at `address`.
///
/// # Errors
///
/// [`Error::InvalidPointer`], [`Error::AccessDenied`].
pub fn size(key: ExpertKey, address: *const u8) -> Result<usize, Error> {
    let pin = visit::pin_anything();
    let (block, _) = find(key, address, &pin)?;
    // SAFETY: S1: it was found under the pin.
    Ok(unsafe { size_of(block) })
}

/// Frees `key`'s live block at `address`.
///
/// # Errors
///
/// As [`size`].
pub fn free(key: ExpertKey, address: *const u8) -> Result<(), Error> {
    let pin = visit::pin_anything();
    let (block, _) = find(key, address, &pin)?;
    release(block, claim(block, key)?);
    Ok(())
}

/// Takes the mark off a block that was found, so that it is the caller's alone
/// (W1), and returns its size. Before anything else is allocated or freed: the
/// caller's pin does not keep the caller from unmapping the chunk.
fn claim(block: NonNull<u8>, key: ExpertKey) -> Result<usize, Error> {
    // SAFETY: W2: a carved block's start.
    let mark = unsafe { second_word(block) };
    let live = mark_of(block, key);
    // Acquire: as in `find`.
    let claimed = mark.compare_exchange(live, 0, Ordering::Acquire, Relaxed);
    claimed.map_err(|_| Error::InvalidPointer)?;
    // SAFETY: S1: live, and from now on this call's. What was found there may
    // have been another block.
    Ok(unsafe { size_of(block) })
}

/// Gives a claimed block of `size` bytes back.
fn release(block: NonNull<u8>, size: usize) {
    let layout = layout_of(size).unwrap_or(Layout::new::<u8>());
    // SAFETY: a live block of this heap, claimed by this thread alone.
    unsafe { blocks::dealloc(block.as_ptr(), layout) };
}

/// Resizes `key`'s live block at `address`, what is new zero-filled.
///
/// # Errors
///
/// As [`size`] and [`allocate`]; the block is then untouched.
pub fn reallocate(key: ExpertKey, address: *mut u8, size: usize) -> Result<NonNull<u8>, Error> {
    let pin = visit::pin_anything();
    let (block, _) = find(key, address, &pin)?;
    let new = layout_of(size).ok_or(Error::OutOfMemory)?;
    let before = claim(block, key)?;
    // Exactly what holds content: what is behind it is new, and zeroed.
    let resized = match Layout::from_size_align(before + PREFIX, PREFIX) {
        // SAFETY: a live block of this heap, claimed by this thread alone.
        Ok(old) => unsafe { resize::resize(block, old, new, true) },
        Err(_) => Err(Error::InvalidPointer),
    };
    match resized {
        Ok(moved) => Ok(hand_out(moved, key, size)),
        Err(why) => {
            hand_out(block, key, before);
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
    let (block, heap) = find(key, address, &pin)?;
    if core::ptr::eq(heap, to) {
        return Ok(NonNull::new(address).unwrap_or(block));
    }
    let size = claim(block, key)?;
    let (moved, owner) = obtain(to, size).inspect_err(|_| {
        hand_out(block, key, size);
    })?;
    // SAFETY: the block is claimed and has `size` bytes behind the prefix.
    let from = unsafe { block.add(PREFIX) };
    // SAFETY: as above; it is nobody's yet.
    let content = unsafe { moved.add(PREFIX) };
    // SAFETY: two distinct blocks of `size` bytes each.
    unsafe { from.copy_to_nonoverlapping(content, size) };
    release(block, size);
    // Last, so that a stale pointer finds nothing to free while it is copied.
    Ok(hand_out(moved, owner, size))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::account::Account;
    use crate::engine::{Engine, Who};
    use crate::heap::host::HostEngine;

    #[test]
    fn a_free_that_is_late_spares_who_has_the_address_now() {
        static ACCOUNTS: [Account; 2] = [const { Account::new() }; 2];
        static OWNERS: [<HostEngine as Engine>::Owner; 2] = [const { HostEngine::NEW }; 2];
        let who = |place: usize| Who {
            key: ExpertKey::new(90 + place, 1).unwrap(),
            account: &ACCOUNTS[place],
            owner: &OWNERS[place],
            overdraft: false,
        };
        let (first, second) = (who(0), who(1));
        const SIZE: usize = 100_000;
        let mut met = false;
        for _ in 0..100 {
            let old = HostEngine.raw_allocate(first, SIZE).unwrap();
            let pin = visit::pin_anything();
            // One free has looked, and is overtaken by another.
            let (block, _) = find(first.key, old.as_ptr(), &pin).unwrap();
            HostEngine.raw_free(first.key, old.as_ptr()).unwrap();
            let new = HostEngine.raw_allocate(second, SIZE).unwrap();
            met |= new == old;
            assert_eq!(claim(block, first.key), Err(Error::InvalidPointer));
            assert_eq!(HostEngine.raw_size(second.key, new.as_ptr()), Ok(SIZE));
            HostEngine.raw_free(second.key, new.as_ptr()).unwrap();
        }
        assert!(met, "the address came again");
        for who in [first, second] {
            // SAFETY: S1, S2: nothing uses a block of theirs.
            unsafe { HostEngine.reclaim(who, Kind::Raw) };
            HostEngine.close(who);
        }
        assert_eq!((ACCOUNTS[0].charged(), ACCOUNTS[1].charged()), (0, 0));
    }
}
