//! Blocks as they lie in memory: all reads and writes of headers, links and
//! footers, and all pointer arithmetic of the engine, are in this file.
//!
//! ```text
//!           live                                  free
//!  +--------------------+             +---------------------------+
//!  | extent             |             | extent                    |
//!  | label              |             | back link  } in a list,   |
//!  +--------------------+ <- payload  | next link  } so not in a  |
//!  |                    |             |    ...       crumb        |
//!  |  what was asked    |             |                           |
//!  |  for, and slack    |             | footer: the size, again   |
//!  +--------------------+             +---------------------------+
//!  | extent of the next |  p = 0      | extent of the next, p = 1 |
//! ```
//!
//! - BLOCK1 a `Block` is the address of a header in a region, as tiled by the
//!   store (STORE1): header, payload and the header behind it are memory of the
//!   heap, aligned to 8, as are all headers, and no region is ever taken away.
//! - BLOCK2 code that has a `Block` holds the store's lock, so no other code reads or
//!   writes headers, links and footers meanwhile.
//! - BLOCK3 the footer is initialised iff the block is free, the links iff it is
//!   in a list.
//!
//! Each region's pointer is exposed when the region is added, and every block
//! pointer is made from an address with that exposed provenance. The pointer
//! that a caller frees may cover no more than the caller's object, so none is
//! ever made from it.

use core::ptr::{self, NonNull};

use super::header::{Extent, HEADER, Label, MIN_BLOCK, Salt, Tag};
use super::link::Link;
use crate::engine::Kind;

/// The offset of the links of a free block, which has no label.
const BACK: usize = size_of::<Extent>();
const NEXT: usize = BACK + size_of::<Link>();
const LABEL: usize = size_of::<Extent>();
const FOOTER: usize = size_of::<u32>();

/// A block of a region, live or free, or the end mark of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Block(NonNull<u8>);

impl Block {
    /// The block whose header is at `address`.
    ///
    /// # Safety
    ///
    /// - S1 `address` is one that BLOCK1 allows, or is about to become one before
    ///   the block is followed anywhere.
    /// - S2 the caller holds the store's lock (BLOCK2).
    #[inline]
    pub unsafe fn at(address: usize) -> Self {
        // SAFETY: S1 and S2 are the caller's.
        unsafe { Self::of_header(ptr::with_exposed_provenance_mut(address)) }
    }

    /// The block whose header `header` points to.
    ///
    /// # Safety
    ///
    /// - S1 and S2 as for [`at`](Self::at).
    #[inline(always)]
    pub unsafe fn of_header(header: *mut u8) -> Self {
        // SAFETY: S1; no region begins at address 0.
        Self(unsafe { NonNull::new_unchecked(header) })
    }

    /// The block whose payload is at `address`.
    ///
    /// # Safety
    ///
    /// As for [`at`](Self::at), `address` being that of a payload.
    #[inline]
    pub unsafe fn of_payload(address: usize) -> Self {
        // SAFETY: S1 and S2 are the caller's.
        unsafe { Self::at(address.wrapping_sub(HEADER)) }
    }

    /// The address of the header.
    #[inline]
    pub fn address(self) -> usize {
        self.0.as_ptr().addr()
    }

    /// The payload: the pointer that the caller of an allocation gets.
    #[inline]
    pub fn payload(self) -> NonNull<u8> {
        // SAFETY: BLOCK1, a header is followed by memory of the heap.
        unsafe { self.0.byte_add(HEADER) }
    }

    /// The header's first word.
    #[inline]
    pub fn extent(self) -> Extent {
        // SAFETY: BLOCK1 and BLOCK2; extents are always initialised (STORE1).
        unsafe { self.0.cast::<Extent>().read() }
    }

    /// Bytes from this header to the next.
    #[inline]
    pub fn size(self) -> usize {
        self.extent().size()
    }

    /// Whether the block is free.
    #[inline]
    pub fn is_free(self) -> bool {
        self.extent().is_free()
    }

    /// The header's second word, which means nothing in a free block.
    #[inline]
    pub fn label(self, salt: Salt) -> Label {
        self.stored_label().veiled(self.address(), self.extent(), salt)
    }

    #[inline]
    fn stored_label(self) -> Label {
        // SAFETY: BLOCK1 puts the word in the heap, aligned.
        let label = unsafe { self.0.byte_add(LABEL) };
        // SAFETY: BLOCK1 and BLOCK2; every bit pattern is a label.
        unsafe { label.cast::<Label>().read() }
    }

    /// The block that begins at the end of this one.
    #[inline]
    pub fn next(self) -> Self {
        self.skip(self.size())
    }

    /// The block that begins `bytes` behind this header.
    #[inline]
    pub fn skip(self, bytes: usize) -> Self {
        // SAFETY: STORE1, the callers pass what is left or right of a split, or
        // the size, so the address is in the region.
        Self(unsafe { self.0.byte_add(bytes) })
    }

    /// The free block that ends at the start of this one, if there is one, and its size.
    #[inline]
    pub fn previous_free(self) -> Option<(Self, usize)> {
        if !self.extent().is_previous_free() {
            return None;
        }
        // SAFETY: BLOCK1, a block lies before this one (STORE3).
        let footer = unsafe { self.0.byte_sub(FOOTER) };
        // SAFETY: BLOCK2 and BLOCK3, the block before is free (STORE3), so it has a footer.
        let size = unsafe { footer.cast::<u32>().read() } as usize;
        // SAFETY: STORE3, the footer holds that block's size.
        Some((Self(unsafe { self.0.byte_sub(size) }), size))
    }

    /// Makes this the header of a live block.
    #[inline]
    pub fn set_live(self, extent: Extent, tag: Tag, slack: usize, salt: Salt) {
        self.set_extent(extent);
        let extent = extent.with_previous_free(false);
        self.set_label(Label::new(tag, slack, self.address(), extent, salt));
    }

    /// Makes this the end mark of a region: its first word is that of a live block.
    #[inline]
    pub fn set_end(self) {
        self.set_extent(Extent::live(0, Kind::Bound));
    }

    /// Makes this the header of a free block of `size` bytes, with its footer. The index
    /// sets the links, and the caller sets the mark of the next block.
    #[inline]
    pub fn set_free(self, size: usize) {
        self.set_extent(Extent::free(size));
        // SAFETY: BLOCK1; a block is longer than its footer.
        let footer = unsafe { self.skip(size).0.byte_sub(FOOTER) };
        // SAFETY: BLOCK1 and BLOCK2; no one uses the last word of a free block.
        unsafe { footer.cast::<u32>().write(size as u32) };
    }

    /// Writes the mark "the block before is free".
    ///
    /// The word is written whole: compilers make a change of one bit a store of
    /// one byte, and the next load of the word then waits for that store to
    /// leave the store buffer (a third of the time of an allocation, measured).
    #[inline]
    pub fn set_previous_free(self, free: bool) {
        let extent = self.extent().with_previous_free(free);
        // SAFETY: BLOCK1 and BLOCK2.
        unsafe { self.0.cast::<Extent>().write_volatile(extent) };
    }

    /// Overwrites the words of a former header, so that no stale pointer finds a live
    /// block here.
    #[inline]
    pub fn erase(self) {
        // SAFETY: BLOCK1 and BLOCK2; the caller has made the header part of a free block.
        unsafe { self.0.cast::<[u32; 2]>().write([0; 2]) };
    }

    #[inline]
    fn set_extent(self, extent: Extent) {
        // SAFETY: BLOCK1 and BLOCK2.
        unsafe { self.0.cast::<Extent>().write(extent) };
    }

    #[inline]
    fn set_label(self, label: Label) {
        // SAFETY: BLOCK1 puts the word in the heap, aligned.
        let at = unsafe { self.0.byte_add(LABEL) };
        // SAFETY: BLOCK1 and BLOCK2.
        unsafe { at.cast::<Label>().write(label) };
    }

    /// The link of a block in a list to the one before it: a block, or the list.
    #[inline(always)]
    pub fn back(self) -> Link {
        // SAFETY: BLOCK2 and BLOCK3; it is in a list.
        unsafe { back_at(self.0.as_ptr()).read() }
    }

    /// The link of a block in a list to the one behind it.
    #[inline(always)]
    pub fn next_link(self) -> Link {
        // SAFETY: BLOCK2 and BLOCK3; it is in a list.
        unsafe { next_link_at(self.0.as_ptr()).read() }
    }

    /// Writes both links of a free block that is no crumb.
    #[inline(always)]
    pub fn set_links(self, back: Link, next: Link) {
        // SAFETY: BLOCK1 and BLOCK2; [`MIN_BLOCK`] leaves room.
        unsafe { back_at(self.0.as_ptr()).write(back) };
        // SAFETY: BLOCK1 and BLOCK2; [`MIN_BLOCK`] leaves room.
        unsafe { next_link_at(self.0.as_ptr()).write(next) };
    }
}

/// The place of the back link of the block whose header `header` points to.
#[inline(always)]
pub fn back_at(header: *mut u8) -> *mut Link {
    header.wrapping_byte_add(BACK).cast()
}

/// The place of its link to the next block.
#[inline(always)]
pub fn next_link_at(header: *mut u8) -> *mut Link {
    header.wrapping_byte_add(NEXT).cast()
}

impl Block {
    /// The distance from this block's payload to the first multiple of `align`, a
    /// power of two, behind it.
    #[inline]
    pub fn gap(self, align: usize) -> usize {
        self.payload().as_ptr().addr().wrapping_neg() & (align - 1)
    }

    /// The owner of a live block of `kind`.
    pub fn is_of(self, tag: Tag, kind: Kind, salt: Salt) -> bool {
        self.extent().kind() == Some(kind) && self.label(salt).tag() == tag
    }

    /// Reads the header's first word once; the memory may be a payload, and may change at
    /// the same time.
    pub fn seen_extent(self) -> Extent {
        // SAFETY: BLOCK1 puts the word in the heap, aligned; every bit pattern is
        // an extent.
        unsafe { self.0.cast::<Extent>().read_volatile() }
    }

    /// Whether this header, of which `extent` was seen, is one that the store
    /// wrote for a live block: the words fit each other, the address and the
    /// heap.
    pub fn is_genuine(self, extent: Extent, salt: Salt) -> bool {
        let is_live = !extent.is_free() && extent.is_possible();
        let label = self.stored_label().veiled(self.address(), extent, salt);
        let has_check = is_live && label.matches(self.address(), extent, salt);
        has_check && label.slack() <= extent.size() - HEADER
    }

    /// Whether this is the header behind a free block of `size` bytes.
    pub fn ends_free(self, size: usize) -> bool {
        // SAFETY: BLOCK1, the caller's free block, if it is one, is in the region.
        let footer = unsafe { self.0.byte_sub(FOOTER) };
        // SAFETY: BLOCK1 puts the word in the heap, aligned; every bit pattern is a number.
        let footer = unsafe { footer.cast::<u32>().read_volatile() } as usize;
        self.seen_extent().is_previous_free() && footer == size
    }
}

const _: () = assert!(NEXT + size_of::<Link>() + FOOTER <= MIN_BLOCK);
