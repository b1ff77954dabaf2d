//! Raw blocks, which the Netmon calls hand out. Key and pointer come from a plug-in that
//! may be broken, so nothing is trusted.
//!
//! ```text
//!  word 0       word 1                     16
//!  +-----------+--------------------------+------------------------- --+
//!  | size      | unused                   | size bytes, zero-filled     |
//!  +-----------+--------------------------+------------------------- --+
//! ```
//!
//! A block is marked as raw out of band: by its tag (see `tags`), or, if it has a span of
//! its own, by the `mark` in the span's header. No program writes there, so no data can
//! look like a raw block.
//!
//! Invariants
//!
//! - RAW1 a raw block of an owner is live iff its tag, or mark, has the owner's number. A
//!   call that acts on it first takes the tag *in work*, by one exchange. So one of two
//!   frees succeeds, and a late free does not take a block that another owner has got at
//!   that address. Other calls for the block wait until the call is done, so the block
//!   exists for them all the time.
//! - RAW2 while a call for an owner runs, the owner does not end (its caller has borrowed
//!   or pinned it), so the owner keeps its number (NUM3).

use core::alloc::Layout;
use core::ptr::NonNull;

use super::common::{self, Limit};
use super::free;
use super::large::{self, Purpose};
use super::lookup::{self, Found};
use super::requests;
use super::resize::{self, Resized};
use super::seated::{allocate_at_desk, allocate_own};
use crate::engine::Kind;
use crate::error::Error;
use crate::heap::base::number::Number;
use crate::heap::base::size_class::BinPlace;
use crate::heap::caches::cache::Cache;
use crate::heap::lives::arrival;
use crate::heap::owners::numbers;
use crate::heap::pages::address;
use crate::heap::presence::visits::Pin;
use crate::heap::spans::span;
use crate::heap::spans::span::Span;
use crate::heap::spans::tags::{Tag, TagWord};
use crate::heap::threads::thread::tending;
use crate::key::ExpertKey;
use crate::sync::{AtomicUsize, Ordering::Relaxed};
use crate::wait::Backoff;

/// The bytes in front of the memory handed out.
pub const PREFIX: usize = 16;
const _: () = assert!(PREFIX >= crate::heap::spans::free_block::WORDS);

/// The layout of the block for `size` bytes; `None` if it overflows. It has at least one
/// byte behind the prefix, because the address of 0 bytes would be in the next block.
pub fn layout_of(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.max(1).checked_add(PREFIX)?, PREFIX).ok()
}

/// Allocates a raw block of `size` bytes for the owner of `number`, which has `key`.
///
/// # Errors
///
/// [`Error::OutOfMemory`], [`Error::QuotaExceeded`].
pub fn allocate(number: Number, key: ExpertKey, size: usize) -> Result<NonNull<u8>, Error> {
    let layout = layout_of(size).ok_or(Error::OutOfMemory)?;
    let block = obtain(number, key, layout, true, Purpose::New)?;
    Ok(hand_out(block, number, size))
}

/// A block for `layout`, without a tag.
///
/// # Errors
///
/// As [`allocate`]; [`Error::InvalidKey`] if the owner has ended.
pub fn obtain(
    number: Number,
    key: ExpertKey,
    layout: Layout,
    zeroed: bool,
    purpose: Purpose,
) -> Result<NonNull<u8>, Error> {
    tending::tend();
    let Some(class) = requests::class_of(layout) else {
        return requests::allocate_large_for(number, key, layout, zeroed, purpose);
    };
    let thread = arrival::this().ok_or(Error::OutOfMemory)?;
    let limit = if purpose == Purpose::Fit { Limit::Strict } else { Limit::Usual };
    let block = obtain_classed(thread.seat_guest(number, key)?, class, limit)?;
    if zeroed {
        requests::zero(block, layout.size());
    }
    Ok(block)
}

fn obtain_classed(seat: &'static Cache, class: usize, limit: Limit) -> Result<NonNull<u8>, Error> {
    if !seat.serves(class) {
        return allocate_at_desk(seat, class, false, limit);
    }
    match seat.pop(BinPlace::of_class(class)) {
        Some(block) => Ok(block),
        None => allocate_own(seat, class, limit),
    }
}

/// Notes the size of a block, tags it, and gives out the memory behind the prefix.
fn hand_out(block: NonNull<u8>, number: Number, size: usize) -> NonNull<u8> {
    set_size(block, size);
    // SAFETY: a block just obtained.
    let span = unsafe { span::span_of(block) };
    if span.is_large() {
        span.mark().store(Tag::large(number));
    } else {
        span.tag_word(block.addr().get()).store(Tag::new(number, span.class()));
    }
    // SAFETY: the block has `PREFIX` bytes and more.
    unsafe { block.add(PREFIX) }
}

pub fn set_size(block: NonNull<u8>, size: usize) {
    // SAFETY: 16 bytes or more, aligned to 16.
    let word = unsafe { block.cast::<AtomicUsize>().as_ref() };
    word.store(size, Relaxed);
}

/// A live raw block that this call alone is at work on (TAG4). Dropping this restores the
/// tag, unless the block was freed.
struct Work<'p> {
    block: NonNull<u8>,
    span: &'p Span,
    word: &'p TagWord,
    tag: Tag,
    number: Number,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.word.store(self.tag);
    }
}

impl<'p> Work<'p> {
    /// Takes the live block of `key` whose memory begins at `address`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPointer`], [`Error::AccessDenied`].
    fn begin(key: ExpertKey, address: *const u8, pin: &'p Pin) -> Result<Self, Error> {
        let block = address.addr().checked_sub(PREFIX).ok_or(Error::InvalidPointer)?;
        let mut waited = Backoff::new();
        loop {
            let found = lookup::find(block, pin).ok_or(Error::InvalidPointer)?;
            let begins = found.start.addr().get() == block;
            let word = found.tag.filter(|_| begins).ok_or(Error::InvalidPointer)?;
            crate::sync::delay(crate::sync::Window::RawFound);
            let tag = word.load();
            let number = tag.number().filter(|number| number.kind() == Kind::Raw);
            let number = number.ok_or(Error::InvalidPointer)?;
            let owner = numbers::entry(number).key().ok_or(Error::InvalidPointer)?;
            if owner != key {
                return Err(Error::AccessDenied);
            }
            if tag.is_in_work() {
                // Another thread may be resizing it, for example. This call then sees the
                // outcome.
                if !wait(&mut waited) {
                    return Err(Error::InvalidPointer);
                }
                continue;
            }
            crate::sync::delay(crate::sync::Window::RawTake);
            if !word.exchange(tag, tag.in_work()) {
                continue;
            }
            let Found { span, start, .. } = found;
            let work = Self { block: start, span, word, tag, number };
            // The tag is taken, so its block is known. It may be another block, if the header
            // was another span's when it was read. Dropping this puts the tag back.
            if found.is_of(tag) {
                return Ok(work);
            }
        }
    }

    /// The size asked for. A plug-in may have written over it; it stays inside the block.
    fn size(&self) -> usize {
        // SAFETY: a live raw block's first word.
        let size = unsafe { self.block.cast::<AtomicUsize>().as_ref() }.load(Relaxed);
        size.min(self.span.block_size().saturating_sub(PREFIX))
    }

    /// Frees the block.
    fn free(self) {
        let Self { block, number, word, .. } = self;
        core::mem::forget(self);
        word.store(Tag::NONE);
        release(block, number);
    }

    /// The address that the plug-in knows the block by.
    fn memory(&self) -> NonNull<u8> {
        // SAFETY: the block has `PREFIX` bytes and more.
        unsafe { self.block.add(PREFIX) }
    }
}

/// Waits a little for another call. Returns false if that call is one of a thread that a
/// child of `fork` does not have.
fn wait(waited: &mut Backoff) -> bool {
    /// By then it has slept for about a tenth of a second.
    const LONG: u32 = 300;
    waited.pause();
    waited.rounds() < LONG || !crate::heap::lives::fork::is_child()
}

/// Gives back a block of the owner of `number`, whose tag was taken.
fn release(block: NonNull<u8>, number: Number) {
    // SAFETY: a block of this heap, which only this call uses.
    let span = unsafe { span::span_of(block) };
    if span.is_large() {
        // SAFETY: as above.
        return unsafe { large::free(span, block) };
    }
    if span.is_common() {
        common::count_free(number, span.class());
    }
    // SAFETY: as above.
    unsafe { free::free_untagged(span, block) };
}

/// The size asked for of `key`'s live block at `address`.
///
/// # Errors
///
/// [`Error::InvalidPointer`], [`Error::AccessDenied`].
pub fn size(key: ExpertKey, address: *const u8) -> Result<usize, Error> {
    let pin = arrival::pin_anything();
    Ok(Work::begin(key, address, &pin)?.size())
}

/// Frees `key`'s live block at `address`.
///
/// # Errors
///
/// As [`size`].
pub fn free(key: ExpertKey, address: *const u8) -> Result<(), Error> {
    let pin = arrival::pin_anything();
    Work::begin(key, address, &pin)?.free();
    Ok(())
}

/// As [`free`], for the owner of `number`, if the block is one of many in a slice and no
/// other call is at work on it, as for nearly all blocks. If this returns false, nothing
/// was done.
///
/// The tag is taken as by [`Work::begin`], but for good. It had this number and the class
/// with which its place was calculated, so it was the tag of the block at the address
/// (TAG1), and the number stays that of its owner (RAW2).
#[inline(always)]
pub fn free_at_once(number: Number, address: *const u8) -> bool {
    let pin = arrival::pin_anything();
    let block = address.addr().wrapping_sub(PREFIX);
    let Some((class, word)) = lookup::find_start(block, &pin) else { return false };
    crate::sync::delay(crate::sync::Window::RawFree);
    if !word.exchange(Tag::new(number, class), Tag::NONE) {
        return false;
    }
    // SAFETY: the header of the block's one slice: until it is freed, the span is there.
    let span = unsafe { span::header_of(block) };
    if span.is_common() {
        common::count_free(number, class);
    }
    // SAFETY: a block lies there.
    let memory = unsafe { address::block_at(block) };
    // SAFETY: a block of this span without a tag, which only this call uses.
    unsafe { free::free_untagged(span, memory) };
    true
}

/// Resizes `key`'s live block at `address`; new bytes are zero-filled.
///
/// # Errors
///
/// As [`size`] and [`allocate`]; the block is then untouched.
pub fn reallocate(key: ExpertKey, address: *mut u8, size: usize) -> Result<NonNull<u8>, Error> {
    let pin = arrival::pin_anything();
    let work = Work::begin(key, address, &pin)?;
    let new = layout_of(size).ok_or(Error::OutOfMemory)?;
    let before = work.size();
    // The old layout covers exactly the content, so all bytes behind it are new, and
    // zeroed.
    let old =
        Layout::from_size_align(before + PREFIX, PREFIX).map_err(|_| Error::InvalidPointer)?;
    // SAFETY: a live block of this heap, which only this call uses.
    match unsafe { resize_raw(work.block, work.number, key, old, new) }? {
        Resized::InPlace => {
            set_size(work.block, size);
            Ok(work.memory())
        }
        // The alignment of raw blocks is always the same, and they do not slide.
        Resized::Slid(block) | Resized::Moved(block) => {
            let number = work.number;
            work.free();
            Ok(hand_out(block, number, size))
        }
    }
}

/// Resizes a raw block of the owner of `number`, which has `key`; new bytes are zeroed. If
/// it has moved, the caller must free the old block, and the new one has neither its first
/// words nor a tag.
///
/// # Safety
///
/// - S1 `memory` is a live raw block with the layout `old`, which only the caller uses.
///
/// # Errors
///
/// As [`resize::resize`].
unsafe fn resize_raw(
    memory: NonNull<u8>,
    number: Number,
    key: ExpertKey,
    old: Layout,
    new: Layout,
) -> Result<Resized, Error> {
    // SAFETY: S1.
    let span = unsafe { span::span_of(memory) };
    let beside = |purpose| obtain(number, key, new, true, purpose);
    // SAFETY: S1.
    unsafe { resize::resize_with(span, memory, old, new, true, PREFIX, beside) }
}

/// Gives `key`'s live block at `address` to the owner of `to`, which has the key `to_key`.
/// The block moves, unless it already belongs to that owner.
///
/// # Errors
///
/// As [`reallocate`].
pub fn transfer(
    key: ExpertKey,
    address: *mut u8,
    to: Number,
    to_key: ExpertKey,
) -> Result<NonNull<u8>, Error> {
    let pin = arrival::pin_anything();
    let work = Work::begin(key, address, &pin)?;
    if work.number == to {
        return Ok(work.memory());
    }
    let size = work.size();
    let layout = layout_of(size).ok_or(Error::OutOfMemory)?;
    let block = obtain(to, to_key, layout, false, Purpose::New)?;
    // SAFETY: the block has `PREFIX + size` bytes.
    let content = unsafe { block.add(PREFIX) };
    // SAFETY: two distinct blocks of `size` bytes each behind the prefix.
    unsafe { work.memory().copy_to_nonoverlapping(content, size) };
    work.free();
    // The tag comes last, so a stale pointer finds nothing to free during the copy.
    Ok(hand_out(block, to, size))
}
