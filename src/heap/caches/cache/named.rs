//! Caches as spans and heaps name them: by address. Only this file stores such addresses.

use core::ptr;

use super::{Cache, InHeap};
use crate::heap::base::list::{link_front, unlink};
use crate::heap::owners::lists::Lists;
use crate::heap::spans::span::{Span, SpanState};

fn record_of(cache: Option<&'static Cache>) -> *mut Cache {
    cache.map_or(ptr::null(), ptr::from_ref).cast_mut()
}

/// The caches of a heap.
impl Lists {
    /// All caches of the heap.
    pub fn caches(&self) -> impl Iterator<Item = &'static Cache> {
        core::iter::successors(first_of(self), |cache| cache.in_heap.next())
    }

    /// Puts `cache` on the list.
    pub fn add_cache(&self, cache: &'static Cache) {
        link_front::<_, InHeap>(cache, first_of(self));
        self.set_first_cache(record_of(Some(cache)).cast());
    }

    /// Takes `cache` off the list.
    pub fn remove_cache(&self, cache: &'static Cache) {
        let (prev, next) = unlink::<_, InHeap>(cache);
        if prev.is_none() {
            self.set_first_cache(record_of(next).cast());
        }
    }
}

/// The first cache of a heap.
fn first_of(lists: &Lists) -> Option<&'static Cache> {
    // SAFETY: null or a cache (`add_cache`), which is never freed.
    unsafe { lists.first_cache().cast::<Cache>().as_ref() }
}

/// The cache that a span is in.
impl Span {
    /// The cache that the span is in. Other threads than the span's may see a cache that it
    /// was in lately.
    pub fn cache(&self) -> Option<&'static Cache> {
        // SAFETY: null or a cache (`set_cache`), which is never freed.
        unsafe { self.cache_record().cast::<Cache>().as_ref() }
    }

    /// Gives the span to `cache`, or to none.
    pub fn set_cache(&self, cache: Option<&'static Cache>) {
        self.set_cache_record(record_of(cache).cast());
    }

    /// How many blocks of the span are in the bin that it fills.
    pub fn in_bin(&self) -> u32 {
        match (self.state(), self.cache()) {
            (SpanState::Current, Some(cache)) => cache.bin_count(self.class()) as u32,
            _ => 0,
        }
    }
}
