//! Lists of spans.

use core::cell::Cell;

use super::span::Span;

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

    /// The spans, each of which may be taken off while it is looked at.
    pub fn iter(&self) -> impl Iterator<Item = &'static Span> + use<> {
        core::iter::successors(self.first.get(), |span| span.next.get())
    }
}
