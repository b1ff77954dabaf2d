//! Chunks from the page source. If the system has no more memory, chunks are shorter.

use core::ptr::NonNull;

use super::arena::{Arena, CHUNKS, chunks};
use super::chunk::{Chunk, RECORDS};
use super::chunk_map;
use crate::heap::base::geometry::{BLOCK_SLICES, CHUNK, FIRST_SLICE, SLICE, front_of};
use crate::source;
use crate::sync::Ordering::Relaxed;

/// How many slices for blocks the shortest chunk has, which is mapped if the system has no
/// room for a longer one: 1 MiB.
const FEWEST: usize = (1 << 20) / SLICE;
/// If the addresses of a process are limited, a chunk takes at most one in this many,
/// because other chunks and other code need addresses, too.
const SHARE: usize = 16;

impl Arena {
    /// A new chunk with room for `count` slices at a multiple of `align`. It is a whole
    /// chunk, or a shorter one if addresses are few or the system has no more.
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

    /// A new chunk with `slices` slices for blocks, fewer than a whole one has. The tag
    /// tables of the missing slices are not mapped.
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

    /// Enters a chunk with a new mapping into the map.
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
            // The system may have memory again when kept or empty mappings are unmapped.
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
}
