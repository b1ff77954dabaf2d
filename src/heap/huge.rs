//! Huge blocks: a chunk for each, from the system or from what was kept of those
//! that were freed.

use core::ops::RangeInclusive;

use super::arena::{ARENA, Arena};
use super::chunk::Chunk;
use super::chunk_map;
use super::geometry::{CHUNK, SLICE};
use super::paths::{self, Path};
use super::visit;

/// A chunk that a huge block can begin in.
pub struct HugeRun {
    pub chunk: &'static Chunk,
    /// The block's address.
    pub start: usize,
    /// Whether it reads as zero.
    pub is_zero: bool,
}

/// A chunk of its own for one block of `bytes` at `align`, which reads as zero
/// if it has to. The run has no slices, and begins at the block.
pub fn take(bytes: usize, align: usize, zeroed: bool) -> Option<HugeRun> {
    let offset = align.max(SLICE);
    let mapped = bytes.checked_add(offset)?.checked_next_multiple_of(SLICE)?;
    // A length of exactly one chunk would look like an ordinary one.
    let mapped = if mapped <= CHUNK { CHUNK + SLICE } else { mapped };
    let align = align.max(CHUNK);
    // Of what was kept a fifth may lie idle.
    let lengths = mapped..=mapped.max(bytes.saturating_add(bytes / 4));
    let arena = ARENA.lock();
    arena.look_at_clock();
    let (chunk, is_fresh) = match arena.take_kept(lengths, align) {
        Some(chunk) => (chunk, false),
        None => (arena.map_chunk(mapped, align)?, true),
    };
    drop(arena);
    let start = chunk.base() + offset;
    // Nobody else has the chunk: not under the lock.
    let is_zero = is_fresh || zeroed && chunk.purge_behind(start);
    Some(HugeRun { chunk, start, is_zero })
}

impl Arena {
    /// Keeps a huge chunk without a block, or unmaps it, if nobody can be looking
    /// at it.
    pub fn give_huge(&self, chunk: &'static Chunk) {
        chunk.set_start(1, false);
        chunk_map::remove(chunk);
        if self.kept.is_over() && visit::nobody_else_is_pinned() {
            self.kept.trim(|old| self.unmap_chunk(old));
        }
        if self.kept.has_room(chunk.bytes()) {
            self.kept.keep(chunk);
        } else if visit::nobody_else_is_pinned() {
            self.unmap_chunk(chunk);
        } else {
            // Somebody might just read a header of it: the addresses stay, and
            // slice 0, until the threads are quiet.
            paths::entered(Path::HugeKept);
            chunk.purge_behind(chunk.base() + SLICE);
            self.kept.keep(chunk);
        }
    }

    /// A kept chunk of a length in `lengths`, in the map again.
    fn take_kept(&self, lengths: RangeInclusive<usize>, align: usize) -> Option<&'static Chunk> {
        let chunk = self.kept.take(lengths, align)?;
        paths::entered(Path::HugeReused);
        // The leaves exist, so this does not fail.
        if chunk_map::insert(chunk).is_err() {
            self.kept.keep(chunk);
            return None;
        }
        Some(chunk)
    }

    /// Unmaps a chunk that was kept since before the last tick, if there is one and
    /// nobody can be looking at it. Returns whether there was.
    pub fn release_old(&self) -> bool {
        if !visit::nobody_else_is_pinned() {
            return false;
        }
        self.kept.take_old().inspect(|chunk| self.unmap_chunk(chunk)).is_some()
    }
}
