//! Resizing: in place where class or slices allow, else allocate for the same owner,
//! copy, free.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use super::blocks::{
    allocate_from, allocate_in, allocate_large, class_of, dealloc, pointer, span_of,
};
use super::cache::Cache;
use super::geometry::SLICE;
use super::large::{self, Purpose};
use super::paths::{self, Path};
use super::size_class::Place;
use super::span::Span;
use super::{address, free_block, thread};
use crate::engine::Kind;
use crate::error::Error;
use crate::sync::Ordering::Relaxed;

/// Resizes a block for the owner that it has. Null where that fails; the block
/// is then untouched.
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
        let header = unsafe { address::header_of(block.addr()) };
        // Only the first header of a span has a thread (S3 of the span).
        if header.thread.load(Relaxed) == thread::token() && has_room(header, new_size) {
            return block;
        }
    }
    // SAFETY: S1: not null.
    let memory = unsafe { NonNull::new_unchecked(block) };
    // SAFETY: handed on.
    pointer(unsafe { resize(memory, layout, new, false) })
}

/// Resizes a block for the owner that it has, what is new zeroed if asked.
///
/// # Safety
///
/// - S1, S2 as for [`dealloc`], `old` fitting, unless the call fails.
///
/// # Errors
///
/// As [`allocate_in`]; the block is then untouched.
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
        unsafe { span_of(memory) }
    };
    let is_aligned = memory.addr().get() % new.align() == 0;
    // Huge blocks aligned beyond a slice are found in another way, by their layout.
    let is_found = (new.align() > SLICE) == (old.align() > SLICE) || span.is_in_chunk();
    let stays = is_aligned && is_found;
    // One whose alignment is lowered has to be found by its address from now on.
    let slides = !is_found && old.align() > SLICE && new.size() <= span.block_size();
    if stays {
        // SAFETY: S1: the live block of this span.
        if let Some(done) = unsafe { resize_in_place(span, memory, old, new, zeroed) } {
            return done.map(|()| memory);
        }
    }
    if slides && large::is_huge(new.size()) {
        // SAFETY: S1: the live block of this span, which has room for that.
        return unsafe { slide(span, old, new, zeroed) };
    }
    if span.is_large() || class_of(new).is_none() {
        // A block that grows wants room behind it for the next time.
        large::give_spares(span);
    }
    let fits = slides || stays && new.size() <= span.block_size();
    let purpose = match fits {
        true => Purpose::Fit,
        false if new.size() > old.size() => Purpose::Growth,
        false => Purpose::New,
    };
    let moved = match allocate_beside(span, new, zeroed, purpose) {
        // SAFETY: S1: as above.
        Err(_) if slides => return unsafe { slide(span, old, new, zeroed) },
        // What has room where it is never fails: it stays there.
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
            return Ok(memory);
        }
        moved => moved?,
    };
    // The words in front of a raw block are not copied: they are made anew, and
    // somebody with a stale address may be looking at them.
    let is_raw = span.heap().is_some_and(|heap| heap.is_kind(Kind::Raw));
    let skipped = if is_raw { free_block::WORDS } else { 0 };
    let kept = old.size().min(new.size()).saturating_sub(skipped);
    // SAFETY: every block has two words.
    let from = unsafe { memory.add(skipped) };
    // SAFETY: as above.
    let to = unsafe { moved.add(skipped) };
    // SAFETY: both blocks have at least that many bytes more and are distinct.
    unsafe { from.copy_to_nonoverlapping(to, kept) };
    if span.is_large() {
        // SAFETY: S1 and S2.
        unsafe { large::end(span, memory) };
    } else {
        // SAFETY: S1 and S2.
        unsafe { dealloc(memory.as_ptr(), old) };
    }
    Ok(moved)
}

/// Allocates for the owner of `span`, which the host may be adopting.
fn allocate_beside(
    span: &'static Span,
    layout: Layout,
    zeroed: bool,
    purpose: Purpose,
) -> Result<NonNull<u8>, Error> {
    if span.thread.load(Relaxed) == thread::token() {
        // S3 of the span: the cache is this thread's, for the same owner.
        if let (Some(cache), Some(class)) = (span.cache(), class_of(layout)) {
            return match purpose {
                Purpose::Fit => allocate_within(cache, class, layout, zeroed),
                _ => allocate_from(cache, Place::of_class(class), layout, zeroed),
            };
        }
    }
    loop {
        let heap = span.heap().ok_or(Error::InvalidPointer)?;
        let (key, kind) = (heap.key(), heap.kind());
        // What moves to the host's heap does not come back: both were the
        // owner's, and not those of the next who has the record.
        if !span.heap().is_some_and(|now| ptr::eq(now, heap)) {
            paths::entered(Path::HeapMoved);
            continue;
        }
        let allocate = |key| match class_of(layout) {
            Some(class) if purpose == Purpose::Fit => {
                let own = thread::find(key, kind).map_or_else(|| thread::attach(heap, key), Ok);
                allocate_within(own?, class, layout, zeroed)
            }
            Some(_) => allocate_in(heap, key, kind, layout, zeroed),
            None => allocate_large(heap, key, layout, zeroed, purpose),
        };
        match key.map(allocate) {
            None | Some(Err(Error::InvalidKey)) => core::hint::spin_loop(),
            Some(done) => return done,
        }
    }
}

/// Resizes where the block lies, if there is room and not too much of it.
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

/// Resizes a huge block, of which less is aligned from now on, in its own mapping.
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

/// Zeroes what a block has gained that had `old` bytes and has `new`.
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

/// As [`allocate_from`], by [`Cache::allocate_within`].
///
/// # Errors
///
/// As [`allocate_in`].
fn allocate_within(
    cache: &'static Cache,
    class: usize,
    layout: Layout,
    zeroed: bool,
) -> Result<NonNull<u8>, Error> {
    let block = cache.allocate_within(class)?;
    if zeroed {
        // SAFETY: a fresh block of at least that many bytes.
        unsafe { free_block::zero(block, layout.size()) };
    }
    Ok(block)
}

/// Whether a block of a span with a class is to stay where `size` bytes are asked
/// for: it holds them, and is not much larger.
#[inline(always)]
fn has_room(span: &Span, size: usize) -> bool {
    let room = span.block_size();
    size <= room && (size > room / 2 || room <= 64)
}
