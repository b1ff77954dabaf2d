//! Spans that a thread keeps although no block of them is in use, because a
//! program that frees a batch often allocates the next one.
//!
//! Beginning a span takes the locks of the arena and of the heap, and its blocks must be
//! carved. An idle span has its blocks on its local list, and keeps its owner. A large
//! block's span, which has one block, is kept in the same way, as a *spare* span.
//!
//! If the sizes of large blocks are all different, spare spans only cost time. So they are
//! kept for a while after one was used again, and otherwise only now and then.
//!
//! Kept spans take no memory from others: a cache that needs other slices first gives up as
//! many of its own. All kept spans end when the first span is kept after the arena's
//! interval has ended, when the quota or the system refuses, and when the thread purges. A
//! thread that sleeps keeps its spans.
//!
//! Invariants
//!
//! - IDLE1 a span is on the idle list of its queue iff it is [`SpanState::Idle`], and on
//!   its cache's list of spares iff it is [`SpanState::Spare`]; none of its blocks is in
//!   use.
//! - IDLE2 a cache's `idle` is the sum of the slices of its idle and spare spans, and
//!   a thread's the sum over its caches.
//! - IDLE3 a thread's `idle` is at most 1 MiB and its `extra`, and 1 MiB more for spans
//!   that have one slice and are the only one of their class. Owners with a quota or a
//!   parent keep only such spans, because their other threads could not use the charge.
//! - IDLE4 `GRANTED` is the sum of `extra` over all threads, and at most `EXTRA` (see
//!   [`idle_slices`](super::idle_slices)).

use core::ptr::NonNull;

use super::cache::{Cache, CacheFate};
use super::household::Household;
use super::idle_slices::LEAST;
use crate::heap::base::geometry::SLICE;
use crate::heap::base::paths::{self, Path};
use crate::heap::owners::heap::Heap;
use crate::heap::owners::lists::Lists;
use crate::heap::presence::present;
use crate::heap::spans::span::{NEVER, Span, SpanState};

impl Cache {
    /// Keeps or ends `span`, which is on no list and has no block in use.
    #[cold]
    pub fn rest(&'static self, span: &'static Span) {
        // A span that was never full is hardly needed soon, and its pages are better used
        // by the next class while they are in the processor's caches.
        self.rest_if(span, span.carved() == span.capacity());
    }

    /// Sets the current span aside, because so much of it was freed in a row that the
    /// thread will hardly need it soon. From then on its blocks are counted exactly, and
    /// with its last block it is kept idle or ended.
    pub fn give_up_current(&'static self, span: &'static Span) {
        paths::entered(Path::CurrentSetAside);
        self.empty_bin(span.class());
        self.dequeue(span);
        if span.outstanding() == 0 {
            self.rest_if(span, true);
        } else {
            self.enlist(span);
        }
    }

    fn rest_if(&'static self, span: &'static Span, is_wanted: bool) {
        let queue = self.queue(span.class());
        // This is the only span, or the first empty one of those that no bin is filled
        // from.
        let is_only = || {
            let is_needed = queue.available.is_empty() || queue.current.get().is_none();
            queue.idle.is_empty() && is_needed
        };
        let may_keep = span.slices() == 1 && is_only() && self.may_keep_one()
            || is_wanted && self.may_keep(span);
        if self.is_tight() || !may_keep {
            if !self.end_span(span) {
                self.enlist(span);
            }
            return;
        }
        span.set_state(SpanState::Idle);
        span.set_wait(span.local_count(), NEVER);
        queue.idle.push_front(span);
        self.note_kept(span);
    }

    /// Takes an idle span of `class` off its list, the last one that was kept.
    pub fn wake(&self, class: usize) -> Option<&'static Span> {
        let span = self.queue(class).idle.first()?;
        paths::entered(Path::IdleSpanUsed);
        self.dequeue(span);
        self.note_reused(span);
        Some(span)
    }

    /// Keeps the span of the large block at `memory`, which is being freed, if this thread
    /// may. Returns false, with nothing changed, if it may not.
    pub fn keep_spare(span: &'static Span, memory: NonNull<u8>) -> bool {
        let _held = present::hold();
        let Some(cache) = span.cache() else { return false };
        let is_same = || span.is_in(cache.heap());
        // The span's cache may have got another heap; any cache of this thread for the same
        // heap will do.
        if !cache.is_mine() || cache.fate() != CacheFate::Alive || !is_same() {
            return false;
        }
        let is_whole = span.start() == memory.addr().get();
        let is_wanted = || cache.home().is_some_and(|home| home.idle().is_patient());
        let may_keep = is_whole && !cache.is_tight() && cache.may_keep(span) && is_wanted();
        crate::sync::delay(crate::sync::Window::KeepSpare);
        if !may_keep || !span.claim() {
            return false;
        }
        cache.spares.push_front(span);
        cache.note_kept(span);
        true
    }

    /// Takes the span of a large block that was freed for a new block of `bytes` at a
    /// multiple of `slice_align` slices. The owner is charged for it, and it is on no list.
    pub fn take_spare(&self, bytes: usize, slice_align: usize) -> Option<&'static Span> {
        let _held = present::hold();
        let slices = bytes.div_ceil(SLICE);
        let align = slice_align * SLICE;
        let fits = |span: &&Span| span.slices() == slices && span.start() % align == 0;
        let span = self.spares.iter().find(fits)?;
        let before = span.block_size();
        if bytes > before {
            span.with_heap(|heap, _| heap.charge(span, bytes - before))?.ok()?;
        } else if bytes < before {
            span.with_heap(|heap, _| heap.refund(span, bytes))?;
        }
        paths::entered(Path::SpareUsed);
        self.drop_spare(span);
        self.note_reused(span);
        self.home().inspect(|home| home.idle().renew_patience());
        span.set_block_size(bytes);
        // The memory behind the block may have been written.
        span.set_used();
        span.set_state(SpanState::Large);
        self.count_large();
        Some(span)
    }

    /// Ends idle spans of at least `slices` in all, and spare spans if these are too few,
    /// because the cache is about to take as many new slices.
    pub fn give_idle(&'static self, slices: usize) {
        let _held = present::hold();
        if self.idle_slices() == 0 {
            return;
        }
        let most = self.idle_slices().saturating_sub(slices);
        self.if_alive(|heap, lists| {
            self.end_idle(heap, lists, most);
            self.end_spares(heap, lists, most);
        });
    }

    /// Ends all spare spans. Returns whether there were any.
    pub fn give_spares(&'static self) -> bool {
        let _held = present::hold();
        let are_any = !self.spares.is_empty();
        if are_any {
            self.home().inspect(|home| home.idle().lose_patience());
            self.if_alive(|heap, lists| self.end_spares(heap, lists, 0));
        }
        are_any
    }

    /// Ends all spans that the cache keeps. The caller holds the lock of its heap.
    pub fn end_kept(&'static self, heap: &Heap, lists: &Lists) {
        self.end_idle(heap, lists, 0);
        self.end_spares(heap, lists, 0);
    }

    /// Ends idle spans until at most `most` slices of idle and spare spans are kept.
    fn end_idle(&'static self, heap: &Heap, lists: &Lists, most: usize) {
        for class in self.used_classes() {
            while let Some(span) = self.queue(class).idle.first() {
                if self.idle_slices() <= most {
                    return;
                }
                self.dequeue(span);
                if !heap.end_span(lists, span) {
                    self.enlist(span);
                }
            }
        }
    }

    /// Ends spare spans until at most `most` slices of idle and spare spans are kept.
    fn end_spares(&self, heap: &Heap, lists: &Lists, most: usize) {
        while let Some(span) = self.spares.first().filter(|_| self.idle_slices() > most) {
            self.drop_spare(span);
            heap.end_span(lists, span);
        }
    }

    /// Whether a span may be kept that has one slice and is the only one of its class.
    fn may_keep_one(&self) -> bool {
        self.home().is_some_and(|home| home.idle().slices() < home.idle().limit() + LEAST)
    }

    /// Whether one more span of the owner's may be kept (IDLE3).
    fn may_keep(&self, span: &Span) -> bool {
        let Some(idle) = self.home().map(Household::idle) else { return false };
        idle.slices() + span.slices() <= idle.limit() && self.heap().account().is_unlimited()
    }

    /// Counts a span that is kept from now on, and gives up all kept spans if the interval
    /// is over.
    fn note_kept(&'static self, span: &Span) {
        self.set_idle_slices(self.idle_slices() + span.slices());
        let Some(home) = self.home() else { return };
        home.idle().add(span.slices());
        if home.idle().is_over() {
            give_all(home);
        }
    }

    fn note_reused(&self, span: &Span) {
        self.home().inspect(|home| home.idle().reused(span.slices()));
    }

    fn drop_spare(&self, span: &'static Span) {
        self.spares.remove(span);
        self.note_gone(span);
    }
}

/// Ends all spans that the caches of this thread keep.
#[cold]
fn give_all(home: &'static Household) {
    paths::entered(Path::IdleSpansEnded);
    home.caches().for_each(|cache| cache.give_idle(usize::MAX));
}

/// Ends all spans that this thread keeps, because the system has no memory; `home` has its
/// caches. Returns whether there was one.
pub fn give_up_all(home: &'static Household) -> bool {
    let _held = present::hold();
    let is_any = home.idle().slices() > 0;
    if is_any {
        give_all(home);
    }
    is_any
}
