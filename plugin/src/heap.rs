//! The host's heap as a global allocator.

use core::alloc::{GlobalAlloc, Layout};

use crate::attach::{self, host, library_key};

/// The global allocator of a plug-in: the host's heap, under the key that the plug-in was
/// attached with. Before the plug-in is attached, every request is refused.
///
/// The macros [`plugin!`](crate::plugin) and [`heap!`](crate::heap) define one.
///
/// ```
/// use expert_alloc_plugin::Heap;
/// use std::alloc::{GlobalAlloc, Layout};
///
/// // Not attached: this program has no host.
/// // SAFETY: a layout that is not of size 0.
/// assert!(unsafe { Heap.alloc(Layout::new::<u64>()) }.is_null());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Heap;

// SAFETY: the host gives blocks as the layouts ask, never twice, and does not unwind.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // The function is read first, because the key was stored before it.
        let allocate = attach::allocate();
        allocate(library_key(), layout.size(), layout.align()).cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        (host().allocate_zeroed)(library_key(), layout.size(), layout.align()).cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the trait's contract is the call's.
        unsafe { attach::release()(block.cast(), layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (size, alignment) = (layout.size(), layout.align());
        // SAFETY: the trait's contract is the call's.
        unsafe { (host().resize)(library_key(), block.cast(), size, alignment, new_size) }.cast()
    }
}
