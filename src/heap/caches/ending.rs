//! The end of a cache's spans that have no block in use.

use super::cache::Cache;
use crate::heap::owners::heap::Heap;
use crate::heap::owners::lists::Lists;
use crate::heap::spans::span::{Span, SpanState};

impl Cache {
    /// Ends the current span of a class, which is empty.
    pub fn end_current(&'static self, span: &'static Span) {
        self.empty_bin(span.class());
        self.dequeue(span);
        if !self.end_span(span) {
            self.enlist(span);
        }
    }

    /// Ends an empty span that is in no queue any more. Returns false if a block of it is
    /// in use after all.
    pub fn end_span(&self, span: &'static Span) -> bool {
        self.with_own(|heap, lists| heap.end_span(lists, span))
    }

    /// Ends a span on a list if it has no block in use. The caller holds the locks of its
    /// heap and of the cache's thread.
    pub fn end_if_unused(&self, heap: &Heap, lists: &Lists, span: &'static Span) {
        if span.outstanding() == 0 {
            let list = match span.state() {
                SpanState::Waiting => &self.queue(span.class()).waiting,
                SpanState::Available => &self.queue(span.class()).available,
                _ => return,
            };
            self.unlist(list, span);
            if !heap.end_span(lists, span) {
                list.push_back(span);
            }
        }
    }
}
