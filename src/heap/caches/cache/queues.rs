//! Bins and queues: the blocks that the fast path takes, and the list that a span is on.

use core::ptr::{self, NonNull};

use super::Cache;
use crate::heap::base::paths::{self, Path};
use crate::heap::base::refused;
use crate::heap::base::size_class::{BinPlace, CLASSES};
use crate::heap::caches::bins::{Bin, Queue, wait_for};
use crate::heap::pages::address::prefetch;
use crate::heap::spans::free_block::FreeList;
use crate::heap::spans::span::SpanList;
use crate::heap::spans::span::{NEVER, Span, SpanState};
use crate::sync::Ordering::Relaxed;

impl Cache {
    /// The bin at `place`, and the queue that fills it.
    #[inline(always)]
    pub fn bin_and_queue(&self, place: BinPlace) -> (&Bin, &Queue) {
        let bins = (&raw const self.bins).cast::<Bin>();
        // SAFETY: a place is that of a class, and those are below CLASSES.
        let bin = unsafe { bins.byte_add(place.offset()) };
        let queues = (&raw const self.queues).cast::<Queue>();
        // SAFETY: as above; the distances of queues are a multiple of those of bins.
        let queue =
            unsafe { queues.byte_add(place.offset() * (size_of::<Queue>() / BinPlace::BIN)) };
        // SAFETY: as above: one of this cache's bins.
        let bin = unsafe { &*bin };
        // SAFETY: as above: one of this cache's queues.
        (bin, unsafe { &*queue })
    }

    /// The span that the bin of `class` is filled from; none where it has none.
    /// By the cache's thread.
    #[cfg(feature = "capi")]
    #[inline(always)]
    pub fn current_span(&self, class: usize) -> Option<&'static Span> {
        let (_, queue) = self.bin_and_queue(BinPlace::of_class(class));
        queue.current.get()
    }

    pub fn queue(&self, class: usize) -> &Queue {
        &self.queues[class]
    }

    /// Takes a block of `class` from its bin; `None` if that is empty. This is the fast
    /// path of every allocation.
    ///
    /// A block without its guard was freed twice and handed out since. It is not handed out
    /// again, and the slow path drops the bin.
    #[inline(always)]
    pub fn pop(&self, place: BinPlace) -> Option<NonNull<u8>> {
        debug_assert!(place.class() < CLASSES);
        let bins = (&raw const self.bins).cast::<Bin>();
        // SAFETY: a place is that of a class, and those are below CLASSES.
        let bin = unsafe { bins.byte_add(place.offset()) };
        // SAFETY: as above: one of this cache's bins.
        let bin = unsafe { &*bin };
        let (block, next) = bin.head.get().pop()?;
        bin.head.set(next);
        // The next call will read its link.
        prefetch(next.as_ptr());
        bin.allocated.store(bin.allocated.load(Relaxed).wrapping_add(1), Relaxed);
        Some(block)
    }

    /// Drops the list of a bin that `pop` refuses: one of its blocks is in use, so its link
    /// cannot be trusted. Lost blocks count as in use until their owner ends.
    pub fn lose_bin(&self, class: usize) {
        if !self.bins[class].head.take().is_empty() {
            paths::entered(Path::GuardMissed);
            refused::refuse();
            self.set_limit(class, 0);
        }
    }

    fn set_limit(&self, class: usize, count: usize) {
        let limit = self.bins[class].allocated.load(Relaxed).wrapping_add(count);
        self.queues[class].limit.store(limit, Relaxed);
    }

    /// Puts a list of `count` blocks of the current span into the empty bin.
    pub fn fill(&self, class: usize, list: FreeList, count: u32) {
        let bin = &self.bins[class];
        debug_assert!(bin.head.get().is_empty());
        bin.head.set(list);
        self.set_limit(class, count as usize);
    }

    /// The list in the bin.
    pub fn bin(&self, class: usize) -> FreeList {
        self.bins[class].head.get()
    }

    /// How many blocks the bin of `class` holds (CACHE2).
    pub fn bin_count(&self, class: usize) -> usize {
        let allocated = self.bins[class].allocated.load(Relaxed);
        self.queues[class].limit.load(Relaxed).wrapping_sub(allocated)
    }

    /// How many blocks were taken from the bins and from spare spans so far.
    pub fn allocations(&self) -> u64 {
        let of_class = |class: usize| self.bins[class].allocated.load(Relaxed) as u64;
        let large = self.large_allocated.load(Relaxed) as u64;
        large + self.used_classes().map(of_class).sum::<u64>()
    }

    /// Puts the blocks of the bin back on the local list of the current span.
    pub fn empty_bin(&self, class: usize) {
        let list = self.bins[class].head.take();
        if list.is_empty() {
            return;
        }
        let count = self.bin_count(class);
        let Some(span) = self.queues[class].current.get() else {
            return self.set_limit(class, 0);
        };
        span.moving(|| {
            self.set_limit(class, 0);
            span.take_back(list, count as u32);
        });
    }

    /// Makes `span` current and sets the old current span aside.
    pub fn make_current(&'static self, class: usize, span: &'static Span) {
        self.set_current_aside(class);
        span.set_state(SpanState::Current);
        self.watch(span, span.local_count());
        self.queues[class].current.set(Some(span));
        self.use_class(class);
    }

    /// Notes that the current span has `local` blocks on its local list. The span is looked
    /// at again when it may have become empty, if much of it was freed since its bin was
    /// filled, or if the quota is tight.
    pub fn watch(&self, span: &Span, local: u32) {
        span.set_wait(local, self.watched(span, local));
    }

    /// How many more frees [`watch`](Self::watch) waits for.
    #[inline(always)]
    pub fn watched(&self, span: &Span, local: u32) -> u32 {
        // The subtraction wraps, because after a second free the bin's count may be any
        // number (CACHE2).
        let free = local.wrapping_add(span.leftover_count());
        let free = free.wrapping_add(self.bin_count(span.class()) as u32);
        let used = span.carved().saturating_sub(free);
        if self.is_tight() { used.max(1) } else { wait_for(span, used) }
    }

    /// Whether no block of the current span is in use.
    pub fn is_empty(&self, span: &Span) -> bool {
        span.outstanding() as usize == self.bin_count(span.class())
    }

    /// How many free blocks make a span worth a visit: an eighth, so at most an eighth of
    /// the memory waits; one if the quota is tight.
    pub fn enough(&self, span: &Span) -> u32 {
        if self.is_tight() { 1 } else { (span.carved() / 8).max(1) }
    }

    /// Takes a span out of its queue, whichever list it is on.
    pub fn dequeue(&self, span: &'static Span) {
        let queue = self.queue(span.class());
        match span.state() {
            SpanState::Available => self.unlist(&queue.available, span),
            SpanState::Waiting => self.unlist(&queue.waiting, span),
            SpanState::Idle => {
                queue.idle.remove(span);
                self.note_gone(span);
            }
            _ => queue.current.set(None),
        }
    }

    /// Takes the first span off a list.
    pub fn pop_front(&self, list: &SpanList) -> Option<&'static Span> {
        let first = list.first()?;
        self.step_over(first);
        list.pop_front()
    }

    /// Takes a span off a list.
    pub fn unlist(&self, list: &SpanList, span: &'static Span) {
        self.step_over(span);
        list.remove(span);
    }

    /// Lets the look-around continue behind `span` (COLLECT1).
    fn step_over(&self, span: &'static Span) {
        if self.cursor.get().is_some_and(|next| ptr::eq(next, span)) {
            self.cursor.set(span.next());
        }
    }

    /// Puts the current span, whose bin is empty, on the right list.
    pub fn set_current_aside(&'static self, class: usize) {
        if let Some(span) = self.queues[class].current.take() {
            self.enlist(span);
        }
    }

    /// Puts `span` on the available or the waiting list. A free of one of its
    /// blocks brings it back (see [`noticed`](crate::heap::calls::free::noticed)).
    pub fn enlist(&'static self, span: &'static Span) {
        let queue = &self.queues[span.class()];
        self.use_class(span.class());
        let (local, enough) = (span.local_count(), self.enough(span));
        if span.own_free() >= enough
            || !span.leftover().is_empty()
            || span.carved() < span.capacity()
        {
            let outstanding = span.carved().saturating_sub(span.own_free());
            span.set_state(SpanState::Available);
            span.set_wait(local, if outstanding == 0 { NEVER } else { outstanding });
            queue.available.push_back(span);
        } else {
            span.set_state(SpanState::Waiting);
            span.set_wait(local, enough - local);
            queue.waiting.push_back(span);
        }
    }
}
