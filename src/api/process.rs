//! `ExpertAlloc` for the compiler and the layers below: the global allocator, and the
//! home of the process's experts.

use core::alloc::{GlobalAlloc, Layout};

use crate::api::global::ExpertAlloc;
use crate::api::observer;
use crate::engine::{Engine, HOST_KEY, Who};
use crate::expert::events::{Event, Refusal, Verdict};
use crate::expert::home::{Ambient, Home, sealed::Sealed};
use crate::expert::owned_name::{NameCopy, OwnedName};
use crate::expert::registry::Registry;
use crate::heap::{self, HostEngine};
use crate::key::ExpertKey;

static REGISTRY: Registry<<HostEngine as Engine>::Owner, OwnedName> = Registry::new();

// SAFETY: the heap gives blocks as the layouts ask, never twice, and does not unwind.
unsafe impl GlobalAlloc for ExpertAlloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        heap::alloc(layout)
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        heap::alloc_zeroed(layout)
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the trait's contract is that of the heap.
        unsafe { heap::dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the trait's contract is that of the heap.
        unsafe { heap::realloc(block, layout, new_size) }
    }
}

impl Sealed for ExpertAlloc {}

// SAFETY: S1 and S2: there is one engine and one registry in the process.
// S3: is the heap's promise.
unsafe impl Home for ExpertAlloc {
    type Engine = HostEngine;
    type Text = NameCopy;
    type Name = OwnedName;
    type Pin = heap::Pin;

    #[inline]
    fn engine(self) -> HostEngine {
        HostEngine
    }

    #[inline]
    fn registry<'a>(self) -> &'a Registry<<HostEngine as Engine>::Owner, OwnedName> {
        &REGISTRY
    }

    #[inline]
    fn pin(self, key: ExpertKey) -> heap::Pin {
        heap::pin(key)
    }

    fn as_host<T>(self, f: impl FnOnce() -> T) -> T {
        /// Restores the earlier scope, also when `f` panics.
        struct Leave(heap::Entered);

        impl Drop for Leave {
            fn drop(&mut self) {
                heap::leave(self.0);
            }
        }

        let _leave = Leave(heap::enter(HostEngine.host()));
        f()
    }

    fn is_observed(self) -> bool {
        observer::is_observed()
    }

    fn tell(self, event: &Event) {
        observer::tell(event);
    }

    fn ask(self, refusal: &Refusal) -> Verdict {
        observer::ask(refusal)
    }

    #[inline]
    fn is_same(self, _: Self) -> bool {
        true
    }
}

// SAFETY: S1 is the heap's promise.
unsafe impl Ambient for ExpertAlloc {
    type Entered = heap::Entered;

    #[inline]
    fn enter(self, who: Who<'_, <HostEngine as Engine>::Owner>) -> heap::Entered {
        heap::enter(who)
    }

    #[inline]
    fn has_entered(entered: heap::Entered) -> bool {
        entered.is_noted()
    }

    #[inline]
    fn leave(self, entered: heap::Entered) {
        heap::leave(entered);
    }

    #[cfg(feature = "capi")]
    fn leave_all(self, entered: heap::Entered) {
        heap::leave_all(entered);
    }

    fn current(self) -> Option<ExpertKey> {
        Some(heap::current_key()).filter(|&key| key != HOST_KEY)
    }
}
