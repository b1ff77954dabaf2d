//! Large blocks: each has a span of its own, in a run of slices of a chunk or,
//! beyond a chunk, in a mapping of its own (*huge*).
//!
//! No thread owns them: they are allocated and freed under their heap's lock,
//! a lock taken once for 64 KiB or more.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::arena::{self, Run};
use super::free_block;
use super::geometry::{CHUNK, PAGE, SLICE, SLICES};
use super::paths::{self, Path};
use super::record::Heap;
use super::span::{Span, State};
use super::{address, chunk_map, pressure};
use crate::error::Error;
use crate::key::ExpertKey;

/// The most bytes a block may have that lies in a chunk with others.
const IN_CHUNK_MAX: usize = CHUNK / 2;

/// Allocates a block for `layout` that no size class fits.
///
/// # Errors
///
/// [`Error::OutOfMemory`], [`Error::QuotaExceeded`]; [`Error::InvalidKey`] where
/// the heap is not that of `key` any more.
#[cold]
#[inline(never)]
pub fn allocate(
    heap: &'static Heap,
    key: ExpertKey,
    layout: Layout,
    zeroed: bool,
) -> Result<NonNull<u8>, Error> {
    let bytes = layout.size().checked_next_multiple_of(PAGE).ok_or(Error::OutOfMemory)?;
    make_room(heap, bytes);
    let slice_align = layout.align().div_ceil(SLICE);
    if bytes <= IN_CHUNK_MAX && slice_align <= SLICES / 2 {
        let run =
            arena::take(bytes.div_ceil(SLICE).max(1), slice_align).ok_or(Error::OutOfMemory)?;
        begin(heap, key, &run, State::Large, run.start(), bytes)?;
        return Ok(hand_out(run.header(), zeroed && !run.fresh));
    }
    paths::entered(Path::Huge);
    let (chunk, start) = arena::take_huge(bytes, layout.align()).ok_or(Error::OutOfMemory)?;
    chunk.set_start(1, true);
    let run = Run { chunk, first: 1, slices: 0, fresh: true };
    begin(heap, key, &run, State::Huge, start, bytes)?;
    Ok(hand_out(run.header(), false))
}

/// Gives back what this thread holds in vain of the heap's owner, where the
/// quota has no room for `bytes` more.
fn make_room(heap: &Heap, bytes: usize) {
    if !heap.account().has_room(bytes) {
        pressure::relieve(heap);
    }
}

/// Begins the span and charges its owner; gives all back where that fails.
fn begin(
    heap: &'static Heap,
    key: ExpertKey,
    run: &Run,
    state: State,
    start: usize,
    bytes: usize,
) -> Result<(), Error> {
    let span = run.header();
    span.begin(0, state, bytes, start, run.slices as u32, run.fresh);
    span.set_heap(heap);
    heap.with(|lists| {
        if !heap.is_of(key) {
            paths::entered(Path::HeapMoved);
            span.set_block_size(0);
            super::record::release_slices(span);
            return Err(Error::InvalidKey);
        }
        lists.add_span(span);
        let charged = heap.charge(span, bytes).or_else(|_| heap.charge_beyond(span, bytes));
        match charged {
            Ok(()) => lists.count_allocations(1),
            Err(_) => {
                // Nothing of it was touched.
                span.set_block_size(0);
                heap.end_span(lists, span);
            }
        }
        charged
    })
}

fn hand_out(span: &'static Span, fill: bool) -> NonNull<u8> {
    let memory = if span.state() == State::Huge {
        // SAFETY: the start of a huge block in its mapped chunk.
        unsafe { address::block_at(span.start()) }
    } else {
        span.block(0)
    };
    // SAFETY: a page or more.
    (unsafe { free_block::second_word(memory) }).store(0, crate::sync::Ordering::Relaxed);
    if fill {
        // SAFETY: the block's bytes, nobody's yet.
        unsafe { free_block::zero(memory, span.block_size()) };
    }
    memory
}

/// The span of the huge block at `address` that may be aligned beyond a slice,
/// where its header cannot be found by arithmetic. `None` if there is none.
pub fn find_aligned(address: usize) -> Option<&'static Span> {
    let chunk = chunk_map::find(address)?;
    let slice = if chunk.is_huge() { 1 } else { address::slice_of(address) };
    (slice > 0).then(|| chunk.header(slice))
}

/// Frees a large block; refuses where it is none any more.
///
/// # Safety
///
/// - S1, S2 as for `local::free`; `span` is the block's.
pub unsafe fn free(span: &'static Span, memory: NonNull<u8>) {
    let Some(heap) = span.heap() else { return super::local::refuse() };
    let freed = heap.with(|lists| {
        let is_live = span.is_large()
            && span.start() == memory.addr().get()
            && span.heap().is_some_and(|now| core::ptr::eq(now, heap));
        if is_live {
            heap.end_span(lists, span);
        }
        is_live
    });
    if freed {
        return;
    }
    if span.is_large() {
        // Adopted by the host meanwhile.
        // SAFETY: S1 and S2 are handed on.
        return unsafe { free(span, memory) };
    }
    super::local::refuse();
}

/// Makes a large block `bytes` long in place, if the room behind it is free or
/// it shrinks. What is new of a grown block is zeroed where `zeroed`.
///
/// # Errors
///
/// `None` where it has to move; an [`Error`] where its owner's quota refuses.
///
/// # Safety
///
/// - S1 `span` is that of a live large block in a chunk, used by the caller.
pub unsafe fn resize(span: &'static Span, bytes: usize, zeroed: bool) -> Option<Result<(), Error>> {
    let bytes = bytes.checked_next_multiple_of(PAGE)?;
    if span.state() != State::Large || bytes > IN_CHUNK_MAX || bytes == 0 {
        return (bytes == span.block_size()).then_some(Ok(()));
    }
    let chunk = chunk_map::find(span.start())?;
    let first = address::slice_of(span.start());
    let (slices, wanted) = (span.slices(), bytes.div_ceil(SLICE));
    let before = span.block_size();
    if bytes > before {
        if wanted > slices && arena::extend(chunk, first, slices, wanted).is_none() {
            return None;
        }
        span.set_slices(wanted.max(slices));
        let more = bytes - before;
        span.heap().inspect(|heap| make_room(heap, more));
        let charged = span.with_heap(|heap, _| {
            heap.charge(span, more).or_else(|_| heap.charge_beyond(span, more))
        })?;
        if charged.is_err() {
            span.set_slices(slices);
            if wanted > slices {
                arena::give_tail(chunk, first, slices, wanted);
            }
            return Some(charged);
        }
        paths::entered(Path::GrewInPlace);
        span.set_block_size(bytes);
        if zeroed {
            let tail = span.block(before);
            // SAFETY: S1: the new part of the block, nobody's yet.
            unsafe { tail.write_bytes(0, bytes - before) };
        }
        return Some(Ok(()));
    }
    paths::entered(Path::ShrankInPlace);
    span.with_heap(|heap, _| heap.refund(span, bytes))?;
    span.set_block_size(bytes);
    if wanted < slices {
        span.set_slices(wanted);
        arena::give_tail(chunk, first, wanted, slices);
    }
    Some(Ok(()))
}
