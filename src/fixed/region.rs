//! Regions: pieces of memory that the heap was given, each tiled with blocks.
//!
//! ```text
//!   ptr                                                       ptr + len
//!    |  +-------------+---------+---------+-------+----------+  |
//!    |  | next | end  | block   | block   |  ...  | end mark |  |
//!    |  +-------------+---------+---------+-------+----------+  |
//!       `- node          `- first                `- end
//! ```
//!
//! The node in front links the regions to each other; the end mark is the
//! header of a live block of size 0, so that no block ever merges past it. Its
//! second word is no label: it takes writes that are for no block (INDEX4).
//!
//! - REGION1 a node is written once and stays as it is; nothing else writes to it.
//! - REGION2 `first < end`, and both are addresses of headers.

use core::ptr::NonNull;

use super::block::Block;
use super::header::{GRANULE, HEADER, MAX_BLOCK, MIN_BLOCK};

/// The node in front of a region. Its size is a multiple of [`HEADER`].
#[repr(C)]
pub struct Node {
    next: Option<NonNull<Node>>,
    end: Block,
}

const NODE: usize = size_of::<Node>();

/// The most bytes of a region that no block can use: node and end mark, and the bytes
/// before and behind them that alignment costs.
#[cfg(feature = "testing")]
pub const LOST: usize = NODE + HEADER + 2 * (GRANULE - 1);

/// The smallest region: node, end mark, and the smallest block between them.
const SMALLEST: usize = NODE + MIN_BLOCK + HEADER;

const _: () = {
    assert!(NODE % HEADER == 0);
    assert!(align_of::<Node>() <= HEADER);
};

/// The next address for a node, or an end mark, at which the payload of a header behind
/// it is a multiple of [`GRANULE`].
const fn round_up(address: usize) -> Option<usize> {
    match address.checked_add(HEADER + NODE + GRANULE - 1) {
        Some(payload) => Some((payload & !(GRANULE - 1)) - HEADER - NODE),
        None => None,
    }
}

/// The address of a region's node, and the number of bytes of its blocks.
#[derive(Clone, Copy)]
pub struct Place {
    node: usize,
    size: usize,
}

impl Place {
    /// The address of the end mark.
    pub const fn end(self) -> usize {
        self.node + NODE + self.size
    }
}

/// The regions of a heap, the last added first.
pub struct Regions {
    newest: Option<NonNull<Node>>,
}

// SAFETY: REGION1 makes nodes constant data, which any thread may read.
unsafe impl Send for Regions {}

/// A region as the blocks in it: from the first up to the end mark.
#[derive(Clone, Copy)]
pub struct Span {
    /// The first block.
    pub first: Block,
    /// The end mark.
    pub end: Block,
}

impl Regions {
    /// No regions.
    pub const fn new() -> Self {
        Self { newest: None }
    }

    /// Whether there are no regions.
    pub fn is_empty(&self) -> bool {
        self.newest.is_none()
    }

    /// How many bytes at the start of a region are left out, and how many usable bytes
    /// remain. No pointer has address 0, and the end of a region must have an address, too,
    /// so the last byte of the address space is left out.
    pub const fn reckonable(start: usize, len: usize) -> (usize, usize) {
        let skipped = if start == 0 && len > 0 { 1 } else { 0 };
        let most = usize::MAX - (start + skipped);
        let left = len - skipped;
        (skipped, if left > most { most } else { left })
    }

    /// The layout of a region in `len` bytes from `start`, with at most as many bytes for
    /// blocks as one block can have; `None` if there is no room for a block.
    pub fn measure(start: usize, len: usize) -> Option<Place> {
        let node = round_up(start)?;
        let room = len.checked_sub(node.checked_sub(start)?)?;
        if room < SMALLEST {
            return None;
        }
        let size = (room - NODE - HEADER) & !(GRANULE - 1);
        Some(Place { node, size: if size > MAX_BLOCK { MAX_BLOCK } else { size } })
    }

    /// Lays out as much of the given memory as one block can hold as a region with one free
    /// block, which is not yet in any index. Returns it with its size and with how many
    /// bytes were used up; `None` if `len` is too small.
    ///
    /// # Safety
    ///
    /// - S1 `len` bytes from `start` are memory that is the heap's alone,
    ///   from now on and for as long as the heap is in use.
    pub unsafe fn add(&mut self, start: NonNull<u8>, len: usize) -> Option<(Block, usize, usize)> {
        let start = start.as_ptr().expose_provenance();
        let Place { node, size } = Self::measure(start, len)?;
        // SAFETY: S1; `node + NODE + size + HEADER` is at most `start + len`.
        let first = unsafe { Block::at(node + NODE) };
        let end = first.skip(size);
        end.set_end();
        first.set_free(size);
        end.set_previous_free(true);
        let node = core::ptr::with_exposed_provenance_mut::<Node>(node);
        // SAFETY: S1 and `round_up`; nothing else was ever there.
        unsafe { node.write(Node { next: self.newest, end }) };
        self.newest = NonNull::new(node);
        Some((first, size, end.address() + HEADER - start))
    }

    /// The region that `address` is in, between its first header and its end mark. The time
    /// grows only with the number of regions.
    #[inline]
    pub fn around(&self, address: usize) -> Option<Span> {
        self.iter().find(|span| (span.first.address()..span.end.address()).contains(&address))
    }

    /// All regions.
    pub fn iter(&self) -> impl Iterator<Item = Span> + use<> {
        let mut link = self.newest;
        core::iter::from_fn(move || {
            let node = link?;
            // SAFETY: REGION1.
            let Node { next, end } = unsafe { node.read() };
            link = next;
            // SAFETY: REGION2; the iterators are used under the store's lock.
            let first = unsafe { Block::at(node.addr().get() + NODE) };
            Some(Span { first, end })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of a region that blocks can use, and the end of its end mark.
    fn laid_out(start: usize, len: usize) -> Option<(usize, usize)> {
        let (skipped, len) = Regions::reckonable(start, len);
        let place = Regions::measure(start + skipped, len)?;
        Some((place.size, place.end() + HEADER))
    }

    #[test]
    fn a_region_may_end_at_the_last_address() {
        for len in (0..3 * 4096).step_by(4).chain([1 << 16, (1 << 16) - 3]) {
            let (start, usual) = (0usize.wrapping_sub(len), 1 << 20);
            let Some((size, end)) = laid_out(start, len) else {
                assert!(len < SMALLEST + 3 * GRANULE, "{len}");
                continue;
            };
            assert!(end > start, "{len}: a region that ends behind the last address");
            // The region has as much as elsewhere, less one block.
            let elsewhere = laid_out(usual + start % usual, len).unwrap().0;
            assert!(size <= elsewhere && size + GRANULE >= elsewhere, "{len}: {size}");
        }
    }

    #[test]
    fn a_region_may_begin_at_address_0() {
        assert_eq!(laid_out(0, 0), None);
        let (size, end) = laid_out(0, 1 << 16).unwrap();
        assert!(end <= 1 << 16 && size + NODE + HEADER + 2 * GRANULE >= 1 << 16);
        // All of the addresses there are.
        let (size, _) = laid_out(0, usize::MAX).unwrap();
        assert_eq!(size, MAX_BLOCK);
    }
}
