//! The remote free list of a span: blocks that other threads have freed.
//!
//! One 32-bit word holds everything, so that one compare-exchange pushes a
//! block, counts it, and learns whether the span was abandoned.
//!
//! ```text
//!   31          30        29           16 15                      0
//!  +-----------+---------+---------------+-------------------------+
//!  | abandoned | unused  | blocks        | first block: offset / 16 + 1, 0: none |
//!  +-----------+---------+---------------+-------------------------+
//! ```
//!
//! Invariants
//!
//! - REMOTE1 `blocks` is the length of the list that begins at `first`.
//! - REMOTE2 blocks are only pushed one by one and taken all at once, so there is no ABA
//!   problem when a block becomes the first again.

use crate::sync::{AtomicU32, Ordering};

const FIRST: u32 = 0xFFFF;
const ONE: u32 = 1 << 16;
const COUNT: u32 = 0x3FFF << 16;
const ABANDONED: u32 = 1 << 31;

/// A reading of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteState(u32);

impl RemoteState {
    /// How many blocks the list has.
    pub const fn count(self) -> u32 {
        (self.0 & COUNT) >> 16
    }

    /// The first block, as its offset from the span's start in bytes.
    pub const fn first(self) -> Option<usize> {
        match (self.0 & FIRST) as usize {
            0 => None,
            place => Some((place - 1) * 16),
        }
    }

    /// Whether no thread owns the span.
    pub const fn is_abandoned(self) -> bool {
        self.0 & ABANDONED != 0
    }
}

/// The word. See the module.
#[derive(Debug)]
pub struct Remote(AtomicU32);

impl Remote {
    /// An empty list of an owned span; elsewhere that is a word of zero.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Reads the state of the list.
    #[inline]
    pub fn state(&self) -> RemoteState {
        // Acquire: the pushed blocks (the Release in `push`): because of the count alone, a
        // span may be ended and its memory used again.
        RemoteState(self.0.load(Ordering::Acquire))
    }

    /// Orders the writes of the last users of the blocks that the caller has counted in
    /// [`state`](Self::state) before the next use of these blocks.
    pub fn see_pushed(&self) {
        // Acquire: the pushed blocks (the Release in `push`). The word is read again, so it
        // is the counted one or a later one.
        self.0.load(Ordering::Acquire);
    }

    /// Pushes the block at `offset` bytes from the span's start. Before each attempt,
    /// `link` gets the state under the push, and returns whether to go on. Returns the
    /// state after the push, or `None` if `link` refused or the count is full, which
    /// happens only if blocks are freed again and again.
    #[inline]
    pub fn push(
        &self,
        offset: usize,
        mut link: impl FnMut(RemoteState) -> bool,
    ) -> Option<RemoteState> {
        let place = (offset / 16 + 1) as u32;
        // Acquire, here and in a failed exchange: the writes of a leaving thread before it
        // marked the span (the Release in `set_abandoned`), for `link`.
        let mut old = self.0.load(Ordering::Acquire);
        loop {
            if old & COUNT == COUNT || !link(RemoteState(old)) {
                return None;
            }
            let new = (old & !FIRST | place) + ONE;
            // Release: the block's link and guard, and all that its user wrote,
            // come before it can be taken (the Acquire in `take`).
            match self.0.compare_exchange_weak(old, new, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return Some(RemoteState(new)),
                Err(current) => old = current,
            }
        }
    }

    /// Takes the whole list, and returns whether the span is abandoned, which does not
    /// change.
    pub fn take(&self) -> RemoteState {
        // Acquire: the pushed blocks (the Release in `push`).
        RemoteState(self.0.fetch_and(ABANDONED, Ordering::Acquire))
    }

    /// Marks the span as abandoned, or as owned. Returns the new state.
    pub fn set_abandoned(&self, abandoned: bool) -> RemoteState {
        // Release: the leaving thread's writes to the span's lists, for a thread that sees
        // the mark; the heap's lock orders the rest.
        let old = if abandoned {
            self.0.fetch_or(ABANDONED, Ordering::AcqRel)
        } else {
            self.0.fetch_and(!ABANDONED, Ordering::AcqRel)
        };
        RemoteState(if abandoned { old | ABANDONED } else { old & !ABANDONED })
    }

    /// Empties the list of a span that begins or ends.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
