//! Blocks that nobody uses, and lists of them.
//!
//! ```text
//!  word 0     word 1
//!  +----------+----------------------+-- --+
//!  | next     | own address ^ secret |     |
//!  +----------+----------------------+-- --+
//! ```
//!
//! Word 1 is the *guard*: a free that finds it in place is a second free.
//! It is wiped when the block is handed out, and a program that does not read
//! freed memory cannot learn the secret.

use core::ptr::NonNull;

use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// The process's secret: set once, before the first block is made, by the
/// arena; 0 only while no block exists.
static SECRET: AtomicUsize = AtomicUsize::new(0);

/// Sets the secret, the first time only.
pub fn set_secret(word: usize) {
    // Odd, so that it is never 0 and the guard never equals the address.
    // A race is decided by the first; nothing is published by it.
    let _ = SECRET.compare_exchange(0, word | 1, Relaxed, Relaxed);
}

/// The guard of a free block at `address`.
#[inline(always)]
pub fn guard_of(address: usize) -> usize {
    address ^ SECRET.load(Relaxed)
}

/// What a raw block that is live carries in its second word instead.
#[inline]
pub fn live_mark_of(address: usize) -> usize {
    !guard_of(address)
}

#[repr(C)]
struct Links {
    next: Option<FreeBlock>,
    guard: usize,
}

/// A block that nobody uses.
///
/// # Invariants
///
/// - F1 non-null, aligned to 16 bytes, provenance over the whole chunk.
/// - F2 nothing else reads or writes its bytes, except an untrusted look at
///   the guard.
/// - F3 word 0 holds an initialised link, word 1 the guard.
#[must_use = "dropping a free block leaks it"]
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct FreeBlock(NonNull<Links>);

/// A last-in, first-out list of free blocks, threaded through them.
pub type FreeList = Option<FreeBlock>;

impl FreeBlock {
    /// Makes a free block of `memory`, in front of `next`.
    ///
    /// # Safety
    ///
    /// - S1 `memory` is 16 bytes or more, aligned to 16, with the chunk's
    ///   provenance, and the caller gives up its use.
    #[inline(always)]
    pub unsafe fn new(memory: NonNull<u8>, next: FreeList) -> Self {
        let block: NonNull<Links> = memory.cast();
        let links = Links { next, guard: guard_of(memory.addr().get()) };
        // SAFETY: S1: room, alignment and exclusive use.
        unsafe { block.write(links) };
        Self(block)
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
        // SAFETY: F1 and F3.
        unsafe { (*self.0.as_ptr()).next }
    }

    /// Puts `next` behind this block.
    #[inline(always)]
    pub fn set_next(self, next: FreeList) {
        // SAFETY: F1 and F2.
        unsafe { (*self.0.as_ptr()).next = next };
    }

    /// Hands the block out: wipes the guard.
    #[inline(always)]
    pub fn take(self) -> NonNull<u8> {
        // SAFETY: F1 and F2.
        unsafe { (*self.0.as_ptr()).guard = 0 };
        self.0.cast()
    }

    /// The block's address.
    #[inline(always)]
    pub fn addr(self) -> usize {
        self.0.addr().get()
    }

    /// The list that begins here, block by block.
    pub fn iter(self) -> impl Iterator<Item = FreeBlock> {
        core::iter::successors(Some(self), |block| block.next())
    }
}

/// Whether the block at `memory` carries the guard of a free block.
///
/// # Safety
///
/// - S1 `memory` is the start of a block of this heap, so that 16 bytes can be
///   read. Another thread may be writing them: the read is one atomic word and
///   its value is only compared.
#[inline(always)]
pub unsafe fn has_guard(memory: NonNull<u8>) -> bool {
    // SAFETY: S1.
    (unsafe { second_word(memory) }).load(Relaxed) == guard_of(memory.addr().get())
}

/// The second word of a block, as an atomic.
///
/// # Safety
///
/// - S1 as for [`has_guard`], for as long as the reference is used.
#[inline(always)]
pub unsafe fn second_word<'a>(memory: NonNull<u8>) -> &'a AtomicUsize {
    let word = memory.cast::<AtomicUsize>();
    // SAFETY: S1: the second of at least two words.
    let word = unsafe { word.add(1) };
    // SAFETY: S1: in bounds and aligned to a word.
    unsafe { word.as_ref() }
}
