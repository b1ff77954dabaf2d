//! The beginning and the end of a heap's spans.

use super::heap::Heap;
use super::lists::Lists;
use crate::heap::base::geometry::SLICE;
use crate::heap::base::paths::{self, Path};
use crate::heap::base::refused;
use crate::heap::base::size_class;
use crate::heap::pages::address;
use crate::heap::pages::arena;
use crate::heap::pages::chunk_map;
use crate::heap::pages::runs::{Returned, Run};
use crate::heap::spans::span::{self, Span, SpanState};

impl Heap {
    /// Begins a span of `class` for this heap in `run`, which has as many slices as the class
    /// needs.
    ///
    /// `is_open` tells, under the lock, whether the heap is still that of the cache that
    /// gets the span. If it is not, the host has adopted that cache meanwhile; the slices
    /// are given back, and the result is `None`.
    pub fn begin_span(
        &'static self,
        class: usize,
        run: &Run,
        is_open: impl FnOnce() -> bool,
    ) -> Option<&'static Span> {
        let span = span::header_in(run.chunk, run.first);
        let size = size_class::size_of(class);
        span.begin(
            class as u8,
            SpanState::Current,
            size,
            run.start(),
            run.slices as u32,
            run.fresh,
        );
        if self.is_tagged() {
            span.set_tagged();
            run.chunk.set_tagged();
        }
        for back in 1..run.slices {
            span::header_in(run.chunk, run.first + back).set_back(back as u16);
        }
        span.set_heap(self);
        let is_open = self.with(|lists| {
            let is_open = is_open();
            if is_open {
                lists.add_span(span);
            }
            is_open
        });
        if !is_open {
            paths::entered(Path::HeapMoved);
            release_slices(span);
        }
        is_open.then_some(span)
    }

    /// Ends a span that no thread owns, if no block of it is in use. The caller holds the
    /// heap's lock. Returns whether there was none, according to the counts.
    pub fn end_if_left(&self, lists: &Lists, span: &'static Span) -> bool {
        let is_unused = span.state() == SpanState::Abandoned && span.outstanding() == 0;
        if is_unused {
            self.remove_abandoned(lists, span);
            if !self.end_span(lists, span) {
                self.add_abandoned(lists, span);
            }
        }
        is_unused
    }

    /// Ends a span without blocks in use that is on no cache's list: its charge and its
    /// slices go back. The caller holds the heap's lock. Returns false, and counts a
    /// refused free, if a block is in use after all, because another one was freed twice.
    pub fn end_span(&self, lists: &Lists, span: &'static Span) -> bool {
        span.remote.see_pushed();
        if !span.is_large() && !span.is_all_free() {
            refused::refuse();
            return false;
        }
        lists.remove_span(span);
        self.refund(span, 0);
        release_slices(span);
        true
    }
}

/// Gives the slices of `span` back to its chunk, or its mapping to the system.
pub fn release_slices(span: &'static Span) {
    arena::with(|arena| {
        release_slices_in(&mut arena.take_back(), span);
        arena.keep_bound();
    });
}

/// As [`release_slices`], for a locked arena; more spans may follow.
pub fn release_slices_in(returned: &mut Returned<'_>, span: &'static Span) {
    let (state, slices, start) = (span.state(), span.slices(), span.start());
    let chunk = returned.chunk_of(start).or_else(|| chunk_map::find(start));
    debug_assert!(chunk.is_some(), "a span in use is in a live chunk");
    let Some(chunk) = chunk else { return };
    // Slices that were dirty before and were not carved are still dirty (CHUNK2).
    let touched = if !span.is_fresh() {
        slices * SLICE
    } else if span.is_large() {
        span.block_size()
    } else {
        span.carved() as usize * span.block_size()
    };
    span.end();
    if state == SpanState::Huge {
        returned.give_huge(chunk);
    } else {
        returned.give(chunk, address::slice_of(start), slices, touched);
    }
}
