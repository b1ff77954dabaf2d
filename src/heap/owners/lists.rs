//! The lists of a heap: its spans, those of them that no thread owns, and its caches.

use core::cell::Cell;
use core::ptr;

use crate::heap::base::list::List;
use crate::heap::base::size_class::CLASSES;
use crate::heap::spans::span::{CacheRecord, InHeap, Span, SpanList};

/// The lists of a heap, under its lock (HEAP5).
pub struct Lists {
    spans: List<Span, InHeap>,
    /// The span at which a sweep continues.
    cursor: Cell<Option<&'static Span>>,
    /// The first of the heap's caches; null for none.
    caches: Cell<*mut CacheRecord>,
    /// The spans that no thread owns, by class.
    pub abandoned: [SpanList; CLASSES],
    /// Blocks handed out by caches that are gone, and large blocks.
    allocations: Cell<u64>,
    /// Blocks that came to this heap by adoption.
    adopted: Cell<u64>,
}

impl Lists {
    /// No spans and no caches.
    pub const fn new() -> Self {
        Self {
            spans: List::new(),
            cursor: Cell::new(None),
            caches: Cell::new(ptr::null_mut()),
            abandoned: [const { SpanList::new() }; CLASSES],
            allocations: Cell::new(0),
            adopted: Cell::new(0),
        }
    }

    /// All spans of the heap.
    pub fn spans(&self) -> impl Iterator<Item = &'static Span> {
        self.spans.iter()
    }

    /// Puts `span` on the list of all spans.
    pub fn add_span(&self, span: &'static Span) {
        self.spans.push_front(span);
    }

    /// Begins a walk over the spans that gives up the lock now and then.
    pub fn begin_walk(&self) {
        self.cursor.set(self.spans.first());
    }

    /// The next span of the walk. Spans that were added since the walk began are not among
    /// them.
    pub fn walk_on(&self) -> Option<&'static Span> {
        let span = self.cursor.get()?;
        self.cursor.set(span.next_in_heap());
        Some(span)
    }

    /// Takes `span` off the list, and out of the walk.
    pub fn remove_span(&self, span: &'static Span) {
        if self.cursor.get().is_some_and(|next| ptr::eq(next, span)) {
            self.cursor.set(span.next_in_heap());
        }
        self.spans.remove(span);
    }

    /// The first cache of the heap; null for none.
    pub fn first_cache(&self) -> *mut CacheRecord {
        self.caches.get()
    }

    /// Makes `cache` the first one.
    pub fn set_first_cache(&self, cache: *mut CacheRecord) {
        self.caches.set(cache);
    }

    /// Blocks handed out by caches that are gone, and large blocks. The count is modulo
    /// 2^64, because allocations of adopted caches before the adoption are subtracted.
    pub fn allocations(&self) -> u64 {
        self.allocations.get()
    }

    /// Counts blocks of caches that are gone, or large blocks.
    pub fn count_allocations(&self, blocks: u64) {
        self.allocations.set(self.allocations.get().wrapping_add(blocks));
    }

    /// Blocks that came to this heap by adoption.
    pub fn adopted(&self) -> u64 {
        self.adopted.get()
    }

    /// Counts such blocks.
    pub fn count_adopted(&self, blocks: u64) {
        self.adopted.set(self.adopted.get() + blocks);
    }

    /// Forgets all spans, none of them abandoned, all caches and all counts.
    pub fn clear(&self) {
        self.spans.clear();
        self.cursor.set(None);
        self.caches.set(ptr::null_mut());
        debug_assert!(self.abandoned.iter().all(SpanList::is_empty));
        self.allocations.set(0);
        self.adopted.set(0);
    }
}
