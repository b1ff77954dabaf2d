//! Spans: runs of slices with one owner and one size class, or one large block.
//!
//! The header below is the tag of all blocks of its span. It has two cache
//! lines: what the span's thread writes, and what others write.
//!
//! ```text
//!  blocks of a span:  carved ------------------------------------> | uncarved
//!  [ in use | in use | on the local list | in the bin | on the remote list ]
//! ```
//!
//! Invariants (walked by `check.rs` under these numbers)
//!
//! - SPAN1 `carved == used + |local| + |leftover| + |remote| + |bin|`, where `used` are the
//!   blocks in programs' hands and `|bin|` is 0 unless the span is current.
//! - SPAN2 `|local| == base - wait`; nothing counts the list itself.
//! - SPAN3 `thread` is the owner thread's token iff the span is in a queue of one of
//!   that thread's caches, with the lowest bit set iff the span is tagged; 0 in the
//!   headers of abandoned spans, of large blocks, of free slices and of a span's inner
//!   slices.
//! - SPAN4 `charged` is the carved bytes rounded up to a page (for a large block
//!   its bytes, rounded up), and is what its owner's account was charged.
//! - SPAN5 a span is on the list of exactly one heap, the one in `heap`.
//! - SPAN6 while its span is in use, an inner slice's `back` is its distance from
//!   the span's first slice.
//! - SPAN7 what moves free blocks from one list of a span to another, or to its cache's
//!   bin, does so while `version` is odd; so who reads the counts between two equal even
//!   versions reads of each block that it is in one place.

use core::cell::Cell;
use core::ptr::{self, NonNull};

use crate::heap::base::geometry::{HEADER, PAGE, SLICE, SLICES};
use crate::heap::base::size_class;
use crate::heap::cache::Cache;
use crate::heap::free_block::{self, FreeBlock, FreeList};
use crate::heap::pages::address::{self, prefetch};
use crate::heap::pages::chunk::Chunk;
use crate::heap::record::{Heap, Lists};
use crate::heap::remote::Remote;
use crate::heap::tags::{self, Tag, TagWord};
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, fence};

/// Where a span stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not a span: the header of a free slice, or an inner one.
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

impl State {
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

/// How often who counts a span's blocks reads them again, while they move. The span's
/// thread moves them within some ten instructions; where it was stopped there, a count
/// may be off by what is on the move.
const READ_TRIES: u32 = 1000;

/// A `wait` that no number of frees brings to 0.
pub const NEVER: u32 = 1 << 30;

/// A span's header. Fields in `Cell`s belong to the thread in `thread`, or,
/// where said so, to the holder of the heap's lock. Atomics are read by others
/// as well: each by itself, nothing is published through them (`Relaxed`).
#[repr(C, align(128))]
pub struct Span {
    /// The token of the thread that owns the span (SPAN3).
    pub thread: AtomicUsize,
    /// What that thread freed.
    pub local: Cell<FreeList>,
    /// How many more local frees until the span is looked at.
    pub wait: AtomicU32,
    /// See SPAN2.
    base: AtomicU32,
    /// The heap that owns the blocks: the tag.
    heap: AtomicPtr<Heap>,
    cache: AtomicPtr<Cache>,
    block_size: AtomicUsize,
    /// The address of the first block.
    start: AtomicUsize,
    /// How many blocks were made so far.
    carved: AtomicU16,
    leftover_count: AtomicU16,
    /// Whether the slices read as zero when the span began.
    fresh: Cell<bool>,
    class: AtomicU8,
    state: AtomicU8,
    /// Whether the blocks have tags (see `tags`).
    is_tagged: AtomicBool,

    /// What other threads freed.
    pub remote: Remote,
    slices: Cell<u16>,
    back: AtomicU16,
    /// Neighbours on a list of the cache, or on the heap's abandoned list.
    pub next: Cell<Option<&'static Span>>,
    pub prev: Cell<Option<&'static Span>>,
    /// Neighbours on the heap's list of all its spans; under its lock.
    pub heap_next: Cell<Option<&'static Span>>,
    pub heap_prev: Cell<Option<&'static Span>>,
    charged: AtomicUsize,
    /// The tag of a raw block with a span of its own; none of any other.
    mark: TagWord,
    /// See SPAN7.
    version: AtomicU32,
    /// What a bin still held when it was emptied and `local` was not empty:
    /// kept apart, because to join two lists one would have to be walked.
    leftover: Cell<FreeList>,
}

const _: () = assert!(size_of::<Span>() == HEADER);
const _: () = assert!(core::mem::offset_of!(Span, remote) == 64 || usize::BITS < 64);

// SAFETY: the Cells are used by one thread at a time, see the struct.
unsafe impl Sync for Span {}
// SAFETY: as above; a header is not bound to the thread that made it.
unsafe impl Send for Span {}

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

impl Span {
    /// Begins a span here. The headers of its inner slices point back to it.
    pub fn begin(
        &self,
        class: u8,
        state: State,
        block_size: usize,
        start: usize,
        slices: u32,
        fresh: bool,
    ) {
        debug_assert_eq!(self.thread.load(Relaxed), 0);
        self.is_tagged.store(false, Relaxed);
        self.local.set(FreeList::EMPTY);
        self.set_leftover(FreeList::EMPTY, 0);
        self.set_wait(0, NEVER);
        self.carved.store(0, Relaxed);
        self.class.store(class, Relaxed);
        self.set_state(state);
        self.block_size.store(block_size, Relaxed);
        self.remote.reset();
        self.slices.set(slices as u16);
        self.charged.store(0, Relaxed);
        self.start.store(start, Relaxed);
        self.fresh.set(fresh);
        self.set_cache(None);
        self.back.store(0, Relaxed);
    }

    /// Notes that the blocks of the span, which has just begun, have tags.
    pub fn set_tagged(&self) {
        self.is_tagged.store(true, Relaxed);
    }

    /// Ends the span: the header is as that of a free slice.
    pub fn end(&self) {
        self.thread.store(0, Relaxed);
        if self.is_tagged() {
            // TAG2: those of a reclaimed owner are still there.
            self.tag_words().for_each(|word| word.store(Tag::NONE));
        }
        self.mark.store(Tag::NONE);
        self.heap.store(core::ptr::null_mut(), Relaxed);
        self.carved.store(0, Relaxed);
        self.charged.store(0, Relaxed);
        self.set_cache(None);
        self.set_state(State::Free);
    }

    /// This slice's distance from the first slice of its span (SPAN6).
    #[inline(always)]
    pub fn back(&self) -> usize {
        usize::from(self.back.load(Relaxed))
    }

    /// Makes this the header of an inner slice.
    pub fn set_back(&self, back: u16) {
        self.back.store(back, Relaxed);
    }

    /// The heap that owns the span's blocks; `None` if it is no span.
    pub fn heap(&self) -> Option<&'static Heap> {
        // SAFETY: heap records are never freed, only recycled.
        unsafe { self.heap.load(Relaxed).as_ref() }
    }

    /// As [`heap`](Self::heap), for one who does not own a block of the span: what
    /// was written before the tag is seen.
    pub fn heap_seen(&self) -> Option<&'static Heap> {
        // Acquire: the header (the Release in `set_heap`).
        // SAFETY: as above.
        unsafe { self.heap.load(Acquire).as_ref() }
    }

    /// Runs `f` with the span's heap and its lists, alone: the span is not
    /// adopted meanwhile. `None` where the span has no heap.
    pub fn with_heap<T>(&self, f: impl Fn(&'static Heap, &Lists) -> T) -> Option<T> {
        loop {
            let heap = self.heap()?;
            let done = heap.with(|lists| {
                let same = self.heap().is_some_and(|now| core::ptr::eq(now, heap));
                same.then(|| f(heap, lists))
            });
            if done.is_some() {
                return done;
            }
        }
    }

    /// Tags the span. Under the heap's lock.
    pub fn set_heap(&self, heap: &'static Heap) {
        // Release: the header, to those who look addresses up.
        self.heap.store(core::ptr::from_ref(heap).cast_mut(), Release);
    }

    /// The cache that the span is in. To others than its thread, one that it was
    /// in lately.
    pub fn cache(&self) -> Option<&'static Cache> {
        // SAFETY: null or a cache, which is never freed.
        unsafe { self.cache.load(Relaxed).as_ref() }
    }

    /// Gives the span to `cache`, or to none.
    pub fn set_cache(&self, cache: Option<&'static Cache>) {
        let cache = cache.map_or(core::ptr::null(), core::ptr::from_ref);
        self.cache.store(cache.cast_mut(), Relaxed);
    }

    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Relaxed))]
    }

    pub fn set_state(&self, state: State) {
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

    /// Whether blocks of many owners lie in the span.
    pub fn is_common(&self) -> bool {
        self.heap().is_some_and(|heap| core::ptr::eq(heap, &raw const crate::heap::record::COMMON))
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

    /// Runs `f`, which moves free blocks from list to list (SPAN7). By the span's thread, or
    /// under its heap's lock where it has none. May be nested.
    #[inline(always)]
    pub fn moving<T>(&self, f: impl FnOnce() -> T) -> T {
        if self.version.load(Relaxed) % 2 != 0 { f() } else { self.moving_alone(f) }
    }

    /// As [`moving`](Self::moving), where nothing else is on the move.
    #[inline(always)]
    pub fn moving_alone<T>(&self, f: impl FnOnce() -> T) -> T {
        let version = self.version.load(Relaxed);
        debug_assert!(version % 2 == 0);
        self.version.store(version.wrapping_add(1), Relaxed);
        // Release: the odd version before what moves (the fence in `used`).
        fence(Release);
        let done = f();
        // Release: what has moved before the even version (the Acquire in `used`).
        self.version.store(version.wrapping_add(2), Release);
        done
    }

    /// How many blocks are in programs' hands, for one who does not own the span; its
    /// cache stays what it is (the heap's lock is held). Exact where nobody allocates or
    /// frees meanwhile; otherwise off by what is allocated and freed.
    pub fn used(&self) -> u32 {
        let mut used = 0;
        for _ in 0..READ_TRIES {
            // Acquire: what has moved (the Release in `moving`).
            let version = self.version.load(Acquire);
            let in_bin = match (self.state(), self.cache()) {
                (State::Current, Some(cache)) => cache.bin_count(self.class()) as u32,
                _ => 0,
            };
            let free = self.own_free().wrapping_add(self.remote.state().count());
            used = self.carved().saturating_sub(free.saturating_add(in_bin));
            fence(Acquire);
            if version % 2 == 0 && self.version.load(Relaxed) == version {
                break;
            }
            core::hint::spin_loop();
        }
        used
    }

    /// Whether the span is for one block.
    pub fn is_large(&self) -> bool {
        matches!(self.state(), State::Large | State::Huge | State::Spare)
    }

    /// Whether the span is a large block's in a chunk with others.
    pub fn is_in_chunk(&self) -> bool {
        self.state() == State::Large
    }

    /// Makes the span of a large block that is freed a spare one. Of several
    /// who free the block, one succeeds.
    pub fn claim(&self) -> bool {
        let (live, freed) = (State::Large as u8, State::Spare as u8);
        // Relaxed: decides who frees; what the block held is nobody's concern.
        self.state.compare_exchange(live, freed, Relaxed, Relaxed).is_ok()
    }

    pub fn carved(&self) -> u32 {
        u32::from(self.carved.load(Relaxed))
    }

    pub fn set_carved(&self, blocks: u32) {
        // Release: the blocks' guards, to those who look addresses up.
        self.carved.store(blocks as u16, Release);
    }

    /// How many blocks the span can have in all.
    pub fn capacity(&self) -> u32 {
        size_class::capacity(self.class())
    }

    /// How many blocks are on the local list (SPAN2).
    pub fn local_count(&self) -> u32 {
        // Acquire: the blocks freed (the Release in `local::free_own`).
        let wait = self.wait.load(Acquire);
        self.base.load(Relaxed).wrapping_sub(wait)
    }

    /// From now on, with `local` blocks on the local list, `wait` more local
    /// frees bring the span back to its cache's attention.
    pub fn set_wait(&self, local: u32, wait: u32) {
        self.moving(|| self.set_wait_moving(local, wait));
    }

    /// As [`set_wait`](Self::set_wait), within [`moving`](Self::moving).
    #[inline(always)]
    pub fn set_wait_moving(&self, local: u32, wait: u32) {
        self.wait.store(wait, Relaxed);
        self.base.store(local.wrapping_add(wait), Relaxed);
    }

    /// How many blocks are left over.
    pub fn leftover_count(&self) -> u32 {
        u32::from(self.leftover_count.load(Relaxed))
    }

    /// What is left over.
    pub fn leftover(&self) -> FreeList {
        self.leftover.get()
    }

    /// Asks for the header behind this one on its heap's list.
    pub fn prefetch_next(&self) {
        if let Some(next) = self.heap_next.get() {
            prefetch(core::ptr::from_ref(next).cast());
            prefetch((&raw const next.remote).cast());
        }
    }

    /// Keeps `list`, of `count` blocks, as what is left over.
    pub fn set_leftover(&self, list: FreeList, count: u32) {
        self.leftover.set(list);
        self.leftover_count.store(count as u16, Relaxed);
    }

    /// Takes back `count` blocks that a bin still held.
    pub fn take_back(&self, list: FreeList, count: u32) {
        if self.local.get().is_empty() {
            self.local.set(list);
            self.set_wait(self.local_count() + count, NEVER);
            return;
        }
        let before = self.leftover();
        if !before.is_empty() {
            // Counted, because a block that was freed twice makes a ring.
            let is_sound = |block: &FreeBlock| block.is_guarded();
            let all = before.iter().take_while(is_sound).take(self.leftover_count() as usize);
            let Some(last) = all.last() else { return };
            last.set_next(list);
        }
        let all = if before.is_empty() { list } else { before };
        self.set_leftover(all, self.leftover_count() + count);
    }

    /// Brings home what other threads freed. By the span's thread.
    pub fn bring_home(&'static self) {
        self.moving(|| {
            let taken = self.remote.take();
            let Some(first) = taken.first() else { return };
            // SAFETY: the first of the remote list just taken.
            let list = unsafe { FreeBlock::listed(self.block(first)) };
            self.take_back(list.into(), taken.count());
        });
    }

    /// How many free blocks this thread has of the span, those of other
    /// threads and of the bin not counted.
    pub fn own_free(&self) -> u32 {
        self.local_count().wrapping_add(self.leftover_count())
    }

    /// Carved blocks that are on no list of the span: in use, or in the bin.
    pub fn outstanding(&self) -> u32 {
        // Racing with frees, the counts may not fit each other.
        self.carved().saturating_sub(self.own_free().wrapping_add(self.remote.state().count()))
    }

    /// Whether every carved block carries its guard, or has no tag: nothing that a
    /// program still uses is taken for free because something else was freed twice.
    pub fn is_all_free(&self) -> bool {
        if self.is_tagged() {
            return self.tag_words().all(|word| word.load() == Tag::NONE);
        }
        let (size, start) = (self.block_size(), self.start());
        let mut address = start + self.carved() as usize * size;
        while address > start {
            address -= size;
            // SAFETY: a carved block's start, in a mapped chunk.
            let memory = unsafe { address::block_at(address) };
            // SAFETY: as above.
            if !unsafe { free_block::has_guard(memory) } {
                return false;
            }
        }
        true
    }

    /// The start of the carved block that holds `address`, if any does.
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

    /// The bytes that `blocks` carved blocks are charged as (SPAN4).
    pub fn charge_of(&self, blocks: u32) -> usize {
        (blocks as usize * self.block_size()).next_multiple_of(PAGE).min(self.slices() * SLICE)
    }

    /// The address of the header, for comparing.
    #[cfg(feature = "testing")]
    pub fn id(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }
}

/// A list of spans of one cache or one heap's abandoned ones, linked through
/// `next` and `prev`. A span is on one such list at most.
#[derive(Default)]
pub struct SpanList {
    first: Cell<Option<&'static Span>>,
    last: Cell<Option<&'static Span>>,
}

impl SpanList {
    pub const fn new() -> Self {
        Self { first: Cell::new(None), last: Cell::new(None) }
    }

    #[inline]
    pub fn first(&self) -> Option<&'static Span> {
        self.first.get()
    }

    pub fn is_empty(&self) -> bool {
        self.first.get().is_none()
    }

    pub fn push_front(&self, span: &'static Span) {
        let first = self.first.replace(Some(span));
        span.prev.set(None);
        span.next.set(first);
        match first {
            Some(first) => first.prev.set(Some(span)),
            None => self.last.set(Some(span)),
        }
    }

    pub fn push_back(&self, span: &'static Span) {
        let last = self.last.replace(Some(span));
        span.prev.set(last);
        span.next.set(None);
        match last {
            Some(last) => last.next.set(Some(span)),
            None => self.first.set(Some(span)),
        }
    }

    pub fn pop_front(&self) -> Option<&'static Span> {
        let first = self.first.get()?;
        self.remove(first);
        Some(first)
    }

    /// Takes `span`, which is on this list, off it.
    pub fn remove(&self, span: &'static Span) {
        let (prev, next) = (span.prev.take(), span.next.take());
        match prev {
            Some(prev) => prev.next.set(next),
            None => self.first.set(next),
        }
        match next {
            Some(next) => next.prev.set(prev),
            None => self.last.set(prev),
        }
    }

    /// Forgets all spans, which somebody else has taken over.
    pub fn clear(&self) {
        self.first.set(None);
        self.last.set(None);
    }

    pub fn iter(&self) -> impl Iterator<Item = &'static Span> + use<> {
        core::iter::successors(self.first.get(), |span| span.next.get())
    }
}
