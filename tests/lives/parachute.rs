//! The global allocator of this program: the heap under test, with a parachute for failures
//! of its page source. The standard library ends the process when a `Vec` gets no memory,
//! so such a request, which cannot be answered with an error, is answered by the system's
//! allocator. The heap does not know blocks of the parachute.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use expert_alloc::ExpertAlloc;

/// The heap under test.
pub const ALLOC: ExpertAlloc = ExpertAlloc::new();

thread_local! {
    /// Whether this thread's requests may fail.
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };
}

/// Blocks of the system's allocator that are in use.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// How many there were so far.
static OPENED: AtomicUsize = AtomicUsize::new(0);

/// How often the parachute was needed.
pub fn opened() -> usize {
    OPENED.load(Relaxed)
}

/// Blocks of the parachute that are in use.
pub fn live() -> usize {
    LIVE.load(Relaxed)
}

/// Calls `f`, whose requests fail if the heap has no memory. The closure does not panic.
pub fn fallible<T>(f: impl FnOnce() -> T) -> T {
    let before = MAY_FAIL.replace(true);
    let value = f();
    MAY_FAIL.set(before);
    value
}

pub struct WithParachute;

impl WithParachute {
    /// The heap's answer, or the parachute's block.
    fn answer(given: *mut u8, layout: Layout) -> *mut u8 {
        if !given.is_null() || MAY_FAIL.get() {
            return given;
        }
        LIVE.fetch_add(1, Relaxed);
        OPENED.fetch_add(1, Relaxed);
        // SAFETY: the layout is that of a caller of `alloc`, so its size is not 0.
        unsafe { System.alloc_zeroed(layout) }
    }

    /// Whether the parachute gave this block, which is in use.
    fn is_parachutes(block: *mut u8) -> bool {
        LIVE.load(Relaxed) != 0 && ALLOC.owner_of(block).is_none()
    }
}

// SAFETY: each block is the heap's or the system's, tells which, and goes back there.
unsafe impl GlobalAlloc for WithParachute {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's duties are the same.
        Self::answer(unsafe { ALLOC.alloc(layout) }, layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's duties are the same.
        Self::answer(unsafe { ALLOC.alloc_zeroed(layout) }, layout)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if Self::is_parachutes(block) {
            LIVE.fetch_sub(1, Relaxed);
            // SAFETY: of `answer`, with this layout.
            unsafe { System.dealloc(block, layout) };
        } else {
            // SAFETY: the caller's duties are the same; the block is the heap's.
            unsafe { ALLOC.dealloc(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !Self::is_parachutes(block) {
            // SAFETY: the caller's duties are the same; the block is the heap's.
            let given = unsafe { ALLOC.realloc(block, layout, size) };
            if !given.is_null() || MAY_FAIL.get() {
                return given;
            }
        }
        // SAFETY: the caller vouches for size and alignment.
        let to = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the size of a request is not 0.
        let given = unsafe { self.alloc(to) };
        if !given.is_null() {
            // SAFETY: two blocks in use, of at least so many bytes each.
            unsafe { given.copy_from_nonoverlapping(block, size.min(layout.size())) };
            // SAFETY: the caller gives it up where this does not fail.
            unsafe { self.dealloc(block, layout) };
        }
        given
    }
}
