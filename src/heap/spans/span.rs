//! Spans: runs of slices with one owner and one size class, or one large block.
//!
//! The header below is the tag of all blocks of its span. It has two cache lines: one that
//! the span's thread writes, and one that others write.
//!
//! ```text
//!  blocks of a span:  carved ------------------------------------> | uncarved
//!  [ in use | in use | on the local list | in the bin | on the remote list ]
//! ```
//!
//! Invariants (walked by `check` under these numbers)
//!
//! - SPAN1 `carved == used + |local| + |leftover| + |remote| + |bin|`, where `used` are the
//!   blocks in programs' hands and `|bin|` is 0 unless the span is current.
//! - SPAN2 `|local| == base - wait`; the list has no other count.
//! - SPAN3 `thread` is the owner thread's token iff the span is in a queue of one of
//!   that thread's caches, with the lowest bit set iff the span is tagged; 0 in the
//!   headers of abandoned spans, of large blocks, of free slices and of a span's inner
//!   slices.
//! - SPAN4 `charged` is the carved bytes rounded up to a page (for a large block its bytes,
//!   rounded up), and its owner's account was charged as much.
//! - SPAN5 a span is on the list of exactly one heap, the one in `heap`.
//! - SPAN6 while its span is in use, an inner slice's `back` is its distance from
//!   the span's first slice.
//! - SPAN7 while free blocks move from one list of a span to another, or to its cache's
//!   bin, `version` is odd; so counts that are read between two equal even versions have
//!   each block in exactly one place.

mod blocks;
mod life;

use core::cell::Cell;
use core::ptr::{self, NonNull};

use super::free_block::FreeList;
use super::remote::Remote;
use super::tags::{self, TagWord};
use crate::heap::base::geometry::{HEADER, PAGE, SLICE, SLICES};
use crate::heap::base::list::{Chained, Links, List};
use crate::heap::base::size_class;
use crate::heap::pages::address::{self, prefetch};
use crate::heap::pages::chunk::Chunk;
use crate::sync::Ordering::{self, Acquire, Relaxed, Release};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize};

/// The state of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SpanState {
    /// No span: the header of a free slice, or of an inner one.
    Free = 0,
    /// The span that its cache's bin is filled from.
    Current = 1,
    /// On its cache's waiting list: too few free blocks to be worth a visit.
    Waiting = 2,
    /// On its cache's available list: has free or uncarved blocks.
    Available = 3,
    /// On its heap's list of spans that no thread owns.
    Abandoned = 4,
    /// One block, in a run of slices of a chunk.
    Large = 5,
    /// One block, in a mapping of its own.
    Huge = 6,
    /// On its cache's idle list: no block is in use.
    Idle = 7,
    /// A run of slices for one block, which was freed: on its cache's list of
    /// spares, or about to end.
    Spare = 8,
}

impl SpanState {
    const ALL: [Self; 9] = [
        Self::Free,
        Self::Current,
        Self::Waiting,
        Self::Available,
        Self::Abandoned,
        Self::Large,
        Self::Huge,
        Self::Idle,
        Self::Spare,
    ];
}

/// A `wait` that never reaches 0.
pub const NEVER: u32 = 1 << 30;

/// A heap, as a header names it: an address. Only the room `owners` knows its type.
pub struct HeapRecord(());

/// A cache, as a header names it: an address. Only the room `caches` knows its type.
pub struct CacheRecord(());

/// The bit of a span's thread word that marks a tagged span (SPAN3).
pub const TAGGED: usize = 1;

/// A span's header. Fields in `Cell`s belong to the thread in `thread`, or, if their
/// comment says so, to the holder of the heap's lock. Atomics are also read by others. Each
/// stands for itself and publishes nothing (`Relaxed`).
#[repr(C, align(128))]
pub struct Span {
    /// The token of the thread that owns the span (SPAN3).
    thread: AtomicUsize,
    /// Blocks that this thread freed.
    local: Cell<FreeList>,
    /// How many more local frees until the span is looked at.
    wait: AtomicU32,
    /// See SPAN2.
    base: AtomicU32,
    /// The heap that owns the blocks: the tag.
    heap: AtomicPtr<HeapRecord>,
    /// The cache that the span is in, or was in before.
    cache: AtomicPtr<CacheRecord>,
    block_size: AtomicUsize,
    /// The address of the first block.
    start: AtomicUsize,
    /// How many blocks were carved so far.
    carved: AtomicU16,
    leftover_count: AtomicU16,
    /// Whether the slices read as zero when the span began.
    fresh: Cell<bool>,
    class: AtomicU8,
    state: AtomicU8,
    /// Whether the blocks have tags (see `tags`).
    is_tagged: AtomicBool,

    /// Blocks that other threads freed.
    pub remote: Remote,
    slices: Cell<u16>,
    back: AtomicU16,
    /// The links on a list of the cache, or on the heap's abandoned list.
    in_queue: Links<Span>,
    /// The links on the heap's list of all its spans, used under the heap's lock.
    in_heap: Links<Span>,
    charged: AtomicUsize,
    /// The tag of a raw block with a span of its own; all other spans have none here.
    mark: TagWord,
    /// See SPAN7.
    version: AtomicU32,
    /// Blocks that a bin still held when it was emptied while `local` was not empty. They
    /// are kept apart, because joining two lists would walk one of them.
    leftover: Cell<FreeList>,
}

const _: () = assert!(size_of::<Span>() == HEADER);
const _: () = assert!(core::mem::offset_of!(Span, remote) == 64 || usize::BITS < 64);

// SAFETY: the Cells are used by one thread at a time, see the struct.
unsafe impl Sync for Span {}
// SAFETY: as above; a header is not bound to the thread that made it.
unsafe impl Send for Span {}

/// The kind of the lists of a cache's spans, and of a heap's abandoned ones.
pub struct InQueue;

/// The kind of the lists of all spans of a heap.
pub struct InHeap;

/// A list of spans of one cache, or of one heap's abandoned ones.
pub type SpanList = List<Span, InQueue>;

impl Chained<InQueue> for Span {
    fn links(&self) -> &Links<Self> {
        &self.in_queue
    }
}

impl Chained<InHeap> for Span {
    fn links(&self) -> &Links<Self> {
        &self.in_heap
    }
}

/// The header of the slice that holds `address`.
///
/// # Safety
///
/// - S1 `address` lies in a chunk that stays mapped while the header is used,
///   in a slice other than the first.
#[inline(always)]
pub unsafe fn header_of(address: usize) -> &'static Span {
    let header = ptr::with_exposed_provenance::<Span>(address::header_place(address));
    // SAFETY: S1: slice 0 of a mapped chunk holds initialised headers (zero is
    // one), all of whose fields may change behind a shared reference.
    unsafe { &*header }
}

/// The header of slice `slice` of a chunk that is mapped.
pub fn header_in(chunk: &Chunk, slice: usize) -> &'static Span {
    debug_assert!(slice > 0 && slice < SLICES);
    // SAFETY: S1: a record in use has its chunk mapped.
    unsafe { header_of(chunk.base() + slice * SLICE) }
}

/// The span of a block that is aligned at most to a slice.
///
/// # Safety
///
/// - S1 `memory` is the start of a block of a mapped chunk, aligned at most to a slice.
pub unsafe fn span_of(memory: NonNull<u8>) -> &'static Span {
    let address = memory.addr().get();
    // SAFETY: S1: it does not begin in slice 0.
    let header = unsafe { header_of(address) };
    if header.back() == 0 || header.is_large() {
        return header;
    }
    // SAFETY: SPAN6: its first slice, in the same chunk.
    unsafe { header_of(address - header.back() * SLICE) }
}

impl Span {
    /// Notes that the blocks of the span, which has just begun, have tags.
    pub fn set_tagged(&self) {
        self.is_tagged.store(true, Relaxed);
    }

    /// The distance of this slice from the first slice of its span (SPAN6).
    #[inline(always)]
    pub fn back(&self) -> usize {
        usize::from(self.back.load(Relaxed))
    }

    /// Makes this the header of an inner slice.
    pub fn set_back(&self, back: u16) {
        self.back.store(back, Relaxed);
    }

    /// The token of the thread that owns the span, with the mark of a tagged span (SPAN3).
    #[inline(always)]
    pub fn thread(&self) -> usize {
        self.thread.load(Relaxed)
    }

    /// Gives the span to a thread, or to none (SPAN3).
    pub fn set_thread(&self, word: usize) {
        self.thread.store(word, Relaxed);
    }

    /// The heap that owns the span's blocks; null if it is no span.
    pub fn heap_record(&self, order: Ordering) -> *mut HeapRecord {
        self.heap.load(order)
    }

    /// Names the heap. Release: the header (the Acquire in look-ups of addresses).
    pub fn set_heap_record(&self, heap: *mut HeapRecord) {
        self.heap.store(heap, Release);
    }

    /// The cache that the span is in; null for none.
    pub fn cache_record(&self) -> *mut CacheRecord {
        self.cache.load(Relaxed)
    }

    /// Names the cache that the span is in, or none.
    pub fn set_cache_record(&self, cache: *mut CacheRecord) {
        self.cache.store(cache, Relaxed);
    }

    /// The span behind this one on a list.
    pub fn next(&self) -> Option<&'static Self> {
        self.in_queue.next()
    }

    /// The span before this one on its heap's list.
    #[cfg(feature = "testing")]
    pub fn before_in_heap(&self) -> Option<&'static Self> {
        self.in_heap.prev()
    }

    /// The span behind this one on its heap's list.
    pub fn next_in_heap(&self) -> Option<&'static Self> {
        self.in_heap.next()
    }

    /// The span before this one on a list.
    #[cfg(feature = "testing")]
    pub fn prev(&self) -> Option<&'static Self> {
        self.in_queue.prev()
    }

    pub fn state(&self) -> SpanState {
        SpanState::ALL[usize::from(self.state.load(Relaxed))]
    }

    pub fn set_state(&self, state: SpanState) {
        self.state.store(state as u8, Relaxed);
    }

    pub fn class(&self) -> usize {
        usize::from(self.class.load(Relaxed))
    }

    /// The size of a block in bytes; of a large block, its usable bytes.
    #[inline]
    pub fn block_size(&self) -> usize {
        self.block_size.load(Relaxed)
    }

    pub fn set_block_size(&self, bytes: usize) {
        self.block_size.store(bytes, Relaxed);
    }

    pub fn slices(&self) -> usize {
        usize::from(self.slices.get())
    }

    pub fn set_slices(&self, slices: usize) {
        self.slices.set(slices as u16);
    }

    /// The address of the first block.
    #[inline]
    pub fn start(&self) -> usize {
        self.start.load(Relaxed)
    }

    /// Moves the one block of a huge span.
    pub fn set_start(&self, address: usize) {
        self.start.store(address, Relaxed);
    }

    pub fn charged(&self) -> usize {
        self.charged.load(Relaxed)
    }

    pub fn set_charged(&self, bytes: usize) {
        self.charged.store(bytes, Relaxed);
    }

    pub fn is_fresh(&self) -> bool {
        self.fresh.get()
    }

    /// Notes that any part of the slices may have been written.
    pub fn set_used(&self) {
        self.fresh.set(false);
    }

    /// Whether the blocks have tags.
    #[inline]
    pub fn is_tagged(&self) -> bool {
        self.is_tagged.load(Relaxed)
    }

    /// The place of the tag of a raw block with this span to itself.
    pub fn mark(&self) -> &TagWord {
        &self.mark
    }

    /// The places of the tags of all carved blocks, of a tagged span.
    pub fn tag_words(&self) -> impl Iterator<Item = &'static TagWord> + use<> {
        let start = self.start();
        // SAFETY: a tagged span lies in a chunk with tables, which is mapped while the
        // span is in use.
        (0..self.carved() as usize).map(move |index| unsafe { tags::word_at(start, index) })
    }

    /// The place of the tag of the block at `address`, of a tagged span.
    #[inline(always)]
    pub fn tag_word(&self, address: usize) -> &'static TagWord {
        // SAFETY: as above; the block is one of this span.
        unsafe { tags::word_of(self.start(), address, self.class()) }
    }

    /// Whether the span has a single block.
    pub fn is_large(&self) -> bool {
        matches!(self.state(), SpanState::Large | SpanState::Huge | SpanState::Spare)
    }

    /// Whether the span is a large block's in a chunk with others.
    pub fn is_in_chunk(&self) -> bool {
        self.state() == SpanState::Large
    }

    /// Makes the span of a large block that is freed a spare one. If several threads free
    /// the block, one succeeds.
    pub fn claim(&self) -> bool {
        let (live, freed) = (SpanState::Large as u8, SpanState::Spare as u8);
        // Relaxed: this only decides which thread frees; no thread reads the block's
        // content.
        self.state.compare_exchange(live, freed, Relaxed, Relaxed).is_ok()
    }

    pub fn carved(&self) -> u32 {
        u32::from(self.carved.load(Relaxed))
    }

    pub fn set_carved(&self, blocks: u32) {
        // Release: the blocks' guards (the Acquire in look-ups of addresses).
        self.carved.store(blocks as u16, Release);
    }

    /// How many blocks the span can have in all.
    pub fn capacity(&self) -> u32 {
        size_class::capacity(self.class())
    }

    /// Prefetches the header behind this one on its heap's list.
    pub fn prefetch_next(&self) {
        if let Some(next) = self.in_heap.next() {
            prefetch(core::ptr::from_ref(next).cast());
            prefetch((&raw const next.remote).cast());
        }
    }

    /// The start of the carved block that holds `address`, if there is one.
    pub fn block_start(&self, address: usize) -> Option<usize> {
        let size = self.block_size();
        let offset = address.checked_sub(self.start())?;
        if self.is_large() {
            return (offset < size).then(|| self.start());
        }
        let index = offset.checked_div(size)?;
        // Acquire: the blocks' second words (the Release in `set_carved`).
        let carved = usize::from(self.carved.load(Acquire));
        (index < carved).then(|| self.start() + index * size)
    }

    /// A pointer to the block at `offset` from the first one.
    pub fn block(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset < self.slices() * SLICE);
        // SAFETY: inside this span, which is inside a mapped chunk.
        unsafe { address::block_at(self.start() + offset) }
    }

    /// The bytes that are charged for `blocks` carved blocks (SPAN4).
    pub fn charge_of(&self, blocks: u32) -> usize {
        (blocks as usize * self.block_size()).next_multiple_of(PAGE).min(self.slices() * SLICE)
    }

    /// The address of the header, for comparisons.
    #[cfg(feature = "testing")]
    pub fn id(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }
}
