//! Free blocks, and lists of them.
//!
//! ```text
//!  word 0     word 1
//!  +----------+------------------------+-- --+
//!  | next     | own address + DISTANCE |     |
//!  +----------+------------------------+-- --+
//! ```
//!
//! Word 1 is the *guard*. A free writes it without reading the block; handing out checks it
//! and wipes it. So a block that was freed twice is handed out once: when its turn comes
//! again, the guard is gone. The distance is a constant: the guard finds mistakes, and is
//! no defence against a program that writes guards on purpose.

use core::ptr::{self, NonNull};

use crate::sync::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

/// The distance of a guard from its block's address: odd, and far larger than any
/// block, so that no pointer into or behind a block looks like a guard.
const DISTANCE: usize = 0x2545_F491;

/// The guard of a free block at `address`.
#[inline(always)]
pub const fn guard_of(address: usize) -> usize {
    address.wrapping_add(DISTANCE)
}

/// Whether the block at `memory` carries the guard of a free block.
///
/// # Safety
///
/// - S1 `memory` is the start of a block of this heap, of 16 bytes or more.
#[inline(always)]
pub unsafe fn has_guard(memory: NonNull<u8>) -> bool {
    // SAFETY: S1.
    (unsafe { second_word(memory) }).load(Relaxed) == guard_of(memory.addr().get())
}

/// The two words of a free block, in bytes. The code that hands out a block has
/// written them; the rest is as it was left.
pub const WORDS: usize = 2 * size_of::<usize>();

#[repr(C)]
struct Links {
    next: FreeList,
    guard: usize,
}

/// The end of a list. It looks like a block without its guard, so taking a block needs one
/// test, not two.
static END: Links = Links { next: FreeList(ptr::null()), guard: 0 };

// SAFETY: never written.
unsafe impl Sync for Links {}

/// A free block.
///
/// # Invariants
///
/// - FREE1 non-null, aligned to 16 bytes, provenance over the whole chunk.
/// - FREE2 nothing else reads or writes its bytes, except an untrusted look at
///   the guard.
/// - FREE3 word 0 holds an initialised link, word 1 the guard.
#[must_use = "dropping a free block leaks it"]
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct FreeBlock(NonNull<Links>);

/// A last-in, first-out list of free blocks, threaded through them.
///
/// # Invariants
///
/// - FREE4 it points to a free block of the list, or to [`END`].
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct FreeList(*const Links);

impl FreeList {
    /// The list without blocks.
    pub const EMPTY: Self = Self(&raw const END);

    /// Whether the list is empty.
    #[inline]
    pub fn is_empty(self) -> bool {
        ptr::eq(self.0, &raw const END)
    }

    /// The first block.
    #[inline]
    pub fn first(self) -> Option<FreeBlock> {
        let first = NonNull::new(self.0.cast_mut()).filter(|_| !self.is_empty());
        first.map(FreeBlock)
    }

    /// Hands out the first block, if there is one and its guard is in place, and returns it
    /// with the list of the others.
    #[inline(always)]
    pub fn pop(self) -> Option<(NonNull<u8>, Self)> {
        // SAFETY: FREE4; the end is not null either.
        let first = FreeBlock(unsafe { NonNull::new_unchecked(self.0.cast_mut()) });
        // The end has no guard.
        if !first.is_guarded() {
            return None;
        }
        let next = first.next();
        Some((first.take(), next))
    }

    /// The list as a pointer, for a prefetch.
    #[inline(always)]
    pub fn as_ptr(self) -> *const i8 {
        self.0.cast()
    }

    /// All blocks, in order.
    pub fn iter(self) -> impl Iterator<Item = FreeBlock> {
        core::iter::successors(self.first(), |block| block.next().first())
    }
}

impl Default for FreeList {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl From<FreeBlock> for FreeList {
    #[inline(always)]
    fn from(block: FreeBlock) -> Self {
        Self(block.0.as_ptr())
    }
}

impl FreeBlock {
    /// Makes a free block of `memory`, in front of `next`.
    ///
    /// # Safety
    ///
    /// - S1 `memory` is 16 bytes or more, aligned to 16, with the chunk's
    ///   provenance, and the caller gives up its use.
    #[inline(always)]
    pub unsafe fn new(memory: NonNull<u8>, next: FreeList) -> Self {
        // SAFETY: S1: room and alignment. Relaxed: a raw call with a stale address may be
        // reading this word, and only compares the value.
        (unsafe { second_word(memory) }).store(guard_of(memory.addr().get()), Relaxed);
        let block = Self(memory.cast());
        block.set_next(next);
        block
    }

    /// The free block that lies at `memory`.
    ///
    /// # Safety
    ///
    /// - S1 a free block was made there, it is on a list that the caller has
    ///   taken over, and `memory` has the chunk's provenance.
    pub unsafe fn listed(memory: NonNull<u8>) -> Self {
        Self(memory.cast())
    }

    /// The block behind this one.
    #[inline(always)]
    pub fn next(self) -> FreeList {
        // SAFETY: FREE1 and FREE3.
        unsafe { (*self.0.as_ptr()).next }
    }

    /// Puts `next` behind this block.
    #[inline(always)]
    pub fn set_next(self, next: FreeList) {
        // SAFETY: FREE1 and FREE2. Relaxed: as in `new`; in a raw block this word was
        // the size.
        (unsafe { self.0.cast::<AtomicPtr<Links>>().as_ref() }).store(next.0.cast_mut(), Relaxed);
    }

    /// Whether the guard is in place, so the block is really free.
    #[inline(always)]
    pub fn is_guarded(self) -> bool {
        // SAFETY: FREE1: readable; if a program that freed it twice still uses it, the
        // value is only compared.
        unsafe { (*self.0.as_ptr()).guard == guard_of(self.addr()) }
    }

    /// Hands the block out: wipes the guard.
    #[inline(always)]
    fn take(self) -> NonNull<u8> {
        // SAFETY: FREE1. Relaxed: as in `new`.
        (unsafe { second_word(self.0.cast()) }).store(0, Relaxed);
        self.0.cast()
    }

    /// The block's address.
    #[inline(always)]
    pub fn addr(self) -> usize {
        self.0.addr().get()
    }
}

/// Zeroes a block that was just handed out. Its second word is already 0 and is not written
/// again, because a thread with a stale address may be reading it.
///
/// # Safety
///
/// - S1 `memory` is such a block, of at least `bytes` bytes and at least two words.
#[inline]
pub unsafe fn zero(memory: NonNull<u8>, bytes: usize) {
    // SAFETY: S1: the first word. Relaxed: as in `FreeBlock::set_next`.
    (unsafe { memory.cast::<AtomicUsize>().as_ref() }).store(0, Relaxed);
    if let Some(rest @ 1..) = bytes.checked_sub(WORDS) {
        // SAFETY: S1: inside the block.
        let behind = unsafe { memory.add(WORDS) };
        // SAFETY: S1: the rest of the block, which no other code uses yet.
        unsafe { behind.write_bytes(0, rest) };
    }
}

/// The second word of a block, as an atomic.
///
/// # Safety
///
/// - S1 `memory` is the start of a block of this heap, so that 16 bytes can be read for as
///   long as the reference is used. Another thread may be writing them, so each read is of
///   one atomic word, and its value is only compared.
#[inline(always)]
pub unsafe fn second_word<'a>(memory: NonNull<u8>) -> &'a AtomicUsize {
    let word = memory.cast::<AtomicUsize>();
    // SAFETY: S1: the second of at least two words.
    let word = unsafe { word.add(1) };
    // SAFETY: S1: in bounds and aligned to a word.
    unsafe { word.as_ref() }
}
