//! Chunks from the page source, and back to it.
//!
//! The system may have no more: then chunks are shorter. And it may take nothing back:
//! then they are kept, and given back later.

use core::ptr::NonNull;

use crate::heap::arena::{Arena, chunks};
use crate::heap::base::geometry::{BLOCK_SLICES, CHUNK, FIRST_SLICE, SLICE, TABLE};
use crate::heap::base::paths::{self, Path};
use crate::heap::base::tables::Pool;
use crate::heap::chunk::Chunk;
use crate::heap::chunk_map;
use crate::heap::visit;
use crate::source;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// How many slices for blocks the shortest chunk has that is mapped where the system has
/// no longer one: 1 MiB.
const FEWEST: usize = (1 << 20) / SLICE;
/// Of the addresses that a limited process may have, a chunk takes one in so many at
/// most: there are to be some for others, and for other chunks.
const SHARE: usize = 16;

/// What a chunk with so many slices for blocks has in front of them, in bytes: headers
/// and tag tables.
const fn front_of(slices: usize) -> usize {
    SLICE + (slices * TABLE).next_multiple_of(SLICE)
}

static RECORDS: Pool<Chunk> = Pool::new();

/// How many chunks are mapped. A statistic: orders nothing.
pub(super) static CHUNKS: AtomicUsize = AtomicUsize::new(0);

impl Arena {
    /// A new chunk with room for `count` slices at a multiple of `align`: a whole one,
    /// or one with fewer slices where addresses are few or the system has no more.
    pub(super) fn grow(&self, count: usize, align: usize) -> Option<&'static Chunk> {
        let least = FIRST_SLICE.next_multiple_of(align) - FIRST_SLICE + count;
        let share = source::address_limit() / SHARE / SLICE;
        let mut slices = BLOCK_SLICES.min(share).max(FEWEST).max(least);
        loop {
            let chunk = match slices < BLOCK_SLICES {
                true => self.map_short(slices),
                false => self.map_chunk(CHUNK, 0, CHUNK, false),
            };
            if let Some(chunk) = chunk {
                self.list(chunk);
                return Some(chunk);
            }
            let fewer = (slices / 2).max(FEWEST).max(least);
            if fewer >= slices {
                return None;
            }
            slices = fewer;
        }
    }

    /// A new chunk with `slices` slices for blocks, fewer than a whole one has: of the
    /// tag tables those of the other slices are not mapped.
    fn map_short(&self, slices: usize) -> Option<&'static Chunk> {
        let chunk = RECORDS.take(|_| ())?;
        let (front, back) = (front_of(slices), slices * SLICE);
        let map = || source::map_pair(front, FIRST_SLICE * SLICE, back, CHUNK);
        let mapping = map().or_else(|| {
            let before = chunks();
            self.release_all();
            (chunks() < before).then(map)?
        });
        let Some(mapping) = mapping else {
            RECORDS.give(chunk);
            return None;
        };
        let bytes = (FIRST_SLICE + slices) * SLICE;
        self.enter(chunk, mapping, bytes, bytes, false)
    }

    /// Enters a chunk with a mapping just made into the map.
    fn enter(
        &self,
        chunk: &'static Chunk,
        mapping: NonNull<u8>,
        bytes: usize,
        reserved: usize,
        is_huge: bool,
    ) -> Option<&'static Chunk> {
        chunk.open(mapping, bytes, reserved, is_huge);
        CHUNKS.fetch_add(1, Relaxed);
        if chunk_map::insert(chunk).is_ok() {
            return Some(chunk);
        }
        // There is no memory for the map.
        self.unmap_or_strand(chunk);
        None
    }

    /// A new chunk of `bytes`, for one huge block or for many, if possible with room to
    /// grow by `room` bytes.
    pub(super) fn map_chunk(
        &self,
        bytes: usize,
        room: usize,
        align: usize,
        is_huge: bool,
    ) -> Option<&'static Chunk> {
        let chunk = RECORDS.take(|_| ())?;
        let whole = bytes.checked_add(room).filter(|_| room > 0);
        let roomy = whole.and_then(|whole| source::map_with_room(bytes, whole, align));
        let mapping = roomy.or_else(|| source::map(bytes, align)).or_else(|| {
            // What is kept, or empty, may be what the system lacks.
            let before = chunks();
            self.release_all();
            (chunks() < before).then(|| source::map(bytes, align))?
        });
        if let Some(mapping) = mapping {
            let reserved = whole.filter(|_| roomy.is_some()).unwrap_or(bytes);
            return self.enter(chunk, mapping, bytes, reserved, is_huge);
        }
        RECORDS.give(chunk);
        None
    }

    /// Unmaps a chunk that is in no list and no longer in the map. False, with nothing
    /// changed, where the system does not take it: the caller keeps it.
    #[must_use = "a chunk that the system has not taken is lost if nobody keeps it"]
    pub(super) fn unmap_chunk(&self, chunk: &'static Chunk) -> bool {
        let (bytes, reserved) = (chunk.bytes(), chunk.reserved());
        // SAFETY: the address of a mapped chunk.
        let mapping = unsafe { crate::heap::address::block_at(chunk.base()) };
        let is_done = if !chunk.is_huge() && bytes < CHUNK {
            let slices = chunk.slices() - FIRST_SLICE;
            let (front, back) = (front_of(slices), slices * SLICE);
            // SAFETY: both parts; no span is in them and nobody looks at them.
            unsafe { source::unmap_pair(mapping, front, FIRST_SLICE * SLICE, back) }
        } else {
            // SAFETY: its whole mapping; no span is in it and nobody looks at it.
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

    /// Unmaps all that has no block, as far as nobody can be looking at it and the
    /// system takes it.
    pub(super) fn release_all(&self) {
        source::give_back_leftovers();
        self.release_stranded();
        self.kept.age();
        while self.release_old() {}
        self.release_empty(0, usize::MAX);
    }

    /// Unmaps empty chunks, at most `most` of those beyond the first `keep`, if there
    /// are any and nobody can be looking at them. Returns whether one was unmapped.
    pub(super) fn release_empty(&self, keep: usize, most: usize) -> bool {
        let mut released = 0;
        for chunk in self.chunks().filter(|chunk| chunk.is_empty()).skip(keep) {
            self.unlist(chunk);
            chunk_map::remove(chunk);
            let is_quiet = visit::nobody_else_is_pinned();
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

    /// Unmaps a chunk that nobody can reach any more, now or later: a part of it may have been
    /// in the map for a moment.
    fn unmap_or_strand(&self, chunk: &'static Chunk) {
        if !visit::nobody_else_is_pinned() || !self.unmap_chunk(chunk) {
            chunk.next.set(self.stranded.replace(Some(chunk)));
        }
    }

    /// Tries again to unmap what could not be unmapped.
    pub(super) fn release_stranded(&self) {
        let mut next = self.stranded.take();
        while let Some(chunk) = next {
            next = chunk.next.take();
            self.unmap_or_strand(chunk);
        }
    }
}
