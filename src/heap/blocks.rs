//! Allocate and free: the engine's front door.
//!
//! The life of two calls; of a third, `resize.rs`:
//!
//! 1. `alloc`, ambient: the thread's current cache, the class's bin, pop. No
//!    lock, no atomic operation, no look at the owner: the cache is the owner's.
//! 2. `dealloc`: the header by mask and shift; this thread's? push to the local
//!    list, else to the remote one. Whose it is does not matter.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use super::address;
use super::cache::{Cache, EMPTY};
use super::free_block;
use super::geometry::SLICE;
use super::large::{self, Purpose};
use super::record::Heap;
use super::size_class::{self, CLASSED_MAX, Place};
use super::span::Span;
use super::{local, thread};
use crate::engine::Kind;
use crate::error::Error;
use crate::key::ExpertKey;

/// Allocates for the thread's current owner. Null where that fails.
#[inline(always)]
pub fn alloc(layout: Layout) -> *mut u8 {
    match size_class::looked_up(layout) {
        Some(place) => match thread::current().pop(place) {
            Some(block) => block.as_ptr(),
            None => ambient_slow(place),
        },
        None => ambient_unusual(layout, false),
    }
}

/// Allocates zero-filled memory for the thread's current owner. Null where
/// that fails.
#[inline(always)]
pub fn alloc_zeroed(layout: Layout) -> *mut u8 {
    if size_class::looked_up(layout).is_none() {
        return ambient_unusual(layout, true);
    }
    let block = alloc(layout);
    zero(block, layout);
    block
}

/// Zeroes a block just handed out, if it was.
#[inline]
fn zero(block: *mut u8, layout: Layout) {
    if let Some(block) = NonNull::new(block) {
        // SAFETY: a fresh block of at least that many bytes.
        unsafe { free_block::zero(block, layout.size()) };
    }
}

/// Frees a block, whoever owns it.
///
/// # Safety
///
/// - S1 `block` was allocated here for a layout that `layout` fits, and is
///   live; or it was, and is now free, which is noticed and refused.
/// - S2 the caller gives up its use.
#[inline(always)]
pub unsafe fn dealloc(block: *mut u8, layout: Layout) {
    // SAFETY: S1: not null.
    let memory = unsafe { NonNull::new_unchecked(block) };
    if layout.align() > SLICE {
        // SAFETY: S1 and S2 are handed on.
        return unsafe { dealloc_aligned(memory) };
    }
    // SAFETY: S1: in a mapped chunk; aligned at most to a slice, it does not
    // begin in slice 0.
    let header = unsafe { address::header_of(block.addr()) };
    // SAFETY: S1 and S2 are handed on.
    unsafe { local::free(header, memory) };
}

/// Frees a block that may be aligned beyond a slice.
///
/// # Safety
///
/// - S1, S2 as for [`dealloc`].
#[cold]
unsafe fn dealloc_aligned(memory: NonNull<u8>) {
    match large::find_aligned(memory.addr().get()) {
        // SAFETY: S1 and S2 are handed on.
        Some(span) if span.is_large() => unsafe { large::free(span, memory) },
        _ => local::refuse(),
    }
}

/// The span of a block that is aligned at most to a slice.
///
/// # Safety
///
/// - S1 as for [`dealloc`].
pub unsafe fn span_of(memory: NonNull<u8>) -> &'static Span {
    let address = memory.addr().get();
    // SAFETY: S1, as in `dealloc`.
    let header = unsafe { address::header_of(address) };
    if header.back() == 0 || header.is_large() {
        return header;
    }
    // SAFETY: S6 of the span: its first slice, in the same chunk.
    unsafe { address::header_of(address - header.back() * SLICE) }
}

/// Allocates for `key`, the owner of `heap`, a heap of `kind`, whatever the
/// thread's scope. The kind is told, because the record may be another's by
/// now, and a cache of that kind may be one that has been reclaimed.
///
/// # Errors
///
/// [`Error::OutOfMemory`], [`Error::QuotaExceeded`]; [`Error::InvalidKey`] where
/// the heap is not that of `key` any more, because the host has adopted it.
pub fn allocate_in(
    heap: &'static Heap,
    key: ExpertKey,
    kind: Kind,
    layout: Layout,
    zeroed: bool,
) -> Result<NonNull<u8>, Error> {
    let Some(class) = class_of(layout) else {
        return allocate_large(heap, key, layout, zeroed, Purpose::New);
    };
    thread::tend();
    match thread::find(key, kind) {
        Some(cache) => allocate_from(cache, Place::of_class(class), layout, zeroed),
        None => allocate_first(heap, key, class, layout, zeroed),
    }
}

/// Allocates for `key`, the owner of `heap`, which this thread has no cache for.
///
/// # Errors
///
/// As [`allocate_in`].
pub fn allocate_first(
    heap: &'static Heap,
    key: ExpertKey,
    class: usize,
    layout: Layout,
    zeroed: bool,
) -> Result<NonNull<u8>, Error> {
    allocate_from(thread::attach(heap, key)?, Place::of_class(class), layout, zeroed)
}

/// Allocates from one cache.
///
/// # Errors
///
/// As [`allocate_in`].
#[inline(always)]
pub fn allocate_from(
    cache: &'static Cache,
    place: Place,
    layout: Layout,
    zeroed: bool,
) -> Result<NonNull<u8>, Error> {
    let block = match cache.pop(place) {
        Some(block) => block,
        None => cache.allocate_slow(place.class())?,
    };
    if zeroed {
        // SAFETY: a fresh block of at least that many bytes.
        unsafe { free_block::zero(block, layout.size()) };
    }
    Ok(block)
}

/// Allocates a block that has no class.
///
/// # Errors
///
/// As [`allocate_in`].
pub fn allocate_large(
    heap: &'static Heap,
    key: ExpertKey,
    layout: Layout,
    zeroed: bool,
    purpose: Purpose,
) -> Result<NonNull<u8>, Error> {
    if layout.size() == 0 {
        return Ok(dangling(layout));
    }
    large::allocate(heap, key, layout, zeroed, purpose)
}

/// The class for `layout`; `None` for what is large, and for a size of 0.
#[inline(always)]
pub fn class_of(layout: Layout) -> Option<usize> {
    // One comparison for both: 0 - 1 is the largest number.
    if layout.size().wrapping_sub(1) >= CLASSED_MAX {
        return None;
    }
    size_class::of_layout(layout)
}

/// A non-null pointer, aligned as asked, to nothing.
pub fn dangling(layout: Layout) -> NonNull<u8> {
    let address = ptr::without_provenance_mut(layout.align());
    // An alignment is never 0.
    NonNull::new(address).unwrap_or(NonNull::dangling())
}

/// Returns a pointer, not a result: in one register, so that the fast path
/// ends with a jump here and needs no stack.
#[cold]
#[inline(never)]
fn ambient_slow(place: Place) -> *mut u8 {
    let class = place.class();
    if let Some(block) = thread::current().reuse_current(class) {
        return block.as_ptr();
    }
    thread::tend();
    pointer(ambient_cache().and_then(|cache| match cache.pop(place) {
        Some(block) => Ok(block),
        None => cache.allocate_slow(class),
    }))
}

/// What the fast path does not look up: larger, or aligned beyond 16 bytes.
#[inline(never)]
fn ambient_unusual(layout: Layout, zeroed: bool) -> *mut u8 {
    let Some(class) = class_of(layout) else { return ambient_large(layout, zeroed) };
    let place = Place::of_class(class);
    let block = match thread::current().pop(place) {
        Some(block) => block.as_ptr(),
        None => ambient_slow(place),
    };
    if zeroed {
        zero(block, layout);
    }
    block
}

#[cold]
#[inline(never)]
fn ambient_large(layout: Layout, zeroed: bool) -> *mut u8 {
    thread::tend();
    loop {
        let Ok(cache) = ambient_cache() else { return ptr::null_mut() };
        let heap = cache.heap();
        // `None` and an invalid key: the host is adopting the cache.
        let Some(key) = heap.key() else { continue };
        // What moves to the host's heap does not come back: the key was the
        // owner's, and not that of the next who has the record.
        if !ptr::eq(cache.heap(), heap) {
            continue;
        }
        match allocate_large(heap, key, layout, zeroed, Purpose::New) {
            Err(Error::InvalidKey) => {}
            done => return pointer(done),
        }
    }
}

/// The thread's current cache; the host's where it has none yet.
fn ambient_cache() -> Result<&'static Cache, Error> {
    let cache = thread::current();
    if !ptr::eq(cache, &EMPTY) {
        return Ok(cache);
    }
    let host = thread::host_cache().ok_or(Error::OutOfMemory)?;
    thread::set_current(host);
    Ok(host)
}

/// What the calls of a global allocator return: null where there is no block.
pub fn pointer(allocated: Result<NonNull<u8>, Error>) -> *mut u8 {
    allocated.map_or(ptr::null_mut(), NonNull::as_ptr)
}
