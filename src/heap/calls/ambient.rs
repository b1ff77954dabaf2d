//! Allocate and free: the calls of the global allocator.
//!
//! The steps of two calls (`resize.rs` has a third):
//!
//! 1. `alloc` of an ambient block pops the class's bin of the thread's current cache. It
//!    takes no lock and no atomic operation, and does not look at the owner, because the
//!    cache is the owner's.
//! 2. `dealloc` finds the header by mask and shift. If the span is this thread's, it pushes
//!    the block to the local list, otherwise to the remote list. The block's owner does not
//!    matter.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use super::common::{self, Limit};
use super::free;
use super::large::{self, Purpose};
use super::requests;
use super::seated::allocate_at;
use crate::engine::HOST_KEY;
use crate::error::Error;
use crate::heap::base::geometry::SLICE;
use crate::heap::base::paths::{self, Path};
use crate::heap::base::refused;
use crate::heap::base::size_class::{self, BinPlace};
use crate::heap::caches::cache::{Cache, EMPTY};
use crate::heap::lives::arrival;
use crate::heap::owners::numbers;
use crate::heap::presence::exit;
use crate::heap::spans::free_block;
use crate::heap::spans::span;
use crate::heap::threads::current;
use crate::heap::threads::thread;
use crate::heap::threads::thread::tending;

/// Allocates for the thread's current owner. Returns null if that fails.
#[inline(always)]
pub fn alloc(layout: Layout) -> *mut u8 {
    match size_class::looked_up(layout) {
        Some(place) => match current::current().pop(place) {
            Some(block) => block.as_ptr(),
            None => ambient_slow(place),
        },
        None => ambient_unusual(layout, false),
    }
}

/// Allocates zero-filled memory for the thread's current owner. Returns null if that fails.
#[inline(always)]
pub fn alloc_zeroed(layout: Layout) -> *mut u8 {
    if size_class::looked_up(layout).is_none() {
        return ambient_unusual(layout, true);
    }
    let block = alloc(layout);
    zero(block, layout);
    block
}

/// Zeroes a block that was just handed out; for null, does nothing.
#[inline]
fn zero(block: *mut u8, layout: Layout) {
    if let Some(block) = NonNull::new(block) {
        // SAFETY: a fresh block of at least that many bytes.
        unsafe { free_block::zero(block, layout.size()) };
    }
}

/// Frees a block of any owner.
///
/// # Safety
///
/// - S1 `block` was allocated here for a layout that `layout` fits, and is live; or it was
///   and is now free: such a free is noticed and refused.
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
    let header = unsafe { span::header_of(block.addr()) };
    // SAFETY: S1 and S2 are handed on.
    unsafe { free::free(header, memory) };
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
        _ => refused::refuse(),
    }
}

/// Returns a pointer, not a result, because one register lets the fast path end with a jump
/// here and need no stack.
#[cold]
#[inline(never)]
fn ambient_slow(place: BinPlace) -> *mut u8 {
    let cache = current::current();
    if cache.serves(place.class()) {
        return ambient_own(place, cache);
    }
    match common::hand_out_at_once(cache, place) {
        Some(block) => block.as_ptr(),
        None => ambient_refill(place),
    }
}

/// The path for an owner at a desk, whose common cache may have an empty bin.
#[cold]
#[inline(never)]
fn ambient_refill(place: BinPlace) -> *mut u8 {
    match common::refill_and_hand_out(current::current(), place) {
        Some(block) => block.as_ptr(),
        None => ambient_cold(place.class()),
    }
}

/// The path for an owner with spans of its own. It is a function of its own, so the code
/// before it needs no stack.
#[inline(never)]
fn ambient_own(place: BinPlace, cache: &'static Cache) -> *mut u8 {
    match cache.reuse_current(place) {
        Some(block) => block.as_ptr(),
        None => ambient_cold(place.class()),
    }
}

#[cold]
#[inline(never)]
fn ambient_cold(class: usize) -> *mut u8 {
    loop {
        tending::tend();
        let done = ambient_cache().and_then(|cache| allocate_at(cache, class, Limit::Usual));
        exit::after_call(tending::end);
        if done != Err(Error::InvalidKey) {
            return pointer(done);
        }
        // The owner of the current scope has ended, so the block is the host's.
        paths::entered(Path::HeapMoved);
        thread::known().inspect(|thread| thread.sit_down());
    }
}

/// The path for requests that the fast path does not look up: larger ones, or aligned
/// beyond 16 bytes.
#[inline(never)]
fn ambient_unusual(layout: Layout, zeroed: bool) -> *mut u8 {
    let Some(class) = requests::class_of(layout) else { return ambient_large(layout, zeroed) };
    let place = BinPlace::of_class(class);
    let block = match current::current().pop(place) {
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
    loop {
        tending::tend();
        let number = thread::known().and_then(|thread| thread.scopes().current());
        // The scope's line holds the number: the key is the owner's or, once that has
        // ended, the host's.
        let key = number.and_then(|number| numbers::entry(number).key());
        let done = match number.zip(key.filter(|&key| key != HOST_KEY)) {
            None => requests::allocate_for_host(layout, zeroed, Purpose::New),
            Some((number, key)) => {
                requests::allocate_large_for(number, key, layout, zeroed, Purpose::New)
            }
        };
        exit::after_call(tending::end);
        if done != Err(Error::InvalidKey) {
            return pointer(done);
        }
        paths::entered(Path::HeapMoved);
    }
}

/// The thread's current cache; the host's if it has none yet.
fn ambient_cache() -> Result<&'static Cache, Error> {
    let cache = current::current();
    if !ptr::eq(cache, &EMPTY) {
        return Ok(cache);
    }
    let host = arrival::host_cache().ok_or(Error::OutOfMemory)?;
    current::set_current(host);
    Ok(host)
}

/// The result of a call of a global allocator: null if there is no block.
pub fn pointer(allocated: Result<NonNull<u8>, Error>) -> *mut u8 {
    allocated.map_or(ptr::null_mut(), NonNull::as_ptr)
}
