//! Mappings of huge blocks that were freed, kept for a while. A program that frees
//! a block of many megabytes often asks for one again, and a new mapping, with a
//! page fault for every page, costs a thousand times the call.
//!
//! Invariants
//!
//! - KEPT1 a kept chunk is huge, has no span, and is neither in the map nor on the
//!   arena's list.
//! - KEPT2 `bytes` is the sum of the kept chunks' lengths. It is at most the bound of the arena
//!   when the last one came (ARENA2), except for chunks that could not be unmapped, because a
//!   thread was pinned or because the system refused. Their physical pages behind slice 0 were
//!   purged.

use core::cell::Cell;
use core::ops::RangeInclusive;

use super::chunk::{Chunk, ChunkList};

/// The kept mappings. The kept chunks, which belong to the holder of the arena's lock.
pub struct Kept {
    /// Chunks that came since the last tick, the last one first.
    young: ChunkList,
    /// Chunks that were not used since the last tick.
    old: ChunkList,
    bytes: Cell<usize>,
}

impl Kept {
    pub const fn new() -> Self {
        Self { young: ChunkList::new(), old: ChunkList::new(), bytes: Cell::new(0) }
    }

    /// Whether `bytes` more may be kept, if `most` may be kept in all.
    pub fn has_room(&self, bytes: usize, most: usize) -> bool {
        self.bytes.get().saturating_add(bytes) <= most
    }

    /// Keeps `chunk`.
    pub fn keep(&self, chunk: &'static Chunk) {
        self.bytes.set(self.bytes.get().saturating_add(chunk.bytes()));
        self.young.push_front(chunk);
    }

    /// Takes out the chunks that are too many, each once, for `unmap`, which may keep a
    /// chunk again.
    pub fn trim(&self, most: usize, unmap: impl Fn(&'static Chunk)) {
        for chunk in self.chunks() {
            if self.bytes.get() <= most {
                break;
            }
            self.remove(chunk);
            unmap(chunk);
        }
    }

    /// Takes out the smallest chunk whose length is in `lengths`, at a multiple of `align`.
    /// The time grows with the number of kept chunks, which are few.
    pub fn take(&self, lengths: RangeInclusive<usize>, align: usize) -> Option<&'static Chunk> {
        let will_do =
            |chunk: &&Chunk| lengths.contains(&chunk.bytes()) && chunk.base() % align == 0;
        let chunk = self.chunks().filter(will_do).min_by_key(|chunk| chunk.bytes())?;
        self.remove(chunk);
        Some(chunk)
    }

    /// Takes out a chunk that was kept before the last tick, if there is one.
    pub fn take_old(&self) -> Option<&'static Chunk> {
        self.old.first().inspect(|chunk| self.remove(chunk))
    }

    /// A tick: the chunks that are kept now become old.
    pub fn age(&self) {
        while let Some(chunk) = self.young.pop_front() {
            self.old.push_front(chunk);
        }
    }

    /// All of them.
    pub fn chunks(&self) -> impl Iterator<Item = &'static Chunk> + use<> {
        self.young.iter().chain(self.old.iter())
    }

    fn remove(&self, chunk: &'static Chunk) {
        let is_young = self.young.iter().any(|here| core::ptr::eq(here, chunk));
        let list = if is_young { &self.young } else { &self.old };
        list.remove(chunk);
        self.bytes.set(self.bytes.get() - chunk.bytes());
    }
}

#[cfg(feature = "testing")]
impl Kept {
    /// The sum of all lengths, counted for the walker.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }
}
