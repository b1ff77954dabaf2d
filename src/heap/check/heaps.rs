//! Checks heaps: their spans and caches, and every block.

use super::{Broken, Checked, Verdict, equal, is, place};
use crate::heap::base::geometry::SLICE;
use crate::heap::base::size_class::{self, CLASSES};
use crate::heap::caches::cache::{Cache, CacheFate};
use crate::heap::owners::entry::Standing;
use crate::heap::owners::heap::Heap;
use crate::heap::owners::lists::Lists;
use crate::heap::owners::numbers::{self};
use crate::heap::spans::free_block::{self, FreeBlock, FreeList};
use crate::heap::spans::span::SpanList;
use crate::heap::spans::span::TAGGED;
use crate::heap::spans::span::{Span, SpanState};
use crate::heap::spans::tags::Tag;
use crate::sync::Ordering::Relaxed;

pub(super) fn check_heap(heap: &'static Heap, lists: &Lists, seen: &mut Checked) -> Verdict {
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
        let prev = span.before_in_heap().map(|prev| prev.id());
        is("SPAN5", "link to the span before", span.id(), prev == before)?;
        before = Some(span.id());
        let tag = span.heap().map_or(0, place);
        equal("SPAN5", "heap of a listed span", span.id(), tag, at)?;
        if span.is_large() {
            check_large(span, seen)?;
        } else {
            owned += usize::from(span.state() != SpanState::Abandoned);
            check_span(heap, span, seen)?;
        }
    }
    check_abandoned(heap, lists, seen.abandoned - abandoned_before)?;
    let (queued, spares) = check_caches(heap, lists, seen)?;
    equal("SPAN3", "spans in caches' queues", at, queued, owned)?;
    let spare = lists.spans().filter(|span| span.state() == SpanState::Spare).count();
    equal("IDLE1", "spare spans in caches", at, spares, spare)
}

fn check_large(span: &Span, seen: &mut Checked) -> Verdict {
    let at = span.id();
    seen.large_blocks += 1;
    if span.state() != SpanState::Spare {
        seen.blocks += 1;
        seen.bytes += span.block_size();
    }
    seen.charged += span.charged();
    equal("SPAN4", "charge of a large block", at, span.charged(), span.block_size())?;
    equal("SPAN3", "thread of a large block", at, span.thread(), 0)?;
    if span.state() != SpanState::Huge {
        let slices = span.block_size().div_ceil(SLICE);
        equal("span", "slices of a large block", at, span.slices(), slices)?;
    }
    Ok(())
}

/// The blocks of a span that were met on its lists, at most 4096.
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
        is("FREE1", name, block.addr(), is_inside)?;
        // SAFETY: the start of a carved block of this span.
        let has_guard = unsafe { free_block::has_guard(span.block(offset)) };
        is("FREE3", name, block.addr(), has_guard)?;
        let (word, bit) = (&mut self.0[index / 64], 1 << (index % 64));
        is("FREE2", name, block.addr(), *word & bit == 0)?;
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
    is("SPAN1", "carved fits the span", at, carved <= span.capacity() as usize)?;
    equal("SPAN4", "charged", at, span.charged(), span.charge_of(span.carved()))?;
    check_owner(heap, span, seen)?;

    let mut marks = Marks([0; 64]);
    let local = marks.list(span, span.local(), "block on the local list")?;
    equal("SPAN2", "local count", at, span.local_count() as usize, local)?;
    let state = span.remote.state();
    // SAFETY: the first block of the remote list: it was freed there.
    let first = state.first().map(|first| unsafe { FreeBlock::listed(span.block(first)) });
    let remote = marks.list(
        span,
        first.map_or(FreeList::EMPTY, FreeList::from),
        "block on the remote list",
    )?;
    equal("REMOTE1", "remote count", at, state.count() as usize, remote)?;
    let mut bin = 0;
    if let (SpanState::Current, Some(cache)) = (span.state(), span.cache()) {
        bin = marks.list(span, cache.bin(class), "block in the bin (CACHE1)")?;
        equal("CACHE2", "bin count", at, cache.bin_count(class), bin)?;
    }

    let leftover = marks.list(span, span.leftover(), "block left over")?;
    equal("SPAN1", "leftover count", at, span.leftover_count() as usize, leftover)?;
    let free = local + leftover + remote + bin;
    is("SPAN1", "free blocks are carved ones", at, free <= carved)?;
    check_used(span, &marks)?;
    seen.spans += 1;
    seen.blocks += carved - free;
    seen.bytes += (carved - free) * size;
    seen.free_blocks += free;
    seen.charged += span.charged();
    Ok(())
}

/// Checks that blocks on no list are in use: they have no guard, and in tagged spans they
/// have a tag.
fn check_used(span: &'static Span, marks: &Marks) -> Verdict {
    for index in 0..span.carved() as usize {
        let block = span.block(index * span.block_size());
        let address = block.addr().get();
        if !marks.has(index) {
            // SAFETY: the start of a carved block.
            let word = unsafe { free_block::second_word(block) }.load(Relaxed);
            is("SPAN1", "no free block is lost", address, word != free_block::guard_of(address))?;
        }
        if span.is_tagged() {
            let tag = span.tag_word(address).load();
            is(
                "TAG1",
                "a block in use has a tag",
                address,
                (tag == Tag::NONE) == marks.has(index),
            )?;
            if let Some(number) = tag.number() {
                let is_known = numbers::entry(number).standing() != Standing::Unused;
                is("NUM3", "number of a tag", address, is_known)?;
                equal(
                    "TAG1",
                    "class of a tag",
                    address,
                    tag.class().unwrap_or(CLASSES),
                    span.class(),
                )?;
                is("TAG4", "a raw call at work", address, !tag.is_in_work())?;
            }
        }
    }
    Ok(())
}

/// Checks SPAN3, the thread of the span.
fn check_owner(heap: &Heap, span: &'static Span, seen: &mut Checked) -> Verdict {
    let at = span.id();
    let is_abandoned = span.state() == SpanState::Abandoned;
    is("SPAN3", "mark", at, span.remote.state().is_abandoned() == is_abandoned)?;
    if is_abandoned {
        seen.abandoned += 1;
        equal("SPAN3", "thread of an abandoned span", at, span.thread(), 0)?;
        return is("SPAN3", "an abandoned span has no cache", at, span.cache().is_none());
    }
    let queued = [SpanState::Current, SpanState::Available, SpanState::Waiting, SpanState::Idle];
    let is_queued = queued.contains(&span.state());
    is("SPAN3", "state of an owned span", at, is_queued)?;
    let thread = span.thread();
    is("SPAN3", "thread of an owned span", at, thread & !TAGGED != 0)?;
    is("SPAN3", "mark of a tagged span", at, (thread & TAGGED != 0) == span.is_tagged())?;
    is("record", "tags of a span", at, heap.is_tagged() == span.is_tagged())?;
    let owner = span.cache().map_or(0, |cache| place(cache.heap()));
    equal("CACHE3", "heap of the span's cache", at, owner, place(heap))
}

fn check_abandoned(heap: &Heap, lists: &Lists, expected: usize) -> Verdict {
    let mut count = 0;
    for class in 0..CLASSES {
        let list = &lists.abandoned[class];
        let is_set = heap.has_abandoned(class);
        is("HEAP3", "bit of a class", place(heap), is_set != list.is_empty())?;
        let mut before = None;
        for span in list.iter() {
            let prev = span.prev().map(|prev| prev.id());
            is("HEAP3", "link to the span before", span.id(), prev == before)?;
            before = Some(span.id());
            let state = span.state() as usize;
            equal("HEAP3", "state", span.id(), state, SpanState::Abandoned as usize)?;
            equal("HEAP3", "class", span.id(), span.class(), class)?;
            count += 1;
        }
    }
    equal("HEAP3", "abandoned spans", place(heap), count, expected)
}

/// How many spans are in the queues, and how many spare spans in the caches, of `heap`.
fn check_caches(heap: &Heap, lists: &Lists, seen: &mut Checked) -> Result<(usize, usize), Broken> {
    let (mut spans, mut spares) = (0, 0);
    let mut before = None;
    for cache in lists.caches() {
        let at = place(cache);
        let prev = cache.before_in_heap().map(place);
        is("HEAP2", "link to the cache before", at, prev == before)?;
        before = Some(at);
        equal("HEAP2", "heap of a listed cache", at, place(cache.heap()), place(heap))?;
        is("CACHE4", "a listed cache is not dead", at, cache.fate() != CacheFate::Dead)?;
        for class in 0..CLASSES {
            spans += check_queue(cache, class)?;
        }
        check_idle(cache)?;
        spares += cache.spares.iter().count();
        seen.caches += 1;
    }
    Ok((spans, spares))
}

/// Checks the links of a list of spans, and their states.
fn check_list(list: &SpanList, state: SpanState) -> Verdict {
    let mut before = None;
    for span in list.iter() {
        let prev = span.prev().map(|prev| prev.id());
        is("cache", "link to the span before", span.id(), prev == before)?;
        before = Some(span.id());
        let found = span.state() as usize;
        equal("cache", "state of a listed span", span.id(), found, state as usize)?;
    }
    Ok(())
}

/// Checks IDLE1 to IDLE3: the spans that a cache keeps, and those that its owner may keep.
fn check_idle(cache: &'static Cache) -> Verdict {
    let at = place(cache);
    check_list(&cache.spares, SpanState::Spare)?;
    let idle = || (0..CLASSES).flat_map(|class| cache.queue(class).idle.iter());
    let slices = idle().chain(cache.spares.iter()).map(Span::slices).sum();
    equal("IDLE2", "slices kept", at, cache.idle_slices(), slices)?;
    for span in cache.spares.iter() {
        let heap = span.heap().map_or(0, place);
        equal("IDLE1", "heap of a spare span", span.id(), heap, place(cache.heap()))?;
    }
    let is_limited = !cache.heap().account().is_unlimited();
    let mut others = idle().filter(|span| span.prev().is_some() || span.slices() > 1);
    let is_reserve = cache.spares.is_empty() && others.next().is_none();
    is("IDLE3", "a limited owner's", at, !is_limited || is_reserve)
}

fn check_queue(cache: &'static Cache, class: usize) -> Result<usize, Broken> {
    let queue = cache.queue(class);
    let at = place(queue);
    let current = queue.current.get();
    let is_empty = cache.bin(class).is_empty();
    is("CACHE1", "bin without a span", at, current.is_some() || is_empty)?;
    is("CACHE2", "count of a bin", at, (cache.bin_count(class) == 0) == is_empty)?;
    let mut spans = 0;
    check_list(&queue.available, SpanState::Available)?;
    check_list(&queue.waiting, SpanState::Waiting)?;
    check_list(&queue.idle, SpanState::Idle)?;
    for span in queue.idle.iter() {
        equal("IDLE1", "blocks in use", span.id(), span.outstanding() as usize, 0)?;
    }
    if let Some(span) = current {
        equal("CACHE1", "state", span.id(), span.state() as usize, SpanState::Current as usize)?;
    }
    for span in queue.spans() {
        equal("cache", "class of a queued span", span.id(), span.class(), class)?;
        let owner = span.cache().map_or(0, place);
        equal("SPAN3", "cache of a queued span", span.id(), owner, place(cache))?;
        spans += 1;
    }
    Ok(spans)
}
