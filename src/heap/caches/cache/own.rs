//! "Is the heap still mine?" The heap of a cache may be reclaimed, or adopted by the host, at
//! any moment; its lock decides. Code that changes the lists of a cache's heap asks here.

use core::ptr;

use super::{Cache, CacheFate};
use crate::heap::owners::heap::Heap;
use crate::heap::owners::lists::Lists;

impl Cache {
    /// Runs `f` under the lock of the cache's heap. Returns `None`, and does nothing, if
    /// the heap is not the cache's any more.
    pub fn if_own<T>(&self, f: impl FnOnce(&'static Heap, &Lists) -> T) -> Option<T> {
        let heap = self.heap();
        crate::sync::delay(crate::sync::Window::OwnHeap);
        heap.with(|lists| ptr::eq(heap, self.heap()).then(|| f(heap, lists)))
    }

    /// As [`if_own`](Self::if_own), if the cache was neither reclaimed nor adopted.
    pub fn if_alive<T>(&self, f: impl FnOnce(&'static Heap, &Lists) -> T) -> Option<T> {
        self.if_own(|heap, lists| (self.fate() == CacheFate::Alive).then(|| f(heap, lists)))?
    }

    /// Runs `f` under the lock of the cache's heap, even if the heap has changed.
    pub fn with_own<T>(&self, f: impl Fn(&'static Heap, &Lists) -> T) -> T {
        loop {
            if let Some(done) = self.if_own(&f) {
                return done;
            }
        }
    }
}
