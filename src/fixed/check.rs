//! The walker: tests every invariant of the fixed engine, block by block.

use lock_api::RawMutex;

use super::header::{HEADER, MIN_BLOCK, Salt, Tag};
use super::heap::FixedEngine;
use super::owner::{Directory, Owner};
use super::region::Span;

/// The counts of a walk over a sound heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Regions of the heap.
    pub regions: usize,
    /// Blocks that owners hold, the engine's own tables left out.
    pub live_blocks: usize,
    /// The bytes of those blocks, headers included.
    pub live_bytes: usize,
    /// Free blocks.
    pub free_blocks: usize,
    /// Free blocks that are too small for a list.
    pub crumbs: usize,
    /// Their sizes.
    pub free_bytes: usize,
    /// The size of the largest free block.
    pub largest_free: usize,
}

/// An invariant that does not hold, by its number, and the mistake.
pub type Broken = &'static str;

impl<R: RawMutex, D: Directory> FixedEngine<R, D> {
    /// Walks all regions and lists.
    ///
    /// # Errors
    ///
    /// The first invariant found broken.
    pub fn check(&self) -> Result<Checked, Broken> {
        let store = self.lock();
        let mut seen = Checked::default();
        for span in store.regions.iter() {
            check_region(span, store.salt, &mut seen)?;
        }
        if store.free.check(&store.regions)? != seen.free_blocks - seen.crumbs {
            return Err("INDEX2: the lists do not hold all free blocks");
        }
        let (mut blocks, mut bytes) = (0, 0);
        let mut count = |owner: &Owner| {
            let usage = owner.usage();
            blocks += usage.live_blocks;
            bytes += usage.live_bytes + usage.live_blocks * HEADER;
        };
        count(self.who().owner);
        self.directory().for_each(&mut count);
        if (blocks, bytes) != (seen.live_blocks, seen.live_bytes) {
            return Err("OWNER2: the owners' counts are not those of the blocks");
        }
        Ok(seen)
    }
}

fn check_region(span: Span, salt: Salt, seen: &mut Checked) -> Result<(), Broken> {
    seen.regions += 1;
    let mut block = span.first;
    let mut previous_free = false;
    while block != span.end {
        let extent = block.extent();
        if !extent.is_possible() || extent.size() > span.end.address() - block.address() {
            return Err("STORE1: a size does not lead to the next block");
        }
        if extent.is_previous_free() != previous_free {
            return Err("STORE3: a mark does not say whether the block before is free");
        }
        if extent.is_free() {
            if previous_free {
                return Err("STORE2: two neighbours are free");
            }
            if !block.next().ends_free(extent.size()) {
                return Err("STORE3: what is behind a free block does not say so");
            }
            seen.free_blocks += 1;
            seen.crumbs += usize::from(extent.size() < MIN_BLOCK);
            seen.free_bytes += extent.size();
            seen.largest_free = seen.largest_free.max(extent.size());
        } else {
            if !block.is_genuine(extent, salt) {
                return Err("STORE5: a live header fails its check");
            }
            if block.label(salt).tag() != Tag::ENGINE {
                seen.live_blocks += 1;
                seen.live_bytes += extent.size();
            }
        }
        previous_free = extent.is_free();
        block = block.next();
    }
    let end = span.end.extent();
    if end.size() != 0 || end.is_free() || end.is_previous_free() != previous_free {
        return Err("STORE1: the end mark is not as it was set");
    }
    Ok(())
}
