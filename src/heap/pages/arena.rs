//! The arena: all chunks of the process, and runs of slices out of them.
//!
//! The arena has one lock, which is taken once for each span that begins or ends (64 KiB or
//! more), never for a block. This file has the lists and the counts; [`runs`](super::runs)
//! hands slices out and takes them back, [`growth`](super::growth) maps chunks and
//! [`release`](super::release) unmaps them, and [`purging`](super::purging) decides which
//! physical pages go back.
//!
//! Invariants
//!
//! - ARENA1 a chunk that is not huge is on the list iff it has a free slice.
//! - ARENA2 over all chunks except huge ones, `used` is the number of slices that spans have,
//!   and `dirty` the number of dirty slices; `huge` is the bytes of huge chunks with a block.
//!   When a span has come back, the dirty slices are at most [`MOST_DIRTY`] and a quarter of
//!   the used ones. When all spans of an owner come back, this holds for the slices that came
//!   before. Kept mappings have the same bound when one is added.

use core::cell::Cell;

use super::bitmap::SliceSet;
use super::chunk::{Chunk, ChunkList};
use super::kept::Kept;
use crate::heap::base::geometry::SLICE;
use crate::heap::base::paths::{self, Path};
use crate::lock::Lock;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// How many free slices may have physical pages, in addition to a quarter of those in use.
const MOST_DIRTY: usize = (12 << 20) / SLICE;
/// The arena, while its lock is held.
pub struct Arena {
    /// Chunks with free slices (ARENA1); the chunk that slices came back to last is the
    /// first.
    listed: ChunkList,
    /// Huge mappings without a block (see `huge`).
    pub(super) kept: Kept,
    /// Chunks that could not be unmapped; they are in no other list and not in the map.
    pub(super) stranded: ChunkList,
    /// Slices that spans have, and free ones that may have physical pages (ARENA2).
    used: Cell<usize>,
    pub(super) dirty: Cell<usize>,
    pub(super) huge: Cell<usize>,
    pub(super) runs: Cell<u32>,
    pub(super) last_tick: Cell<u64>,
}

// SAFETY: chunk records may be used by any thread, under the lock.
unsafe impl Send for Arena {}

pub(super) static ARENA: Lock<Arena> = Lock::new(Arena {
    listed: ChunkList::new(),
    kept: Kept::new(),
    stranded: ChunkList::new(),
    used: Cell::new(0),
    dirty: Cell::new(0),
    huge: Cell::new(0),
    runs: Cell::new(0),
    last_tick: Cell::new(0),
});

/// How many chunks are mapped. It is a statistic and orders nothing.
pub(super) static CHUNKS: AtomicUsize = AtomicUsize::new(0);

/// It is a statistic and orders nothing.
static PURGED_SLICES: AtomicUsize = AtomicUsize::new(0);
/// Chunks mapped now, huge ones included.
pub fn chunks() -> usize {
    CHUNKS.load(Relaxed)
}

/// Slices purged so far.
pub fn purged_slices() -> usize {
    PURGED_SLICES.load(Relaxed)
}

/// Runs `f` with the arena, under its lock.
pub fn with<T>(f: impl FnOnce(&Arena) -> T) -> T {
    f(&ARENA.lock())
}

/// Takes the arena's lock without a guard, for `fork`.
#[cfg(unix)]
pub fn lock_forever() {
    ARENA.lock_forever();
}

/// Undoes [`lock_forever`].
///
/// # Safety
///
/// - S1 as for `tables::unlock`.
#[cfg(unix)]
pub unsafe fn unlock() {
    // SAFETY: S1.
    unsafe { ARENA.force_unlock() };
}

/// Calls `f` with each chunk that has free slices, under the lock.
#[cfg(feature = "testing")]
pub fn for_each_listed(mut f: impl FnMut(&'static Chunk)) {
    ARENA.lock().chunks().for_each(&mut f);
}

/// Calls `f` with each huge chunk that is kept without a block, and returns the
/// sum of their lengths as counted, under the lock.
#[cfg(feature = "testing")]
pub fn for_each_kept(mut f: impl FnMut(&'static Chunk)) -> usize {
    let arena = ARENA.lock();
    arena.kept.chunks().for_each(&mut f);
    arena.kept.bytes()
}

/// How many chunks could not be unmapped and are not used.
#[cfg(feature = "testing")]
pub fn stranded() -> usize {
    let arena = ARENA.lock();
    arena.stranded.iter().count()
}

fn note_purged(slices: usize) {
    if slices > 0 {
        paths::entered(Path::Purged);
    }
    PURGED_SLICES.fetch_add(slices, Relaxed);
}

impl Arena {
    /// How many free slices may have physical pages, and how many kept mappings may have.
    pub(super) fn most_dirty(&self) -> usize {
        MOST_DIRTY + (self.used.get() + self.huge.get() / SLICE) / 4
    }

    /// Gives back the pages of the slices in `which`, a part of the dirty ones.
    pub(super) fn purge(&self, chunk: &'static Chunk, which: SliceSet) {
        if !which.is_empty() {
            note_purged(self.change(chunk, |chunk| chunk.purge(which)));
        }
    }

    /// Runs `f`, which changes the free or dirty slices of a chunk, and updates the counts.
    pub(super) fn change<T>(
        &self,
        chunk: &'static Chunk,
        f: impl FnOnce(&'static Chunk) -> T,
    ) -> T {
        let (free, dirty) = (chunk.free.get().len(), chunk.dirty.get().len());
        let done = f(chunk);
        let (now_free, now_dirty) = (chunk.free.get().len(), chunk.dirty.get().len());
        self.used.set(self.used.get().wrapping_add(free).wrapping_sub(now_free));
        self.dirty.set(self.dirty.get().wrapping_add(now_dirty).wrapping_sub(dirty));
        done
    }

    /// The chunks of the list.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &'static Chunk> {
        self.listed.iter()
    }

    /// Puts `chunk`, which has free slices, on the list (ARENA1).
    pub(super) fn list(&self, chunk: &'static Chunk) {
        self.listed.push_front(chunk);
        chunk.is_listed.set(true);
    }

    /// Makes `chunk`, to which slices came back, the first of the list.
    pub(super) fn list_first(&self, chunk: &'static Chunk) {
        if self.listed.first().is_some_and(|first| core::ptr::eq(first, chunk)) {
            return;
        }
        if chunk.is_listed.get() {
            self.unlist(chunk);
        }
        self.list(chunk);
    }

    /// Takes `chunk` off the list.
    pub(super) fn unlist(&self, chunk: &'static Chunk) {
        self.listed.remove(chunk);
        chunk.is_listed.set(false);
    }
}
