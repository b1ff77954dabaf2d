//! Frees: by the thread that owns the span, by any other, and by nobody's
//! right.
//!
//! The current scope does not matter: a block goes back to its span, and with
//! it to its owner.

use core::ptr::NonNull;

use super::address;
use super::cache::Cache;
use super::free_block::{FreeBlock, FreeList};
use super::paths::{self, Path};
use super::remote::RemoteState;
use super::span::{Span, State};
use super::{large, thread, visit};
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// Frees that were refused, because the block was free already or no block.
/// A statistic: orders nothing.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// How many frees were refused so far.
pub fn refused_frees() -> usize {
    REFUSED.load(Relaxed)
}

/// Counts a free that was refused.
#[cold]
pub fn refuse() {
    REFUSED.fetch_add(1, Relaxed);
}

/// Frees the block at `memory`, whose slice's header is `header`.
///
/// The fast path: the header's thread is this one, and nobody waits for this
/// very free. The block is written and not read: it may have left the
/// processor's caches, and a store need not wait for it.
///
/// # Safety
///
/// - S1 `memory` is the start of a live block of this heap, in a chunk (not
///   in a mapping aligned beyond a slice), or was one and is free.
/// - S2 the caller gives up its use.
#[inline(always)]
pub unsafe fn free(header: &'static Span, memory: NonNull<u8>) {
    if header.thread.load(Relaxed) != thread::token() {
        // SAFETY: S1 and S2 are handed on.
        return unsafe { free_elsewhere(header, memory) };
    }
    // SAFETY: S1, S2; only a span's first header has a thread, this one (S3).
    unsafe { free_own(header, memory) };
}

/// Frees a block of a span of this thread.
///
/// # Safety
///
/// - S1, S2 as for [`free`]; `span` is the block's and this thread's.
#[inline(always)]
unsafe fn free_own(span: &'static Span, memory: NonNull<u8>) {
    // SAFETY: S1: a block of this heap lies there.
    let memory = unsafe { address::block_at(memory.addr().get()) };
    // SAFETY: S2; the pointer has the chunk's provenance.
    span.local.set(unsafe { FreeBlock::new(memory, span.local.get()) }.into());
    let wait = span.wait.load(Relaxed).wrapping_sub(1);
    span.wait.store(wait, Relaxed);
    if wait == 0 {
        noticed(span);
    }
}

/// Enough local frees have come for the span to be looked at.
#[cold]
#[inline(never)]
pub fn noticed(span: &'static Span) {
    let Some(cache) = span.cache() else { return };
    let local = span.local_count();
    match span.state() {
        State::Waiting => {
            cache.dequeue(span);
            if span.carved() == span.own_free() {
                cache.rest(span);
            } else {
                cache.enlist(span);
            }
        }
        State::Available => {
            cache.dequeue(span);
            cache.rest(span);
        }
        _ if cache.is_tight() && cache.is_empty(span) => cache.end_current(span),
        _ => cache.watch(span, local),
    }
}

/// Frees a block whose slice's header does not name this thread.
///
/// # Safety
///
/// - S1, S2 as for [`free`].
#[cold]
#[inline(never)]
pub unsafe fn free_elsewhere(header: &'static Span, memory: NonNull<u8>) {
    // S3: the first header of another thread's span, or of one just left.
    // SAFETY: S1 and S2 are handed on.
    if header.thread.load(Relaxed) != 0 && unsafe { push_owned(header, memory) } {
        return;
    }
    // SAFETY: S1 and S2 are handed on.
    unsafe { free_unowned(header, memory) };
}

/// Pushes a block to the remote list of a span that a thread owns; false where
/// none does any more, or the list is full.
///
/// # Safety
///
/// - S1, S2 as for [`free`]; `span` is the block's. Where this is false, the
///   block is still the caller's to free.
#[inline]
unsafe fn push_owned(span: &'static Span, memory: NonNull<u8>) -> bool {
    // SAFETY: S1 and S2.
    let block = unsafe { remote_block(memory) };
    let mut cache = None;
    let after = span.remote.push(block.addr() - span.start(), |state| {
        cache = to_be_told(span, state);
        link(span, block, state);
        !state.is_abandoned()
    });
    if after.is_none() {
        return false;
    }
    cache.inspect(|cache| cache.set_freed_into(true));
    true
}

/// The cache to be told when a block was pushed on top of `state`: of later
/// frees it learns with the first. Asked for before the push, because after it
/// the span may be gone; a cache never is.
#[inline]
fn to_be_told(span: &Span, state: RemoteState) -> Option<&'static Cache> {
    if state.count() == 0 { span.cache() } else { None }
}

/// Makes a free block whose link is set when it is pushed.
///
/// # Safety
///
/// - S1, S2 as for [`free`].
unsafe fn remote_block(memory: NonNull<u8>) -> FreeBlock {
    // SAFETY: S1: a block of this heap lies there.
    let memory = unsafe { address::block_at(memory.addr().get()) };
    // SAFETY: S2.
    unsafe { FreeBlock::new(memory, FreeList::EMPTY) }
}

/// Puts the remote list behind `block`.
fn link(span: &'static Span, block: FreeBlock, state: RemoteState) {
    // SAFETY: the first block of the remote list: it was freed there.
    let first = state.first().map(|first| unsafe { FreeBlock::listed(span.block(first)) });
    block.set_next(first.map_or(FreeList::EMPTY, FreeList::from));
}

/// Frees a block of a span that no thread owns, in an inner slice, large, or
/// no block at all.
///
/// # Safety
///
/// - S1, S2 as for [`free`].
#[inline(never)]
unsafe fn free_unowned(header: &'static Span, memory: NonNull<u8>) {
    let span = match header.back() {
        0 => header,
        back => {
            let first = memory.addr().get() - (back << super::geometry::SLICE_SHIFT);
            // SAFETY: S6: the span's first slice, in the same chunk.
            unsafe { address::header_of(first) }
        }
    };
    match span.state() {
        State::Free => refuse(),
        // SAFETY: S1 and S2 are handed on.
        State::Large | State::Huge | State::Spare => unsafe { large::free(span, memory) },
        // SAFETY: S1 and S2 are handed on.
        _ if span.thread.load(Relaxed) == thread::token() => unsafe { free_own(span, memory) },
        // SAFETY: S1 and S2 are handed on.
        _ => unsafe { push_any(span, memory) },
    }
}

/// Pushes a block to its span's remote list, and ends the span where no thread
/// owns it and this was its last block.
///
/// # Safety
///
/// - S1, S2 as for [`free`]; `span` is the block's.
unsafe fn push_any(span: &'static Span, memory: NonNull<u8>) {
    let mut pin = None;
    let mut cache = None;
    // SAFETY: S1 and S2.
    let block = unsafe { remote_block(memory) };
    let after = span.remote.push(block.addr() - span.start(), |state| {
        cache = to_be_told(span, state);
        // When the last block comes back to an abandoned span, this thread
        // ends it; until then nobody may release its chunk. (Where the span was
        // owned and left again between the look and the exchange, this may be
        // wrong: an empty span then waits for who allocates next.)
        let is_last = || span.own_free() + state.count() + 1 >= span.carved();
        if state.is_abandoned() && pin.is_none() && is_last() {
            pin = Some(visit::pin_anything());
        }
        link(span, block, state);
        true
    });
    match after {
        // Without a pin the span is not looked at again: it may be gone.
        Some(after) if after.is_abandoned() && pin.is_some() => end_if_empty(span),
        Some(_) => {
            cache.inspect(|cache| cache.set_freed_into(true));
        }
        None => refuse(),
    }
}

/// Ends a span that no thread owns, if no block of it is in use.
#[cold]
fn end_if_empty(span: &'static Span) {
    while let Some(heap) = span.heap() {
        let done = heap.with(|lists| {
            if !span.heap().is_some_and(|now| core::ptr::eq(now, heap)) {
                return false;
            }
            if span.state() == State::Abandoned && span.outstanding() == 0 {
                paths::entered(Path::AbandonedSpanEnded);
                heap.remove_abandoned(lists, span);
                if !heap.end_span(lists, span) {
                    heap.add_abandoned(lists, span);
                }
            }
            true
        });
        if done {
            return;
        }
    }
}
