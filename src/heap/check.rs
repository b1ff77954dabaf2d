//! The walker: looks at every structure of the heap and says which invariant
//! is broken, under the number that the invariant has where it stands.
//!
//! It allocates nothing and takes each lock for one structure at a time, so it
//! also works where the heap under its feet is the global allocator. The
//! caller sees to it that no other thread is in the heap meanwhile: counts of
//! a moving heap do not fit each other.

use core::fmt;

use super::arena;
use super::cache::{Cache, Fate};
use super::chunk::Chunk;
use super::free_block::{self, FreeBlock, FreeList};
use super::geometry::{CHUNK, HUGE_SLICES, SLICE, SLICES};
use super::record::{HOST_ACCOUNT, Heap, Lists};
use super::size_class::{self, CLASSES};
use super::span::{Span, State};
use super::{chunk_map, thread};
use crate::account::Account;
use crate::engine::Kind;
use crate::sync::Ordering::Relaxed;

/// What a walk saw. Totals over the whole process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Chunks, huge ones included.
    pub chunks: usize,
    /// Huge chunks whose block is gone, and which wait to be unmapped.
    pub kept_chunks: usize,
    /// Slices that no span has.
    pub free_slices: usize,
    /// Heap records in use.
    pub heaps: usize,
    /// Caches on the lists of heaps.
    pub caches: usize,
    /// Spans of small blocks.
    pub spans: usize,
    /// Those of them that no thread owns.
    pub abandoned: usize,
    /// Large and huge blocks.
    pub large_blocks: usize,
    /// Blocks in programs' hands, large ones included.
    pub blocks: usize,
    /// Their usable bytes.
    pub bytes: usize,
    /// Blocks on local, remote and bin lists.
    pub free_blocks: usize,
    /// Bytes that accounts were charged.
    pub charged: usize,
}

/// Which invariant is broken, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its file and number, as in `span S2`.
    pub invariant: &'static str,
    /// What was looked at.
    pub what: &'static str,
    /// The address of the structure.
    pub at: usize,
    /// What was found there.
    pub found: usize,
    /// What ought to be there.
    pub expected: usize,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, what, at, found, expected } = self;
        write!(f, "{invariant} at {at:#x}: {what} is {found:#x}, expected {expected:#x}")
    }
}

type Verdict = Result<(), Broken>;

/// `found` and `expected` are equal.
fn equal(
    invariant: &'static str,
    what: &'static str,
    at: usize,
    found: usize,
    expected: usize,
) -> Verdict {
    if found == expected {
        return Ok(());
    }
    Err(Broken { invariant, what, at, found, expected })
}

/// `holds` is so.
fn is(invariant: &'static str, what: &'static str, at: usize, holds: bool) -> Verdict {
    equal(invariant, what, at, usize::from(holds), 1)
}

fn place<T>(of: &T) -> usize {
    core::ptr::from_ref(of).addr()
}

/// Walks the whole heap. Time in chunks, spans and free blocks.
///
/// # Errors
///
/// The first broken invariant that is met.
///
/// # Safety
///
/// - S1 no other thread allocates, frees, ends, or enters or ends an expert
///   until this returns.
pub unsafe fn check() -> Result<Checked, Broken> {
    let mut seen = Checked::default();
    check_chunks(&mut seen)?;
    let in_chunks = (seen.spans, seen.large_blocks);
    (seen.spans, seen.large_blocks) = (0, 0);
    for heap in Heap::made() {
        heap.with(|lists| check_heap(heap, lists, &mut seen))?;
    }
    equal("record H1", "spans on heaps' lists", 0, seen.spans, in_chunks.0)?;
    equal("record H1", "large blocks on heaps' lists", 0, seen.large_blocks, in_chunks.1)?;
    check_accounts()?;
    let on_threads = check_threads()?;
    equal("record H2", "caches on heaps' lists", 0, seen.caches, on_threads)?;
    Ok(seen)
}

/// Reads every free slice that is not dirty, sixteen words of each page.
/// Takes a millisecond for each chunk.
///
/// # Errors
///
/// [`Broken`] under C2 where one does not read as zero.
///
/// # Safety
///
/// - S1 as for [`check`].
pub unsafe fn check_zero() -> Verdict {
    const STRIDE: usize = 256;
    chunk_map::for_each_unit(|_, chunk| {
        let (free, dirty) = (chunk.free.get(), chunk.dirty.get());
        for slice in (1..SLICES).filter(|&s| free.has_all(s, 1) && !dirty.has_any(s, 1)) {
            let start = chunk.base() + slice * SLICE;
            for at in (start..start + SLICE).step_by(STRIDE) {
                // SAFETY: inside a mapped chunk.
                let word = unsafe { super::address::block_at(at) }.cast::<usize>();
                // SAFETY: aligned, mapped, and nobody's (S1).
                equal("chunk C2", "a clean slice's word", at, unsafe { word.read() }, 0)?;
            }
        }
        Ok(())
    })
}

fn check_chunks(seen: &mut Checked) -> Verdict {
    chunk_map::for_each_unit(|unit, chunk| {
        is("chunk_map M1", "chunk holds its unit", unit * CHUNK, chunk.holds(unit * CHUNK))?;
        if chunk.base() / CHUNK != unit {
            return Ok(());
        }
        seen.chunks += 1;
        if chunk.is_huge() { check_huge_chunk(chunk, seen) } else { check_chunk(chunk, seen) }
    })?;
    let mut kept = 0;
    let mut order = Ok(());
    let mut before: Option<usize> = None;
    arena::for_each_listed(|chunk| {
        let prev = chunk.prev.get().map(place);
        order = order.and(is("arena A1", "link to the chunk before", place(chunk), prev == before));
        before = Some(place(chunk));
        kept += usize::from(chunk.is_huge());
    });
    seen.kept_chunks = kept;
    equal("arena A1", "chunks mapped", 0, arena::chunks(), seen.chunks + kept)?;
    order
}

fn check_huge_chunk(chunk: &'static Chunk, seen: &mut Checked) -> Verdict {
    let at = chunk.base();
    let span = chunk.header(1);
    seen.large_blocks += 1;
    equal("chunk C4", "start of a huge chunk", at, chunk.start_before(SLICES - 1).unwrap_or(0), 1)?;
    is("span S5", "huge span has a heap", at, span.heap().is_some())?;
    equal("chunk C1", "state of a huge span", at, span.state() as usize, State::Huge as usize)?;
    let end = span.start() + span.block_size();
    is("chunk C1", "huge block in its chunk", at, end <= at + chunk.bytes() && span.start() > at)
}

fn check_chunk(chunk: &'static Chunk, seen: &mut Checked) -> Verdict {
    let (free, dirty, aged) = (chunk.free.get(), chunk.dirty.get(), chunk.aged.get());
    let at = chunk.base();
    is("chunk C1", "slice 0 is free", at, !free.has_any(0, 1))?;
    is("chunk C2", "dirty is a part of free", at, dirty.and(&free) == dirty)?;
    is("chunk C3", "aged is a part of dirty", at, aged.and(&dirty) == aged)?;
    let huge = chunk.huge.get();
    is("chunk C5", "free in a huge page, so dirty", at, huge.and(&free) == huge.and(&dirty))?;
    let is_whole = |(first, count)| first % HUGE_SLICES == 0 && count % HUGE_SLICES == 0;
    is("chunk C5", "whole huge pages", at, huge.runs().all(is_whole))?;
    is("arena A1", "listed iff slices are free", at, chunk.is_listed.get() != free.is_empty())?;
    let longest = free.runs().map(|(_, count)| count).max().unwrap_or(0);
    is("chunk", "bound of the longest run", at, chunk.longest.get() >= longest)?;
    seen.free_slices += free.len();
    let mut slice = 1;
    while slice < SLICES {
        let header = chunk.header(slice);
        let begins = chunk.start_before(slice) == Some(slice);
        let at = at + slice * SLICE;
        if free.has_any(slice, 1) {
            is("chunk C4", "no span begins in a free slice", at, !begins)?;
            equal("span S3", "thread of a free slice", at, header.thread.load(Relaxed), 0)?;
            equal("chunk C1", "state of a free slice", at, header.state() as usize, 0)?;
            slice += 1;
            continue;
        }
        is("chunk C4", "a span begins behind the last one", at, begins)?;
        let count = header.slices();
        is("chunk C1", "span in its chunk", at, count > 0 && slice + count <= SLICES)?;
        is("chunk C1", "slices of a span are taken", at, !free.has_any(slice, count))?;
        equal("span S6", "back of the first slice", at, header.back(), 0)?;
        equal("span", "start", at, header.start(), at)?;
        is("span S5", "span has a heap", at, header.heap().is_some())?;
        for back in 1..count {
            let inner = chunk.header(slice + back);
            let begins = chunk.start_before(slice + back) == Some(slice + back);
            is("chunk C4", "no span begins inside another", place(inner), !begins)?;
            equal("span S3", "thread of an inner slice", at, inner.thread.load(Relaxed), 0)?;
            equal("span S3", "state of an inner slice", at, inner.state() as usize, 0)?;
            if !header.is_large() {
                equal("span S6", "back of an inner slice", place(inner), inner.back(), back)?;
            }
        }
        if header.is_large() {
            seen.large_blocks += 1;
        } else {
            seen.spans += 1;
        }
        slice += count;
    }
    Ok(())
}

fn check_heap(heap: &'static Heap, lists: &Lists, seen: &mut Checked) -> Verdict {
    let at = place(heap);
    if heap.key().is_none() {
        is("record", "an unused record has no spans", at, lists.spans().next().is_none())?;
        return is("record", "an unused record has no caches", at, lists.caches().next().is_none());
    }
    seen.heaps += 1;
    let abandoned_before = seen.abandoned;
    let mut before = None;
    let mut owned = 0;
    for span in lists.spans() {
        let prev = span.heap_prev.get().map(|prev| prev.id());
        is("span S5", "link to the span before", span.id(), prev == before)?;
        before = Some(span.id());
        let tag = span.heap().map_or(0, place);
        equal("span S5", "heap of a listed span", span.id(), tag, at)?;
        if span.is_large() {
            check_large(span, seen)?;
        } else {
            owned += usize::from(span.state() != State::Abandoned);
            check_span(heap, span, seen)?;
        }
    }
    check_abandoned(heap, lists, seen.abandoned - abandoned_before)?;
    let queued = check_caches(heap, lists, seen)?;
    equal("span S3", "spans in caches' queues", at, queued, owned)
}

fn check_large(span: &Span, seen: &mut Checked) -> Verdict {
    let at = span.id();
    seen.large_blocks += 1;
    seen.blocks += 1;
    seen.bytes += span.block_size();
    seen.charged += span.charged();
    equal("span S4", "charge of a large block", at, span.charged(), span.block_size())?;
    equal("span S3", "thread of a large block", at, span.thread.load(Relaxed), 0)?;
    is("span S3", "a large block has no cache", at, span.cache().is_none())?;
    if span.state() == State::Large {
        let slices = span.block_size().div_ceil(SLICE);
        equal("span", "slices of a large block", at, span.slices(), slices)?;
    }
    Ok(())
}

/// Which blocks of a span were met on its lists: at most 4096.
struct Marks([u64; 64]);

impl Marks {
    /// Checks and counts a list of free blocks of `span`.
    fn list(&mut self, span: &Span, list: FreeList, name: &'static str) -> Result<usize, Broken> {
        let mut count = 0;
        let mut next = list.first();
        while let Some(block) = next {
            self.block(span, block, name)?;
            count += 1;
            next = block.next().first();
        }
        Ok(count)
    }

    fn block(&mut self, span: &Span, block: FreeBlock, name: &'static str) -> Verdict {
        let offset = block.addr().wrapping_sub(span.start());
        let (size, index) = (span.block_size(), offset / span.block_size());
        let is_inside = offset % size == 0 && index < span.carved() as usize;
        is("free_block F1", name, block.addr(), is_inside)?;
        // SAFETY: the start of a carved block of this span.
        let has_guard = unsafe { free_block::has_guard(span.block(offset)) };
        is("free_block F3", name, block.addr(), has_guard)?;
        let (word, bit) = (&mut self.0[index / 64], 1 << (index % 64));
        is("free_block F2", name, block.addr(), *word & bit == 0)?;
        *word |= bit;
        Ok(())
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] & 1 << (index % 64) != 0
    }
}

fn check_span(heap: &Heap, span: &'static Span, seen: &mut Checked) -> Verdict {
    let (at, class) = (span.id(), span.class());
    let (carved, size) = (span.carved() as usize, span.block_size());
    is("span", "class", at, class < CLASSES)?;
    equal("span", "block size", at, size, size_class::size_of(class))?;
    equal("span", "slices", at, span.slices(), size_class::slices(class))?;
    is("span S1", "carved fits the span", at, carved <= span.capacity() as usize)?;
    equal("span S4", "charged", at, span.charged(), span.charge_of(span.carved()))?;
    check_owner(heap, span, seen)?;

    let mut marks = Marks([0; 64]);
    let local = marks.list(span, span.local.get(), "block on the local list")?;
    equal("span S2", "local count", at, span.local_count() as usize, local)?;
    let state = span.remote.state();
    // SAFETY: the first block of the remote list: it was freed there.
    let first = state.first().map(|first| unsafe { FreeBlock::listed(span.block(first)) });
    let remote = marks.list(
        span,
        first.map_or(FreeList::EMPTY, FreeList::from),
        "block on the remote list",
    )?;
    equal("remote R1", "remote count", at, state.count() as usize, remote)?;
    let mut bin = 0;
    if let (State::Current, Some(cache)) = (span.state(), span.cache()) {
        bin = marks.list(span, cache.bin(class), "block in the bin (Q1)")?;
        equal("cache Q2", "bin count", at, cache.bin_count(class), bin)?;
    }

    let leftover = marks.list(span, span.leftover(), "block left over")?;
    equal("span S1", "leftover count", at, span.leftover_count() as usize, leftover)?;
    let free = local + leftover + remote + bin;
    is("span S1", "free blocks are carved ones", at, free <= carved)?;
    check_used(heap, span, &marks)?;
    seen.spans += 1;
    seen.blocks += carved - free;
    seen.bytes += (carved - free) * size;
    seen.free_blocks += free;
    seen.charged += span.charged();
    Ok(())
}

/// Blocks on no list are in use: they have no guard, and raw ones their mark.
fn check_used(heap: &Heap, span: &Span, marks: &Marks) -> Verdict {
    for index in (0..span.carved() as usize).filter(|&index| !marks.has(index)) {
        let block = span.block(index * span.block_size());
        // SAFETY: the start of a carved block.
        let word = unsafe { free_block::second_word(block) }.load(Relaxed);
        let address = block.addr().get();
        let guard = free_block::guard_of(address);
        is("span S1", "no free block is lost", address, word != guard)?;
        if heap.is_kind(Kind::Raw) {
            equal(
                "raw W1",
                "mark of a live block",
                address,
                word,
                free_block::live_mark_of(block),
            )?;
        }
    }
    Ok(())
}

/// S3: whose the span is.
fn check_owner(heap: &Heap, span: &'static Span, seen: &mut Checked) -> Verdict {
    let at = span.id();
    let is_abandoned = span.state() == State::Abandoned;
    is("span S3", "mark", at, span.remote.state().is_abandoned() == is_abandoned)?;
    if is_abandoned {
        seen.abandoned += 1;
        equal("span S3", "thread of an abandoned span", at, span.thread.load(Relaxed), 0)?;
        return is("span S3", "an abandoned span has no cache", at, span.cache().is_none());
    }
    let is_queued = matches!(span.state(), State::Current | State::Available | State::Waiting);
    is("span S3", "state of an owned span", at, is_queued)?;
    is("span S3", "thread of an owned span", at, span.thread.load(Relaxed) != 0)?;
    let owner = span.cache().map_or(0, |cache| place(cache.heap()));
    equal("cache Q3", "heap of the span's cache", at, owner, place(heap))
}

fn check_abandoned(heap: &Heap, lists: &Lists, expected: usize) -> Verdict {
    let mut count = 0;
    for class in 0..CLASSES {
        let list = &lists.abandoned[class];
        let is_set = heap.has_abandoned(class);
        is("record H3", "bit of a class", place(heap), is_set != list.is_empty())?;
        let mut before = None;
        for span in list.iter() {
            let prev = span.prev.get().map(|prev| prev.id());
            is("record H3", "link to the span before", span.id(), prev == before)?;
            before = Some(span.id());
            let state = span.state() as usize;
            equal("record H3", "state", span.id(), state, State::Abandoned as usize)?;
            equal("record H3", "class", span.id(), span.class(), class)?;
            count += 1;
        }
    }
    equal("record H3", "abandoned spans", place(heap), count, expected)
}

/// How many spans the caches of `heap` have.
fn check_caches(heap: &Heap, lists: &Lists, seen: &mut Checked) -> Result<usize, Broken> {
    let mut spans = 0;
    let mut before = None;
    for cache in lists.caches() {
        let at = place(cache);
        let prev = cache.heap_prev.get().map(place);
        is("record H2", "link to the cache before", at, prev == before)?;
        before = Some(at);
        equal("record H2", "heap of a listed cache", at, place(cache.heap()), place(heap))?;
        is("cache Q4", "a listed cache is not dead", at, cache.fate() != Fate::Dead)?;
        for class in 0..CLASSES {
            spans += check_queue(cache, class)?;
        }
        seen.caches += 1;
    }
    Ok(spans)
}

fn check_queue(cache: &'static Cache, class: usize) -> Result<usize, Broken> {
    let queue = cache.queue(class);
    let at = place(queue);
    let current = queue.current.get();
    let is_empty = cache.bin(class).is_empty();
    is("cache Q1", "bin without a span", at, current.is_some() || is_empty)?;
    is("cache Q2", "count of a bin", at, (cache.bin_count(class) == 0) == is_empty)?;
    let mut spans = 0;
    for (list, state) in [(&queue.available, State::Available), (&queue.waiting, State::Waiting)] {
        let mut before = None;
        for span in list.iter() {
            let prev = span.prev.get().map(|prev| prev.id());
            is("cache", "link to the span before", span.id(), prev == before)?;
            before = Some(span.id());
            equal(
                "cache",
                "state of a queued span",
                span.id(),
                span.state() as usize,
                state as usize,
            )?;
        }
    }
    if let Some(span) = current {
        equal("cache Q1", "state", span.id(), span.state() as usize, State::Current as usize)?;
    }
    for span in queue.spans() {
        equal("cache", "class of a queued span", span.id(), span.class(), class)?;
        let owner = span.cache().map_or(0, place);
        equal("span S3", "cache of a queued span", span.id(), owner, place(cache))?;
        spans += 1;
    }
    Ok(spans)
}

/// H4, and A2 of the account: what each was charged is what the spans say, its
/// own and its children's. Time in the square of the heaps in use.
fn check_accounts() -> Verdict {
    for heap in Heap::made().filter(|heap| heap.key().is_some()) {
        check_account(heap.account())?;
    }
    check_account(&HOST_ACCOUNT)
}

fn check_account(account: &Account) -> Verdict {
    let is_charged = |heap: &&Heap| {
        let chain = core::iter::successors(Some(heap.account()), |account| account.parent());
        heap.key().is_some() && chain.into_iter().any(|above| core::ptr::eq(above, account))
    };
    let sum = |heap: &Heap| heap.with(|lists| lists.spans().map(Span::charged).sum::<usize>());
    let charged = Heap::made().filter(|heap| is_charged(heap)).map(sum).sum();
    equal("record H4", "account", place(account), account.charged(), charged)
}

/// T2, and how many caches threads have that are on heaps' lists.
fn check_threads() -> Result<usize, Broken> {
    let mut caches = 0;
    thread::for_each(|thread| {
        let at = place(thread);
        is("thread T3", "a quiet thread is not pinned", at, !thread.is_pinned())?;
        for cache in thread.caches() {
            let found = thread.lookup(cache.id()).map_or(0, place);
            equal("thread T2", "cache in the table", at, found, place(cache))?;
            let owner = cache.thread().map_or(0, place);
            equal("thread T2", "thread of the cache", at, owner, at)?;
            caches += usize::from(cache.fate() != Fate::Dead);
        }
        equal("thread T2", "caches in the table", at, thread.lookups(), thread.caches().count())
    })?;
    Ok(caches)
}
