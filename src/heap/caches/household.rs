//! The caches of a thread, and the spans that they keep idle in all.

use core::ptr;

use super::cache::{Cache, InThread};
use super::idle_slices::IdleSlices;
use crate::heap::base::list::List;
use crate::heap::presence::present::Presence;
use crate::sync::{AtomicPtr, Ordering, Ordering::Relaxed};

/// The state that the caches of a thread share. It is a part of the thread's record.
pub struct Household {
    presence: Presence,
    caches: List<Cache, InThread>,
    /// Caches that other threads have reclaimed or adopted.
    inbox: AtomicPtr<Cache>,
    idle: IdleSlices,
}

// SAFETY: the Cells are used by the thread, or by the holder of its lock (PRESENT3).
unsafe impl Sync for Household {}

impl Household {
    /// The state of a new record.
    pub fn new() -> Self {
        Self {
            presence: Presence::new(),
            caches: List::new(),
            inbox: AtomicPtr::new(ptr::null_mut()),
            idle: IdleSlices::new(),
        }
    }

    /// The thread, as others see it.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// Spans that the thread keeps although no block of them is in use.
    pub fn idle(&self) -> &IdleSlices {
        &self.idle
    }

    /// The thread's caches.
    pub fn caches(&self) -> impl Iterator<Item = &'static Cache> + use<> {
        self.caches.iter()
    }

    /// Adds a cache.
    pub fn add(&self, cache: &'static Cache) {
        self.caches.push_front(cache);
    }

    /// Removes a cache.
    pub fn remove(&self, cache: &'static Cache) {
        self.caches.remove(cache);
    }

    /// Tells the thread that `cache`, one of these, does not belong to it any more. The
    /// caller holds the lock of the cache's heap.
    pub fn send(&self, cache: &'static Cache) {
        let mut first = self.inbox.load(Relaxed);
        loop {
            // SAFETY: null or a cache, which is never freed.
            cache.inbox_next.set(unsafe { first.as_ref() });
            let sent = ptr::from_ref(cache).cast_mut();
            // Release: the link and the cache's fate (the Acquire in `take_inbox`).
            match self.inbox.compare_exchange_weak(first, sent, Ordering::Release, Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// Whether a cache was sent. It is a hint; `take_inbox` orders.
    #[inline]
    pub fn has_mail(&self) -> bool {
        !self.inbox.load(Relaxed).is_null()
    }

    /// The caches that were sent.
    pub fn take_inbox(&self) -> impl Iterator<Item = &'static Cache> + use<> {
        // Acquire: the caches that were sent (the Release in `send`). SAFETY: null or a
        // cache, which is never freed.
        let mut next = unsafe { self.inbox.swap(ptr::null_mut(), Ordering::Acquire).as_ref() };
        core::iter::from_fn(move || {
            let cache = next?;
            next = cache.inbox_next.get();
            Some(cache)
        })
    }
}
