//! Resizing: in place if class or slices allow it; otherwise a block is allocated for the
//! same owner, and the old block is copied and freed.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::ambient::{dealloc, pointer};
use super::large::{self, Purpose};
use super::requests::{allocate_for, allocate_for_host, class_of};
use crate::engine::HOST_KEY;
use crate::error::Error;
use crate::heap::base::geometry::SLICE;
use crate::heap::base::number::Number;
use crate::heap::base::paths::{self, Path};
use crate::heap::owners::numbers;
use crate::heap::presence::token::token;
use crate::heap::spans::span;
use crate::heap::spans::span::Span;
use crate::key::ExpertKey;

/// Resizes a block for the owner that it has. Returns null if that fails; the block is then
/// untouched.
///
/// # Safety
///
/// - S1, S2 as for [`dealloc`], unless the call fails.
/// - S3 `new_size` is not 0 and fits an `isize` rounded up to the alignment.
#[inline]
pub unsafe fn realloc(block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
    // SAFETY: S3.
    let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
    if layout.align() <= SLICE {
        // SAFETY: S1, as in `dealloc`.
        let header = unsafe { span::header_of(block.addr()) };
        // Only the first header of a span has a thread (SPAN3).
        if header.thread() == token() && has_room(header, new_size) {
            return block;
        }
    }
    // SAFETY: S1: not null.
    let memory = unsafe { NonNull::new_unchecked(block) };
    // SAFETY: handed on.
    pointer(unsafe { resize(memory, layout, new, false) })
}

/// Resizes a block for the owner that it has, and zeroes new bytes if asked.
///
/// # Safety
///
/// - S1, S2 as for [`dealloc`], `old` fitting, unless the call fails.
///
/// # Errors
///
/// [`Error::OutOfMemory`], [`Error::QuotaExceeded`]; the block is then untouched.
pub unsafe fn resize(
    memory: NonNull<u8>,
    old: Layout,
    new: Layout,
    zeroed: bool,
) -> Result<NonNull<u8>, Error> {
    let span = if old.align() > SLICE {
        large::find_aligned(memory.addr().get()).ok_or(Error::InvalidPointer)?
    } else {
        // SAFETY: S1.
        unsafe { span::span_of(memory) }
    };
    let beside = |purpose| allocate_beside(span, memory, new, zeroed, purpose);
    // SAFETY: S1.
    let moved = match unsafe { resize_with(span, memory, old, new, zeroed, 0, beside) }? {
        Resized::InPlace => return Ok(memory),
        Resized::Slid(slid) => return Ok(slid),
        Resized::Moved(moved) => moved,
    };
    if span.is_large() {
        // SAFETY: S1 and S2.
        unsafe { large::end(span, memory) };
    } else {
        // SAFETY: S1 and S2.
        unsafe { dealloc(memory.as_ptr(), old) };
    }
    Ok(moved)
}

/// The outcome of a resize.
#[derive(Clone, Copy, Debug)]
pub enum Resized {
    /// The block is where it was.
    InPlace,
    /// The block is elsewhere in its mapping.
    Slid(NonNull<u8>),
    /// Its content was copied to this block.
    Moved(NonNull<u8>),
}

/// Resizes a block of `span` where it is, or copies it, except its first `skipped` bytes,
/// to a block that `beside` allocates.
///
/// # Safety
///
/// - S1 `memory` is a live block of `span` with the layout `old`, which only the caller
///   uses.
pub unsafe fn resize_with(
    span: &'static Span,
    memory: NonNull<u8>,
    old: Layout,
    new: Layout,
    zeroed: bool,
    skipped: usize,
    beside: impl Fn(Purpose) -> Result<NonNull<u8>, Error>,
) -> Result<Resized, Error> {
    let is_aligned = memory.addr().get() % new.align() == 0;
    // Huge blocks aligned beyond a slice are found in another way, by their layout.
    let is_found = (new.align() > SLICE) == (old.align() > SLICE) || span.is_in_chunk();
    let stays = is_aligned && is_found;
    // A block whose alignment is lowered must be found by its address from now on.
    let slides = !is_found && old.align() > SLICE && new.size() <= span.block_size();
    if stays {
        // SAFETY: S1: the live block of this span.
        if let Some(done) = unsafe { resize_in_place(span, memory, old, new, zeroed) } {
            return done.map(|()| Resized::InPlace);
        }
    }
    if slides && large::is_huge(new.size()) {
        // SAFETY: S1: the live block of this span, which has room for that.
        return unsafe { slide(span, old, new, zeroed) }.map(Resized::Slid);
    }
    if span.is_large() || class_of(new).is_none() {
        // A block that grows needs room behind it for the next time.
        large::give_spares(span);
    }
    let fits = slides || stays && new.size() <= span.block_size();
    let purpose = match fits {
        true => Purpose::Fit,
        false if new.size() > old.size() => Purpose::Growth,
        false => Purpose::New,
    };
    let moved = match beside(purpose) {
        // SAFETY: S1: as above.
        Err(_) if slides => return unsafe { slide(span, old, new, zeroed) }.map(Resized::Slid),
        // If the block has room where it is, the call never fails, because the block stays
        // there.
        Err(_) if fits => {
            paths::entered(Path::Stayed);
            if zeroed {
                // SAFETY: S1: the block has room for that.
                unsafe { zero_tail(memory, old.size(), new.size()) };
            }
            if span.is_large() {
                // SAFETY: S1.
                unsafe { large::shrink(span, new.size()) };
            }
            return Ok(Resized::InPlace);
        }
        moved => moved?,
    };
    let kept = old.size().min(new.size()).saturating_sub(skipped);
    // SAFETY: every block is longer than what is skipped.
    let from = unsafe { memory.add(skipped) };
    // SAFETY: as above.
    let to = unsafe { moved.add(skipped) };
    // SAFETY: both blocks have at least that many bytes more and are distinct.
    unsafe { from.copy_to_nonoverlapping(to, kept) };
    Ok(Resized::Moved(moved))
}

/// Allocates for the owner of the block at `memory`, of `span`, which the host may be
/// adopting.
fn allocate_beside(
    span: &'static Span,
    memory: NonNull<u8>,
    layout: Layout,
    zeroed: bool,
    purpose: Purpose,
) -> Result<NonNull<u8>, Error> {
    loop {
        let done = match owner_of(span, memory) {
            Some((number, key)) => allocate_for(number, key, layout, zeroed, purpose),
            None => allocate_for_host(layout, zeroed, purpose),
        };
        // The owner has ended, so the block is the host's now, or will be in a moment.
        if done != Err(Error::InvalidKey) {
            return done;
        }
        paths::entered(Path::HeapMoved);
        crate::sync::delay(crate::sync::Window::OwnerEnded);
    }
}

/// The owner of the live block at `memory`; `None` for the host.
///
/// In a tagged span, the number belongs to its owner as long as the block bears it (NUM3).
/// In a span without tags, the heap is the owner's until it becomes the host's for good. If
/// the heap is the same before and after reading the owner, that was the block's owner.
fn owner_of(span: &'static Span, memory: NonNull<u8>) -> Option<(Number, ExpertKey)> {
    if span.is_tagged() {
        let word = span.tag_word(memory.addr().get());
        // A sweep may give an adopted block the host's number, and then its old number may
        // go to another owner. If the tag is the same before and after reading the key,
        // that was the key of the block's owner.
        loop {
            let tag = word.load();
            let number = tag.number()?;
            crate::sync::delay(crate::sync::Window::ResizeTagged);
            let key = numbers::entry(number).key();
            if word.load() == tag {
                return key.filter(|&key| key != HOST_KEY).map(|key| (number, key));
            }
        }
    }
    loop {
        let heap = span.heap_seen()?;
        crate::sync::delay(crate::sync::Window::ResizeSpan);
        let number = heap.number()?;
        let key = numbers::entry(number).key();
        if span.heap_seen().is_some_and(|now| core::ptr::eq(now, heap)) {
            return key.filter(|&key| key != HOST_KEY).map(|key| (number, key));
        }
    }
}

/// Resizes the block in place, if there is room, and not too much room.
///
/// # Safety
///
/// - S1 `memory` is the live block of `span`, allocated for `old`.
unsafe fn resize_in_place(
    span: &'static Span,
    memory: NonNull<u8>,
    old: Layout,
    new: Layout,
    zeroed: bool,
) -> Option<Result<(), Error>> {
    if span.is_large() {
        if class_of(new).is_some() {
            return None;
        }
        let room = span.block_size();
        if zeroed && new.size() > old.size() {
            let grown = new.size().min(room).saturating_sub(old.size());
            // SAFETY: S1: the block's own bytes behind what was asked for.
            let tail = unsafe { memory.add(old.size().min(room)) };
            // SAFETY: as above, inside the block.
            unsafe { tail.write_bytes(0, grown) };
        }
        // SAFETY: S1.
        return unsafe { large::resize(span, new.size(), zeroed) };
    }
    if !has_room(span, new.size()) {
        return None;
    }
    if zeroed {
        // SAFETY: S1: the block has room for that.
        unsafe { zero_tail(memory, old.size(), new.size()) };
    }
    Some(Ok(()))
}

/// Resizes a huge block, whose alignment becomes smaller, in its own mapping.
///
/// # Safety
///
/// - S1 the live block of `span`, allocated for `old`, is the caller's, and has room
///   for `new`.
unsafe fn slide(
    span: &'static Span,
    old: Layout,
    new: Layout,
    zeroed: bool,
) -> Result<NonNull<u8>, Error> {
    let kept = old.size().min(new.size());
    // SAFETY: S1.
    let moved = unsafe { large::slide(span, kept, new.size()) }.ok_or(Error::InvalidPointer)?;
    paths::entered(Path::Stayed);
    if zeroed {
        // SAFETY: S1.
        unsafe { zero_tail(moved, old.size(), new.size()) };
    }
    Ok(moved)
}

/// Zeroes the bytes that a block has gained by growing from `old` to `new` bytes.
///
/// # Safety
///
/// - S1 the block is the caller's, and has room for both.
unsafe fn zero_tail(memory: NonNull<u8>, old: usize, new: usize) {
    if new > old {
        // SAFETY: S1.
        let tail = unsafe { memory.add(old) };
        // SAFETY: S1.
        unsafe { tail.write_bytes(0, new - old) };
    }
}

/// Whether a block of a span with a class stays where it is when `size` bytes are
/// asked for: it holds them, and is not much larger.
#[inline(always)]
fn has_room(span: &Span, size: usize) -> bool {
    let room = span.block_size();
    size <= room && (size > room / 2 || room <= 64)
}
