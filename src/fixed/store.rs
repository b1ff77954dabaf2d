//! The block store: a TLSF heap over any number of regions, in which every
//! block carries its owner's tag. It knows tags, but no accounts and no locks.
//!
//! Allocating, freeing and resizing take a bounded number of steps, however
//! many blocks there are. The functions that walk over blocks are in `walk.rs`.
//!
//! - STORE1 each region is tiled: from its first block to its end mark, each
//!   block begins where the one before it ends, and has a valid header.
//! - STORE2 no two neighbours are both free.
//! - STORE3 a header has the mark "the block before is free" iff it is, and then
//!   the last word before the header is that block's size.
//! - STORE4 the indexes hold the free blocks (INDEX2).
//! - STORE5 the header of every live block passes its check (HEAD3).

use core::ptr::NonNull;

use super::block::Block;
use super::header::{Extent, MIN_BLOCK, Salt, Tag};
use super::index::{Found, Index};
use super::link::{Link, Window};
use super::region::Regions;
use super::windows::Windows;
use crate::engine::Kind;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// The part of a live block's header besides its size.
#[derive(Clone, Copy)]
pub struct Mark {
    /// The owner's tag.
    pub tag: Tag,
    /// The kind of block.
    pub kind: Kind,
    /// The heap's.
    pub salt: Salt,
}

/// All blocks of a heap.
pub struct Store {
    pub(super) free: Windows,
    pub(super) regions: Regions,
    /// It is set with the first region.
    pub(super) salt: Salt,
}

// SAFETY: blocks are reached through the store only (BLOCK2), and the regions'
// memory belongs to no thread.
unsafe impl Send for Store {}

impl Store {
    /// A store without memory.
    pub const fn new() -> Self {
        Self { free: Windows::new(), regions: Regions::new(), salt: Salt::NONE }
    }

    /// Gives the store `len` bytes from `start`, and returns how many of them blocks can
    /// use. Memory that crosses the border of two windows, or is more than a block can
    /// hold, makes several regions.
    ///
    /// # Safety
    ///
    /// - S1 as for [`Regions::add`].
    pub unsafe fn add_region(&mut self, mut start: NonNull<u8>, mut len: usize) -> usize {
        if self.regions.is_empty() {
            self.salt = Salt::new(start.addr().get(), count_heap());
        }
        let mut usable = 0;
        while len != 0 {
            let piece = len.min(Window::bytes_from(start.addr().get()));
            // SAFETY: S1, `piece <= len`.
            let added = unsafe { self.add_piece(start, piece) };
            let (size, used) = added.unwrap_or((0, piece));
            usable += size;
            len -= used;
            // SAFETY: S1, `used <= len`.
            start = unsafe { start.add(used) };
        }
        usable
    }

    /// Adds as much of a piece of memory in one window as one block can hold. Returns the
    /// bytes that blocks can use, and the bytes used up; `None` if the piece is too small.
    ///
    /// # Safety
    ///
    /// - S1 as for [`Regions::add`].
    unsafe fn add_piece(&mut self, start: NonNull<u8>, len: usize) -> Option<(usize, usize)> {
        let cost = self.free.cost(start.addr().get());
        // Nothing is changed for a region that has no room for a block.
        let rest = (start.addr().get().checked_add(cost)?, len.checked_sub(cost)?);
        let end = Regions::measure(rest.0, rest.1)?.end();
        // SAFETY: S1, and there is room for what it costs.
        unsafe { self.free.serve(start, Link::to_address(end)) };
        // SAFETY: S1, as before.
        let start = unsafe { start.add(cost) };
        // SAFETY: S1; the rest of the memory is used by nothing else.
        let (block, size, used) = unsafe { self.regions.add(start, len - cost) }?;
        self.free.of(block).insert(block, size);
        Some((size, cost + used))
    }

    /// Makes the block that was found a live one, and gives back the rests before and
    /// behind it. Nothing may have changed since it was found.
    #[inline(never)]
    pub fn take(&mut self, found: &Found, mark: Mark) -> Block {
        take(self.free.of(found.block), found, mark)
    }

    /// Frees a live block of `size` bytes, and merges it with free neighbours.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn release(&mut self, block: Block, size: usize) {
        if self.free.are_first(block) {
            release(&mut self.free.first, block, size);
        } else {
            self.release_slow(block, size);
        }
    }

    /// The size that a live block can grow to by taking free bytes behind it.
    #[inline]
    pub fn reach(&self, block: Block) -> usize {
        let size = block.size();
        let next = block.skip(size).extent();
        size + if next.is_free() { next.size() } else { 0 }
    }

    /// Resizes a live block where it stands to `size` bytes. [`fitted`] gave this size for
    /// all that the block can [`reach`](Self::reach), and it is not the block's own size.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn resize(&mut self, block: Block, size: usize, mark: Mark) {
        if self.free.are_first(block) {
            resize(&mut self.free.first, block, size, mark);
        } else {
            self.resize_slow(block, size, mark);
        }
    }

    /// As [`resize`](Self::resize), for a block of any index.
    #[inline(never)]
    pub fn resize_slow(&mut self, block: Block, size: usize, mark: Mark) {
        resize(self.free.of(block), block, size, mark);
    }

    /// The free block before a live one, and the most bytes that the live block can have if
    /// it moves there.
    pub fn reach_back(&self, block: Block) -> Option<(Block, usize)> {
        let (previous, size) = block.previous_free()?;
        Some((previous, size + self.reach(block)))
    }

    /// Moves a live block to the start of the free block before it, as `size`
    /// bytes, a block size within [`reach_back`](Self::reach_back), with
    /// `kept` bytes of its content.
    pub fn slide(&mut self, block: Block, size: usize, kept: usize, mark: Mark) -> Option<Block> {
        let (previous, whole) = self.reach_back(block)?;
        let next = block.next();
        if next.is_free() {
            self.swallow(next);
        }
        self.swallow(previous);
        block.erase();
        let (from, to) = (block.payload(), previous.payload());
        // SAFETY: both are in one region (STORE1); `kept` bytes fit behind each,
        // since neither the old payload nor the new is shorter.
        unsafe { from.copy_to(to, kept) };
        settle(self.free.of(previous), previous, size, whole - size);
        previous.skip(whole).set_previous_free(size != whole);
        set_live(previous, size, false, mark);
        Some(previous)
    }

    /// Takes a free block out of the index, to become a part of another.
    #[inline(never)]
    pub(super) fn swallow(&mut self, block: Block) -> usize {
        let size = block.size();
        self.free.of(block).remove(block, size);
        block.erase();
        size
    }

    /// As [`release`](Self::release), for a block of any index, or for a run of blocks that
    /// begins at `block` and whose other headers are erased. Returns the free block that it
    /// becomes a part of.
    #[inline(never)]
    pub fn release_slow(&mut self, block: Block, size: usize) -> Block {
        release(self.free.of(block), block, size)
    }
}

/// About how many heaps got memory before. Two heaps may get the same number at the same
/// time, but they have different memory. It is changed by a load and a store, because every
/// target has these.
fn count_heap() -> usize {
    static HEAPS: AtomicUsize = AtomicUsize::new(0);
    let count = HEAPS.load(Relaxed).wrapping_add(1);
    HEAPS.store(count, Relaxed);
    count
}

/// As [`Store::release`], for a known index.
#[cfg_attr(target_pointer_width = "64", inline(always))]
fn release(index: &mut Index, mut block: Block, mut size: usize) -> Block {
    let next = block.skip(size);
    let extent = next.extent();
    if extent.is_free() {
        let more = extent.size();
        index.remove(next, more);
        size += more;
    } else {
        next.set_previous_free(true);
    }
    if let Some((previous, more)) = block.previous_free() {
        index.remove(previous, more);
        block.erase();
        (block, size) = (previous, size + more);
    }
    block.set_free(size);
    index.link(block, size);
    block
}

/// As [`Store::resize`], for a known index.
#[cfg_attr(target_pointer_width = "64", inline(always))]
fn resize(index: &mut Index, block: Block, size: usize, mark: Mark) {
    let extent = block.extent();
    let mut whole = extent.size();
    let next = block.skip(whole);
    let after = next.extent();
    if after.is_free() {
        let more = after.size();
        index.remove(next, more);
        whole += more;
    } else {
        next.set_previous_free(true);
    }
    settle(index, block, size, whole - size);
    set_live(block, size, extent.is_previous_free(), mark);
}

/// As [`Store::take`], for a known index.
#[cfg_attr(target_pointer_width = "64", inline(always))]
pub fn take(index: &mut Index, found: &Found, mark: Mark) -> Block {
    let &Found { block, gap, size, rest, .. } = found;
    index.take(found);
    let taken = block.skip(gap);
    settle(index, taken, size, rest);
    set_live(taken, size, gap != 0, mark);
    if gap != 0 {
        block.set_free(gap);
        index.insert(block, gap);
    }
    taken
}

/// Makes the `rest` bytes behind a block of `size` bytes a free block, or clears the
/// mark of the next block if there is no rest. The block behind a rest already has the
/// mark.
#[cfg_attr(target_pointer_width = "64", inline(always))]
fn settle(index: &mut Index, block: Block, size: usize, rest: usize) {
    let behind = block.skip(size);
    if rest == 0 {
        behind.set_previous_free(false);
    } else {
        behind.set_free(rest);
        index.insert(behind, rest);
    }
}

/// The size of a block of which `size` bytes are needed and `whole` are available: all
/// of them, if the rest would be a crumb.
#[inline(always)]
pub fn fitted(size: usize, whole: usize) -> usize {
    if whole - size < MIN_BLOCK { whole } else { size }
}

/// Makes `block` a live block of `size` bytes as marked, without slack.
#[inline(always)]
fn set_live(block: Block, size: usize, previous_free: bool, mark: Mark) {
    let extent = Extent::live(size, mark.kind).with_previous_free(previous_free);
    block.set_live(extent, mark.tag, 0, mark.salt);
}
