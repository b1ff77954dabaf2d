//! Huge blocks: each has a chunk, which is new or was kept after another huge block was
//! freed.
//!
//! A block that has grown often grows again. So if a block of more than 64 MiB has grown,
//! addresses are reserved behind it, many times as many as it has bytes. The next time its
//! mapping grows, so nothing is copied, and the content is never there twice.

use core::ops::RangeInclusive;

use super::address;
use super::arena::{ARENA, Arena};
use super::chunk::Chunk;
use super::chunk_map;
use crate::heap::base::geometry::{CHUNK, SLICE};
use crate::heap::base::paths::{self, Path};
use crate::source;

/// The least that is mapped for a huge block, in bytes.
const ROOMY: usize = CHUNK + SLICE;

/// From this size on, in bytes, a huge block that grows gets room to grow again.
const ROOM_FROM: usize = 2 * CHUNK;

/// The addresses of a chunk with room to grow, as a multiple of its bytes.
const TIMES: usize = 16;

/// A chunk that a huge block can begin in.
pub struct HugeRun {
    pub chunk: &'static Chunk,
    /// The block's address.
    pub start: usize,
    /// Whether it reads as zero.
    pub is_zero: bool,
}

/// A chunk of its own for one block of `bytes` at `align`, which reads as zero if that is
/// asked for. The run has no slices, and begins at the start of the block. `grows` says
/// that the block grows, and is likely to grow again.
pub fn take(bytes: usize, align: usize, zeroed: bool, grows: bool) -> Option<HugeRun> {
    let offset = align.max(SLICE);
    let mapped = bytes.checked_add(offset)?.checked_next_multiple_of(SLICE)?;
    // The block gets room to grow if that costs nothing.
    let mapped = if source::address_limit() == usize::MAX { mapped.max(ROOMY) } else { mapped };
    let align = align.max(CHUNK);
    let has_room = grows && mapped > ROOM_FROM;
    let room = if has_room { mapped.saturating_mul(TIMES - 1) } else { 0 };
    // A fifth of a kept mapping may stay unused.
    let lengths = mapped..=mapped.max(bytes.saturating_add(bytes / 4));
    let arena = ARENA.lock();
    arena.look_at_clock();
    let (chunk, is_fresh) = match arena.take_kept(lengths, align) {
        Some(chunk) => (chunk, false),
        None => (arena.map_chunk(mapped, room, align, true)?, true),
    };
    arena.huge.set(arena.huge.get() + chunk.bytes());
    drop(arena);
    let start = chunk.base() + offset;
    // No other thread has the chunk, so this is done without the lock.
    let is_zero = is_fresh || zeroed && chunk.purge_behind(start);
    Some(HugeRun { chunk, start, is_zero })
}

/// Makes the mapping of a huge chunk longer, up to `end`, if it has room. Returns whether
/// it had; the new part reads as zero.
pub fn extend(chunk: &'static Chunk, end: usize) -> bool {
    let Some(wanted) = (end - chunk.base()).checked_next_multiple_of(SLICE) else { return false };
    let arena = ARENA.lock();
    let before = chunk.bytes();
    if wanted > chunk.reserved() {
        return false;
    }
    chunk.set_bytes(wanted);
    // SAFETY: the address of a mapped chunk.
    let start = unsafe { address::block_at(chunk.base()) };
    let is_done = chunk_map::insert_behind(chunk, before).is_ok()
        // SAFETY: the chunk's mapping, and no more than what is reserved.
        && unsafe { source::extend(start, before, wanted - before) };
    if !is_done {
        chunk_map::remove_behind(chunk, before);
        chunk.set_bytes(before);
    }
    arena.huge.set(arena.huge.get() + chunk.bytes() - before);
    is_done
}

impl Arena {
    /// Takes a kept chunk whose length is in `lengths`, and enters it in the map again.
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
}
