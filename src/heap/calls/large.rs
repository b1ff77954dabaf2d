//! Large blocks: each has a span of its own, in a run of slices of a chunk or,
//! beyond a chunk, in a mapping of its own (*huge*).
//!
//! No thread owns large blocks: they are allocated and freed under their heap's lock, which
//! is taken once for 64 KiB or more. But a thread that frees a block that it has allocated
//! may keep the span for the next block of as many slices (see `idle`).

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use crate::error::Error;
use crate::heap::base::geometry::{BLOCK_SLICES, CHUNK, FIRST_SLICE, PAGE, SLICE, SLICES};
use crate::heap::base::paths::{self, Path};
use crate::heap::base::refused;
use crate::heap::caches::cache::Cache;
use crate::heap::caches::idle;
use crate::heap::lives::arrival;
use crate::heap::owners::begin_end;
use crate::heap::owners::heap::Heap;
use crate::heap::pages::address;
use crate::heap::pages::chunk::Chunk;
use crate::heap::pages::chunk_map;
use crate::heap::pages::huge;
use crate::heap::pages::runs;
use crate::heap::pages::runs::Run;
use crate::heap::spans::span;
use crate::heap::spans::span::{Span, SpanState};
use crate::heap::threads::relief;
use crate::heap::threads::thread;
use crate::key::ExpertKey;

/// The most bytes of a block that lies in a chunk with others.
const IN_CHUNK_MAX: usize = CHUNK / 2;

/// The largest alignment of such a block, in slices; an empty chunk has a place for the
/// largest block with it.
const IN_CHUNK_ALIGN: usize = SLICES / 4;

const _: () = {
    let first = FIRST_SLICE.next_multiple_of(IN_CHUNK_ALIGN);
    assert!(first + IN_CHUNK_MAX / SLICE <= FIRST_SLICE + BLOCK_SLICES);
};

/// The purpose of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Itself.
    New,
    /// A block that grows, and is likely to grow again.
    Growth,
    /// A block that has room where it is and may stay there, so nothing is overdrawn for
    /// it, and no refusal is counted.
    Fit,
}

impl Purpose {
    /// Whether the quota has room for `bytes` more, or grants them all the same.
    fn admit(self, heap: &Heap, bytes: usize) -> Result<(), Error> {
        if self != Self::Fit {
            return heap.payer().admit(bytes);
        }
        if heap.account().has_room(bytes) { Ok(()) } else { Err(Error::QuotaExceeded) }
    }

    /// Charges the owner for a span.
    fn charge(self, heap: &Heap, span: &Span, bytes: usize) -> Result<(), Error> {
        match heap.charge(span, bytes) {
            Err(_) if self != Self::Fit => heap.charge_beyond(span, bytes),
            done => done,
        }
    }
}

/// Allocates a block for `layout` that no size class fits.
///
/// # Errors
///
/// [`Error::OutOfMemory`], [`Error::QuotaExceeded`]; [`Error::InvalidKey`] if the heap is
/// not that of `key` any more.
#[cold]
#[inline(never)]
pub fn allocate(
    heap: &'static Heap,
    key: ExpertKey,
    layout: Layout,
    zeroed: bool,
    purpose: Purpose,
) -> Result<NonNull<u8>, Error> {
    let bytes = layout.size().checked_next_multiple_of(PAGE).ok_or(Error::OutOfMemory)?;
    let slice_align = layout.align().div_ceil(SLICE);
    if bytes <= IN_CHUNK_MAX && slice_align <= IN_CHUNK_ALIGN {
        return allocate_in_chunk(heap, key, bytes, slice_align, zeroed, purpose);
    }
    make_room(heap, bytes);
    // The quota is asked before anything is mapped, because tables for a huge block can be
    // large.
    heap.if_of(key, |_| purpose.admit(heap, bytes)).ok_or(Error::InvalidKey)??;
    paths::entered(Path::Huge);
    let take = || huge::take(bytes, layout.align(), zeroed, purpose == Purpose::Growth);
    let huge = take().or_else(|| give_up_idle().then(take)?).ok_or(Error::OutOfMemory)?;
    huge.chunk.set_start(1, true);
    let run = Run { chunk: huge.chunk, first: 1, slices: 0, fresh: huge.is_zero };
    begin(heap, key, &run, SpanState::Huge, huge.start, bytes, purpose)?;
    Ok(hand_out(span::header_in(run.chunk, run.first), zeroed && !huge.is_zero))
}

/// Allocates a block of `bytes`, whole pages, in a chunk with others.
fn allocate_in_chunk(
    heap: &'static Heap,
    key: ExpertKey,
    bytes: usize,
    slice_align: usize,
    zeroed: bool,
    purpose: Purpose,
) -> Result<NonNull<u8>, Error> {
    let slices = bytes.div_ceil(SLICE).max(1);
    let cache = cache_for(heap);
    if let Some(span) = cache.and_then(|cache| cache.take_spare(bytes, slice_align)) {
        return Ok(hand_out(span, zeroed));
    }
    cache.map(Cache::give_spares);
    make_room(heap, bytes);
    let take = || runs::take(slices, slice_align);
    let mut run = take().or_else(|| give_up_idle().then(take)?).ok_or(Error::OutOfMemory)?;
    // Kept spans may do, so they are tried before fresh memory.
    if let Some(cache) = cache.filter(|cache| run.fresh && cache.idle_slices() >= slices) {
        run.give_back();
        cache.give_idle(slices);
        run = take().ok_or(Error::OutOfMemory)?;
    }
    begin(heap, key, &run, SpanState::Large, run.start(), bytes, purpose)?;
    span::header_in(run.chunk, run.first).set_cache(cache);
    Ok(hand_out(span::header_in(run.chunk, run.first), zeroed && !run.fresh))
}

/// This thread's cache for `heap`, if there is one; an owner may have spans to itself
/// without a cache.
fn cache_for(heap: &'static Heap) -> Option<&'static Cache> {
    let cache = match heap.number() {
        Some(number) => thread::known()?.cache_of(number),
        None => arrival::host_cache(),
    };
    cache.filter(|cache| ptr::eq(cache.heap(), heap))
}

/// If the quota has no room for `bytes` more, gives back memory of the heap's owner that
/// this thread holds without using it.
fn make_room(heap: &Heap, bytes: usize) {
    if !heap.account().has_room(bytes) {
        relief::relieve(heap.account());
    }
}

/// Begins the span and charges its owner; if that fails, gives all back.
fn begin(
    heap: &'static Heap,
    key: ExpertKey,
    run: &Run,
    state: SpanState,
    start: usize,
    bytes: usize,
    purpose: Purpose,
) -> Result<(), Error> {
    let span = span::header_in(run.chunk, run.first);
    span.begin(0, state, bytes, start, run.slices as u32, run.fresh);
    span.set_heap(heap);
    let begun = heap.if_of(key, |lists| {
        lists.add_span(span);
        let charged = purpose.charge(heap, span, bytes);
        match charged {
            Ok(()) => lists.count_allocations(1),
            Err(_) => {
                // Only its first page was touched.
                span.set_block_size(PAGE);
                heap.end_span(lists, span);
            }
        }
        charged
    });
    begun.unwrap_or_else(|| {
        paths::entered(Path::HeapMoved);
        span.set_block_size(PAGE);
        begin_end::release_slices(span);
        Err(Error::InvalidKey)
    })
}

/// Ends all spans that this thread keeps idle. Returns whether there was one.
fn give_up_idle() -> bool {
    thread::known().is_some_and(|thread| idle::give_up_all(thread.home()))
}

fn block_of(span: &Span) -> NonNull<u8> {
    // SAFETY: the start of a block in its mapped chunk.
    unsafe { address::block_at(span.start()) }
}

fn hand_out(span: &'static Span, fill: bool) -> NonNull<u8> {
    let memory = block_of(span);
    if fill {
        // SAFETY: the block's bytes, which no other code uses yet.
        unsafe { memory.write_bytes(0, span.block_size()) };
    }
    memory
}

/// The span of the huge block at `address`, which may be aligned beyond a slice, so its
/// header cannot be found by arithmetic. `None` if there is none.
pub fn find_aligned(address: usize) -> Option<&'static Span> {
    let chunk = chunk_map::find(address)?;
    let slice = if chunk.is_huge() { 1 } else { address::slice_of(address) };
    (slice > 0).then(|| span::header_in(chunk, slice))
}

/// Frees a large block; refuses if it is none any more.
///
/// # Safety
///
/// - S1, S2 as for `free::free`; `span` is the block's.
pub unsafe fn free(span: &'static Span, memory: NonNull<u8>) {
    if Cache::keep_spare(span, memory) {
        return;
    }
    // SAFETY: S1 and S2 are handed on.
    unsafe { end(span, memory) };
}

/// As [`free`], but gives the slices back at once, because the next block that grows may
/// need them.
///
/// # Safety
///
/// - S1, S2 as for [`free`].
pub unsafe fn end(span: &'static Span, memory: NonNull<u8>) {
    let freed = span.with_heap(|heap, lists| {
        let is_live = span.start() == memory.addr().get()
            && (span.state() == SpanState::Huge || span.claim());
        if is_live {
            heap.end_span(lists, span);
        }
        is_live
    });
    if freed != Some(true) {
        refused::refuse();
    }
}

/// Makes a large block `bytes` long in place, if it shrinks or the room behind it is free.
/// The new part of a grown block is zeroed if `zeroed`.
///
/// # Errors
///
/// `None` if it must move; an [`Error`] if its owner's quota refuses.
///
/// # Safety
///
/// - S1 `span` is that of a live large block, used by the caller.
pub unsafe fn resize(span: &'static Span, bytes: usize, zeroed: bool) -> Option<Result<(), Error>> {
    let bytes = bytes.checked_next_multiple_of(PAGE)?;
    let before = span.block_size();
    if bytes == before {
        return Some(Ok(()));
    }
    if bytes == 0 || (span.state() == SpanState::Huge) != (bytes > IN_CHUNK_MAX) {
        return None;
    }
    let chunk = chunk_map::find(span.start())?;
    if bytes < before {
        cut(chunk, span, bytes)?;
        return Some(Ok(()));
    }
    let more = bytes - before;
    span.heap().inspect(|heap| make_room(heap, more));
    if span.state() == SpanState::Huge {
        // The charge comes before anything is mapped. The block's current heap is asked,
        // not the one before an adoption by the host.
        if let Err(error) = span.with_heap(|heap, _| heap.payer().admit(more))? {
            return Some(Err(error));
        }
    }
    // The bytes behind the old end are new, and read as zero.
    let used = chunk.base() + chunk.bytes();
    if !widen(chunk, span, bytes) {
        return None;
    }
    let charged = span
        .with_heap(|heap, _| heap.charge(span, more).or_else(|_| heap.charge_beyond(span, more)))?;
    if charged.is_err() {
        narrow(chunk, span, before);
        return Some(charged);
    }
    paths::entered(Path::GrewInPlace);
    span.set_block_size(bytes);
    if zeroed {
        // SAFETY: inside the block, as it is now.
        let tail = unsafe { address::block_at(span.start() + before) };
        let dirty = (used - span.start() - before).min(more);
        // SAFETY: S1: the new part of the block, which no other code uses yet.
        unsafe { tail.write_bytes(0, dirty) };
    }
    Some(Ok(()))
}

/// Cuts a large block where it stands to `size` bytes, rounded up to pages, and gives back
/// the rest, even if the block becomes small.
///
/// # Safety
///
/// - S1 `span` is that of a live large block, used by the caller.
pub unsafe fn shrink(span: &'static Span, size: usize) {
    let bytes = size.max(1).next_multiple_of(PAGE);
    if bytes < span.block_size() {
        chunk_map::find(span.start()).and_then(|chunk| cut(chunk, span, bytes));
    }
}

/// Whether a block of this many bytes has a mapping to itself, whatever its alignment.
pub fn is_huge(size: usize) -> bool {
    size > IN_CHUNK_MAX
}

/// Moves a huge block that is aligned beyond a slice to the start of its mapping, where its
/// header can be found from its address. The first `kept` of its bytes move, and it becomes
/// `size` bytes long. It needs nothing from the quota or the system. `None` if it is no
/// huge block.
///
/// # Safety
///
/// - S1 `span` is that of a live huge block, used by the caller; `kept <= size`, and
///   the block has room for both.
pub unsafe fn slide(span: &'static Span, kept: usize, size: usize) -> Option<NonNull<u8>> {
    let chunk = chunk_map::find(span.start())?;
    // SAFETY: the second slice of a mapped chunk.
    let start = unsafe { address::block_at(chunk.base() + SLICE) };
    // SAFETY: S1: both ranges are in the mapping, this one in front, and the caller's.
    unsafe { start.copy_from(block_of(span), kept) };
    span.set_start(start.addr().get());
    let bytes = size.max(1).next_multiple_of(PAGE);
    if bytes < span.block_size() {
        cut(chunk, span, bytes)?;
    } else {
        narrow(chunk, span, bytes);
    }
    Some(start)
}

/// Makes a large block `bytes` long, which is shorter than it is. `None` if its owner has
/// ended meanwhile.
fn cut(chunk: &'static Chunk, span: &'static Span, bytes: usize) -> Option<()> {
    paths::entered(Path::ShrankInPlace);
    span.with_heap(|heap, _| heap.refund(span, bytes))?;
    span.set_block_size(bytes);
    narrow(chunk, span, bytes);
    Some(())
}

/// Ends the spare spans of the cache that `span` was allocated from, if that is this
/// thread's. Returns whether there was one.
pub fn give_spares(span: &Span) -> bool {
    let own = span.cache().filter(|cache| cache.is_mine());
    own.is_some_and(Cache::give_spares)
}

/// Gives a span the slices behind it that a block of `bytes` needs. Returns false, with
/// nothing changed, if they are not free, or if its mapping ends before.
fn widen(chunk: &'static Chunk, span: &Span, bytes: usize) -> bool {
    if span.state() == SpanState::Huge {
        let has_room = bytes <= chunk.base() + chunk.bytes() - span.start();
        return has_room
            || span.start().checked_add(bytes).is_some_and(|end| huge::extend(chunk, end));
    }
    let (first, slices, wanted) =
        (address::slice_of(span.start()), span.slices(), bytes.div_ceil(SLICE));
    if wanted > slices {
        let extend = || runs::extend(chunk, first, slices, wanted);
        // A kept span may lie behind the block.
        if extend().or_else(|| give_spares(span).then(extend)?).is_none() {
            return false;
        }
        span.set_slices(wanted);
    }
    true
}

/// Gives back the memory behind the `bytes` of a block: slices, or the physical pages of a
/// mapping of its own.
fn narrow(chunk: &'static Chunk, span: &Span, bytes: usize) {
    let (slices, wanted) = (span.slices(), bytes.div_ceil(SLICE));
    if span.state() == SpanState::Huge {
        let end = span.start() + wanted * SLICE;
        if end < chunk.base() + chunk.bytes() {
            chunk.purge_behind(end);
        }
    } else if wanted < slices {
        span.set_slices(wanted);
        runs::give_tail(chunk, address::slice_of(span.start()), wanted, slices);
    }
}
