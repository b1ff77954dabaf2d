//! Caches as spans and heaps name them: by address. What is stored there comes from here.

use core::ptr;

use super::Cache;
use crate::heap::owners::lists::Lists;
use crate::heap::spans::span::{Span, SpanState};

fn record_of(cache: Option<&'static Cache>) -> *mut Cache {
    cache.map_or(ptr::null(), ptr::from_ref).cast_mut()
}

/// The caches of a heap.
impl Lists {
    /// All caches of the heap.
    pub fn caches(&self) -> impl Iterator<Item = &'static Cache> {
        // SAFETY: null or a cache (`add_cache`), which is never freed.
        let mut next = unsafe { self.first_cache().cast::<Cache>().as_ref() };
        core::iter::from_fn(move || {
            let cache = next?;
            next = cache.heap_next.get();
            Some(cache)
        })
    }

    /// Puts `cache` on the list.
    pub fn add_cache(&self, cache: &'static Cache) {
        // SAFETY: as in `caches`.
        let first = unsafe { self.first_cache().cast::<Cache>().as_ref() };
        self.set_first_cache(record_of(Some(cache)).cast());
        cache.heap_prev.set(None);
        cache.heap_next.set(first);
        if let Some(first) = first {
            first.heap_prev.set(Some(cache));
        }
    }

    /// Takes `cache` off the list.
    pub fn remove_cache(&self, cache: &'static Cache) {
        let (prev, next) = (cache.heap_prev.take(), cache.heap_next.take());
        match prev {
            Some(prev) => prev.heap_next.set(next),
            None => self.set_first_cache(record_of(next).cast()),
        }
        if let Some(next) = next {
            next.heap_prev.set(prev);
        }
    }
}

/// Which cache a span is in.
impl Span {
    /// The cache that the span is in. To others than its thread, one that it was
    /// in lately.
    pub fn cache(&self) -> Option<&'static Cache> {
        // SAFETY: null or a cache (`set_cache`), which is never freed.
        unsafe { self.cache_record().cast::<Cache>().as_ref() }
    }

    /// Gives the span to `cache`, or to none.
    pub fn set_cache(&self, cache: Option<&'static Cache>) {
        self.set_cache_record(record_of(cache).cast());
    }

    /// How many of its blocks are in the bin that it fills.
    pub fn in_bin(&self) -> u32 {
        match (self.state(), self.cache()) {
            (SpanState::Current, Some(cache)) => cache.bin_count(self.class()) as u32,
            _ => 0,
        }
    }
}
