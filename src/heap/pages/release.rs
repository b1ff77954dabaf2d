//! Chunks without a span, and their way back to the page source.
//!
//! A chunk is not unmapped while a thread may be looking at it (PIN1), and the system may
//! refuse to take it back. In both cases the chunk is kept, and given back later.

use super::address;
use super::arena::{Arena, CHUNKS};
use super::chunk::{Chunk, RECORDS};
use super::chunk_map;
use crate::heap::base::geometry::{CHUNK, FIRST_SLICE, SLICE, front_of};
use crate::heap::base::paths::{self, Path};
use crate::heap::presence::visits;
use crate::source;
use crate::sync::Ordering::Relaxed;

impl Arena {
    /// Unmaps a chunk that is in no list and no longer in the map. Returns false, with
    /// nothing changed, if the system does not take it; the caller then keeps it.
    #[must_use = "a chunk that the system has not taken is lost if nobody keeps it"]
    pub(super) fn unmap_chunk(&self, chunk: &'static Chunk) -> bool {
        let (bytes, reserved) = (chunk.bytes(), chunk.reserved());
        // SAFETY: the address of a mapped chunk.
        let mapping = unsafe { address::block_at(chunk.base()) };
        let is_done = if !chunk.is_huge() && bytes < CHUNK {
            let slices = chunk.slices() - FIRST_SLICE;
            let (front, back) = (front_of(slices), slices * SLICE);
            // SAFETY: both parts; no span is in them and no thread looks at them.
            unsafe { source::unmap_pair(mapping, front, FIRST_SLICE * SLICE, back) }
        } else {
            // SAFETY: its whole mapping; no span is in it and no thread looks at it.
            unsafe { source::unmap(mapping, bytes, reserved) }
        };
        if !is_done {
            paths::entered(Path::NotUnmapped);
            return false;
        }
        paths::entered(Path::ChunkReleased);
        CHUNKS.fetch_sub(1, Relaxed);
        RECORDS.give(chunk);
        true
    }

    /// Unmaps all chunks without a block, if no thread is pinned and as far as the system
    /// takes them.
    pub(super) fn release_all(&self) {
        source::give_back_leftovers();
        self.release_stranded();
        self.kept.age();
        while self.release_old() {}
        self.release_empty(0, usize::MAX);
    }

    /// Unmaps at most `most` empty chunks beyond the first `keep`, if no thread is pinned.
    /// Returns whether one was unmapped.
    pub(super) fn release_empty(&self, keep: usize, most: usize) -> bool {
        let mut released = 0;
        for chunk in self.chunks().filter(|chunk| chunk.is_empty()).skip(keep) {
            self.unlist(chunk);
            chunk_map::remove(chunk);
            crate::sync::delay(crate::sync::Window::ReleaseChunk);
            let is_quiet = visits::nobody_else_is_pinned();
            let dirty = chunk.dirty.get().len();
            if is_quiet && self.unmap_chunk(chunk) {
                self.dirty.set(self.dirty.get().saturating_sub(dirty));
                released += 1;
            } else if chunk_map::insert(chunk).is_ok() {
                // The leaves exist, so entering the chunk again cannot fail.
                self.list(chunk);
            }
            if !is_quiet || released == most {
                break;
            }
        }
        released > 0
    }

    /// Unmaps a chunk that is not in the map, now or later, because a part of it may have been
    /// in the map for a moment.
    pub(super) fn unmap_or_strand(&self, chunk: &'static Chunk) {
        if !visits::nobody_else_is_pinned() || !self.unmap_chunk(chunk) {
            self.stranded.push_front(chunk);
        }
    }

    /// Tries again to unmap chunks that could not be unmapped.
    pub(super) fn release_stranded(&self) {
        // Chunks that are stranded again come in front, where this loop does not look.
        for chunk in self.stranded.iter() {
            self.stranded.remove(chunk);
            self.unmap_or_strand(chunk);
        }
    }

    /// Keeps a huge chunk without a block, or unmaps it if no thread is pinned.
    pub fn give_huge(&self, chunk: &'static Chunk) {
        chunk.set_start(1, false);
        chunk_map::remove(chunk);
        crate::sync::delay(crate::sync::Window::ReleaseHuge);
        self.huge.set(self.huge.get() - chunk.bytes());
        let most = self.most_dirty() * SLICE;
        if !self.kept.has_room(0, most) && visits::nobody_else_is_pinned() {
            self.kept.trim(most, |old| self.unmap_or_keep(old));
        }
        if self.kept.has_room(chunk.bytes(), most) {
            self.kept.keep(chunk);
        } else if visits::nobody_else_is_pinned() {
            self.unmap_or_keep(chunk);
        } else {
            // A thread might be reading a header of it, so the addresses and slice 0 stay
            // until no thread is pinned.
            paths::entered(Path::HugeKept);
            self.keep_purged(chunk);
        }
    }

    /// Unmaps a huge chunk that is not kept, or keeps it if the system does not take it.
    fn unmap_or_keep(&self, chunk: &'static Chunk) {
        if !self.unmap_chunk(chunk) {
            self.keep_purged(chunk);
        }
    }

    /// Keeps a huge chunk beyond the bound (KEPT2).
    fn keep_purged(&self, chunk: &'static Chunk) {
        chunk.purge_behind(chunk.base() + SLICE);
        self.kept.keep(chunk);
    }

    /// Unmaps a chunk that was kept before the last tick, if there is one and no thread is
    /// pinned. If the system does not take it, it is kept until after the next tick.
    /// Returns whether there was one.
    pub fn release_old(&self) -> bool {
        if !visits::nobody_else_is_pinned() {
            return false;
        }
        self.kept.take_old().inspect(|chunk| self.unmap_or_keep(chunk)).is_some()
    }
}
