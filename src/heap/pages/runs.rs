//! Runs of slices, which the arena gives to spans and takes back.
//!
//! Free slices that still have physical pages are handed out before fresh ones.

use super::arena::{ARENA, Arena};
use super::bitmap::SliceSet;
use super::chunk::Chunk;
use crate::heap::base::geometry::{SLICE, SLICES};

/// How many chunks are searched for slices with physical pages, beginning with the one that
/// slices came back to last. A longer search would cost more than fresh pages.
const DIRTY_LOOKS: usize = 16;

/// A run of slices that a span can begin in.
pub struct Run {
    pub chunk: &'static Chunk,
    /// The number of the first slice.
    pub first: usize,
    pub slices: usize,
    /// Whether the run reads as zero.
    pub fresh: bool,
}

impl Run {
    /// Gives the run back untouched; it has no owner.
    pub fn give_back(&self) {
        let arena = ARENA.lock();
        let mut free = SliceSet::EMPTY;
        free.insert(self.first, self.slices);
        self.chunk.set_start(self.first, false);
        let dirty = if self.fresh { SliceSet::EMPTY } else { free };
        arena.change(self.chunk, |chunk| chunk.give(&free, &dirty));
        arena.list_first(self.chunk);
    }

    /// The address of the first slice.
    pub fn start(&self) -> usize {
        self.chunk.base() + self.first * SLICE
    }
}

/// Takes `count < SLICES` slices in a row, the first at a multiple of `align` slices; the
/// run's start is noted in its chunk. `None` if there is no memory.
pub fn take(count: usize, align: usize) -> Option<Run> {
    debug_assert!(count > 0 && count < SLICES && align < SLICES);
    let arena = ARENA.lock();
    arena.look_at_clock();
    let (chunk, first) = match arena.find(count, align) {
        Some(found) => found,
        None => {
            let chunk = arena.grow(count, align)?;
            (chunk, chunk.find_free(count, align)?)
        }
    };
    let fresh = arena.change(chunk, |chunk| chunk.take(first, count));
    if chunk.free.get().is_empty() {
        arena.unlist(chunk);
    }
    chunk.set_start(first, true);
    Some(Run { chunk, first, slices: count, fresh })
}

/// Gives the tail of a span's run back: `from` of its `count` slices on.
pub fn give_tail(chunk: &'static Chunk, first: usize, from: usize, count: usize) {
    let arena = ARENA.lock();
    let mut tail = SliceSet::EMPTY;
    tail.insert(first + from, count - from);
    arena.change(chunk, |chunk| chunk.give(&tail, &tail));
    arena.list_first(chunk);
}

/// Lengthens a span's run in place from `count` slices to `wanted`. Returns whether the new
/// part reads as zero; `None` if there is no room.
pub fn extend(chunk: &'static Chunk, first: usize, count: usize, wanted: usize) -> Option<bool> {
    let arena = ARENA.lock();
    if first + wanted > SLICES || !chunk.free.get().has_all(first + count, wanted - count) {
        return None;
    }
    let fresh = arena.change(chunk, |chunk| chunk.take(first + count, wanted - count));
    if chunk.free.get().is_empty() {
        arena.unlist(chunk);
    }
    Some(fresh)
}

/// Slices on their way back, of one chunk at a time.
pub struct Returned<'a> {
    arena: &'a Arena,
    chunk: Option<&'static Chunk>,
    free: SliceSet,
    dirty: SliceSet,
}

impl Returned<'_> {
    /// Gives the slices of an ended span back; its first `touched` bytes may have physical
    /// pages.
    pub fn give(&mut self, chunk: &'static Chunk, first: usize, count: usize, touched: usize) {
        if !self.chunk.is_some_and(|now| core::ptr::eq(now, chunk)) {
            self.flush();
            self.chunk = Some(chunk);
        }
        chunk.set_start(first, false);
        self.free.insert(first, count);
        self.dirty.insert(first, touched.div_ceil(SLICE).min(count));
    }

    /// As [`Arena::give_huge`].
    pub fn give_huge(&mut self, chunk: &'static Chunk) {
        self.arena.give_huge(chunk);
    }

    /// The chunk of the last slices given back, if it holds `address`.
    pub fn chunk_of(&self, address: usize) -> Option<&'static Chunk> {
        self.chunk.filter(|chunk| chunk.holds(address))
    }

    fn flush(&mut self) {
        let Some(chunk) = self.chunk.take() else { return };
        self.arena.change(chunk, |chunk| chunk.give(&self.free, &self.dirty));
        (self.free, self.dirty) = (SliceSet::EMPTY, SliceSet::EMPTY);
        self.arena.list_first(chunk);
        self.arena.look_at_clock();
    }
}

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Arena {
    /// Takes back one ended span, or many at once.
    pub fn take_back(&self) -> Returned<'_> {
        let (free, dirty) = (SliceSet::EMPTY, SliceSet::EMPTY);
        Returned { arena: self, chunk: None, free, dirty }
    }

    /// A run of free slices, first among those with physical pages.
    fn find(&self, count: usize, align: usize) -> Option<(&'static Chunk, usize)> {
        let dirty = |chunk: &'static Chunk| Some((chunk, chunk.find_dirty(count, align)?));
        let any = |chunk: &'static Chunk| Some((chunk, chunk.find_free(count, align)?));
        let candidates = || self.chunks().filter(|chunk| chunk.longest.get() >= count);
        candidates().take(DIRTY_LOOKS).find_map(dirty).or_else(|| candidates().find_map(any))
    }
}
