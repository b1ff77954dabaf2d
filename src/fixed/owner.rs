//! The engine's part of an owner, and the way from a block's tag to it.
//!
//! A tag is the slot of the owner's key. The expert layer knows which owner has which slot,
//! and tells the engine through a [`Directory`]. So the scarce memory does not hold the
//! table of owners twice.
//!
//! - OWNER1 an owner's counts are changed under the engine's lock only; they are atomic so
//!   that shared references can change them, and `Relaxed` because the lock orders them.
//! - OWNER2 `allocations - frees` is the number of the owner's live blocks, and
//!   `bytes` the sum of their sizes, headers included.

use super::header::HEADER;
use crate::account::Account;
use crate::engine::Usage;
use crate::key::ExpertKey;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// The owners by their slots.
///
/// # Safety
///
/// - S1 once [`find`](Self::find) has found a slot, it finds the slot with the same account
///   and owner as long as blocks with its tag exist.
pub unsafe trait Directory: Send + Sync {
    /// The owner with this slot, which is not the host's; `None` for a slot that was
    /// never taken.
    fn find(&self, slot: usize) -> Option<Entry<'_>>;

    /// Calls `f` for every owner in the directory.
    #[cfg(feature = "testing")]
    fn for_each(&self, f: &mut dyn FnMut(&Owner));
}

/// An entry of a directory: one owner.
pub struct Entry<'a> {
    /// The key; `None` once it is no longer valid.
    pub key: Option<ExpertKey>,
    /// The account that the owner's blocks are charged to.
    pub account: &'a Account,
    /// The engine's own counts.
    pub owner: &'a Owner,
}

/// The engine's part of an expert's slot. The counts of blocks are modulo the
/// size of a word: 2^32 on 32-bit targets.
#[derive(Debug)]
pub struct Owner {
    allocations: AtomicUsize,
    frees: AtomicUsize,
    bytes: AtomicUsize,
}

impl Owner {
    /// An owner that owns nothing.
    pub const fn new() -> Self {
        Self {
            allocations: AtomicUsize::new(0),
            frees: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Counts `blocks` more, of `bytes` together.
    #[inline]
    pub fn gain(&self, blocks: usize, bytes: usize) {
        add(&self.allocations, blocks);
        add(&self.bytes, bytes);
    }

    /// Counts `blocks` fewer, of `bytes` together.
    #[inline]
    pub fn lose(&self, blocks: usize, bytes: usize) {
        add(&self.frees, blocks);
        add(&self.bytes, bytes.wrapping_neg());
    }

    /// Counts `bytes` more (or, modulo the size of a word, fewer) in the same
    /// blocks.
    #[inline]
    pub fn resize(&self, bytes: usize) {
        add(&self.bytes, bytes);
    }

    /// Whether the owner has no live block.
    pub fn is_empty(&self) -> bool {
        self.allocations.load(Relaxed) == self.frees.load(Relaxed)
    }

    /// Starts the counts afresh.
    pub fn reset(&self) {
        for count in [&self.allocations, &self.frees, &self.bytes] {
            count.store(0, Relaxed);
        }
    }

    /// The counts, as the expert layer wants them.
    pub fn usage(&self) -> Usage {
        let (allocations, frees) = (self.allocations.load(Relaxed), self.frees.load(Relaxed));
        let live_blocks = allocations.wrapping_sub(frees);
        let headers = live_blocks.wrapping_mul(HEADER);
        Usage {
            live_blocks,
            live_bytes: self.bytes.load(Relaxed).wrapping_sub(headers),
            allocations: allocations as u64,
            frees: frees as u64,
        }
    }
}

#[inline]
fn add(count: &AtomicUsize, more: usize) {
    count.store(count.load(Relaxed).wrapping_add(more), Relaxed);
}
