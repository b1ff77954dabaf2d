//! The free blocks by size: the index of a TLSF heap.
//!
//! Each [class](super::class) of sizes has a list, and a bit that says whether the list is
//! empty. A bit scan finds the next list that is not empty.
//!
//! M. Masmano, I. Ripoll, A. Crespo, J. Real: TLSF, a new dynamic memory
//! allocator for real-time systems. ECRTS 2004.
//!
//! Links have 32 bits on all targets, which makes a heap without memory small. On
//! 64-bit targets they are the low halves of addresses, so an index serves a
//! *window*: 4 GiB of addresses whose high halves are the same. Regions in other
//! windows bring an index of their own.
//!
//! - INDEX1 the index's blocks, and only they, lie in its window.
//! - INDEX2 each free block of at least [`MIN_BLOCK`] bytes is in the list of its
//!   class, once, and nothing else is in a list.
//! - INDEX3 bit `c` of the bitmap is set iff list `c` is not empty.
//! - INDEX4 the last link of each list, and the head of each that is empty, leads to an
//!   end mark in the window. The end mark's second word takes the write of a back
//!   link, so no code tests whether there is a next block.

use core::ptr::NonNull;

use super::block::{Block, back_at, next_link_at};
use super::class::{CLASSES, Class, WIDE};
use super::header::{CRUMBS, GRANULE, MIN_BLOCK};
use super::link::{Link, Window};

const BITS: usize = usize::BITS as usize;
const WORDS: usize = CLASSES / BITS + 1;

/// How many blocks are looked at before a request is refused.
const LOOKS: usize = 16;

/// Memory counts as plenty for blocks of a size while there is a free block that is this
/// many times as large. With half as many, a heap is filled to 97.8 % instead of 98.5 %.
const PLENTY: usize = 1 << 9;

/// The largest alignment, in bytes, for which a block is cut from the end of a free one,
/// together with the bytes behind it up to the next such address: so two lists change, not
/// three. On 32-bit targets, where memory is scarcer, no block is cut like that.
pub const KEPT: usize = if usize::BITS > 32 { 256 } else { GRANULE };

/// A free block at the head of its list, and how a request is cut out of it.
#[derive(Clone, Copy)]
pub struct Found {
    /// The block.
    pub block: Block,
    /// Bytes before the part that is cut out.
    pub gap: usize,
    /// Bytes that are cut out: those asked for, and a rest behind them that would be a
    /// crumb.
    pub size: usize,
    /// Bytes behind the part that is cut out.
    pub rest: usize,
    class: Class,
}

impl Found {
    /// Cuts `size` bytes, which are at most `MAX_BLOCK`, out of a block, as near to its
    /// start as `align` allows; `None` if they do not fit.
    #[inline(never)]
    fn cut(block: Block, class: Class, size: usize, align: usize) -> Option<Self> {
        let gap = block.gap(align);
        // By the rule of `Layout`, a size and an alignment come to `isize::MAX`
        // at most: the difference is a number with a sign.
        let rest = block.size().wrapping_sub(gap).wrapping_sub(size);
        if rest as isize >= if CRUMBS { MIN_BLOCK as isize } else { 0 } {
            Some(Self { block, gap, size, rest, class })
        } else if rest as isize >= 0 {
            Some(Self { block, gap, size: size + rest, rest: 0, class })
        } else {
            None
        }
    }

    /// As [`cut`](Self::cut), as near to the end as `align` allows, together with all
    /// bytes behind: one rest remains, at the start of the free block.
    #[inline(always)]
    fn cut_end(block: Block, class: Class, size: usize, align: usize) -> Option<Self> {
        let before = block.size().wrapping_sub(size);
        let behind = block.payload().addr().get().wrapping_add(before) & (align - 1);
        let gap = before.wrapping_sub(behind);
        // As above, a number with a sign.
        (gap as isize >= 0).then_some(Self { block, gap, size: size + behind, rest: 0, class })
    }

    /// Cuts out no more than `size` bytes, even if that leaves a crumb.
    pub fn leave_crumb(&mut self, size: usize) {
        self.rest += self.size - size;
        self.size = size;
    }
}

/// The lists of free blocks of one window.
///
/// Whether a block is the last of its list is unpredictable, so the code uses a mask
/// instead of a branch there. There is no list 0.
pub struct Index {
    window: Window,
    /// To the end mark (INDEX4).
    nil: Link,
    bitmap: [usize; WORDS],
    heads: [Link; CLASSES],
    /// The index of another window.
    pub more: Option<NonNull<Index>>,
}

impl Index {
    /// An index of no blocks, for a window with an end mark that `nil` leads to.
    pub const fn new(window: Window, nil: Link) -> Self {
        Self { window, nil, bitmap: [0; WORDS], heads: [nil; CLASSES], more: None }
    }

    /// The window that the index serves.
    #[inline(always)]
    pub fn window(&self) -> Window {
        self.window
    }

    /// A free block that holds `size` bytes, for alignments up to [`GRANULE`], which
    /// every payload has: the first block of the first list whose blocks all do.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn find_fast(&self, size: usize) -> Option<Found> {
        let class = self.class_from(Class::enough_for(size)?)?;
        let block = self.first(class);
        let rest = block.size() - size;
        let crumb = if CRUMBS && rest < MIN_BLOCK { rest } else { 0 };
        Some(Found { block, gap: 0, size: size + crumb, rest: rest - crumb, class })
    }

    /// A free block that holds `size` bytes with a payload at a multiple of `align`, for
    /// alignments up to [`KEPT`]: the first block of the first list whose blocks all do. If
    /// it returns `None`, [`find`](Self::find) may still find one.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn find_aligned(&self, size: usize, align: usize) -> Option<Found> {
        let class = self.class_from(enough_for(size, align)?)?;
        Found::cut_end(self.first(class), class, size, align)
    }

    /// As [`find_aligned`](Self::find_aligned), for any alignment. For sizes from [`WIDE`]
    /// on, it prefers the first block of the size's own class, if that is large enough.
    #[inline(never)]
    pub fn find_close(&self, size: usize, align: usize) -> Option<Found> {
        if size >= WIDE {
            let class = Class::of(size);
            // SAFETY: CLASS1.
            let head = unsafe { self.heads.get_unchecked(class.number()) };
            let found = self.block(*head).and_then(|block| Found::cut(block, class, size, align));
            if found.is_some() {
                return found;
            }
        }
        let class = self.class_from(enough_for(size, align)?)?;
        Found::cut(self.first(class), class, size, align)
    }

    /// As [`find_close`](Self::find_close), but at last it also tries the first few blocks
    /// of the size's class and of the classes above, some of which may be large enough.
    pub fn find(&mut self, size: usize, align: usize) -> Option<Found> {
        if let Some(found) = self.find_close(size, align) {
            return Some(found);
        }
        let mut class = self.class_from(Class::of(size).number())?;
        let mut block = self.first(class);
        for _ in 0..LOOKS {
            if let Some(found) = Found::cut(block, class, size, align) {
                self.unlink(block);
                self.link_to(block, class);
                return Some(found);
            }
            block = match self.block(block.next_link()) {
                Some(next) => next,
                None => {
                    class = self.class_from(class.number() + 1)?;
                    self.first(class)
                }
            };
        }
        None
    }

    /// Whether there is a free block [`PLENTY`] times as large as one of `size`
    /// bytes.
    #[inline(always)]
    pub fn has_plenty(&self, size: usize) -> bool {
        let enough = size.checked_mul(PLENTY).and_then(Class::enough_for);
        enough.is_some_and(|first| self.class_from(first).is_some())
    }

    /// The first block of a list that is not empty.
    #[inline(always)]
    fn first(&self, class: Class) -> Block {
        // SAFETY: CLASS1.
        let head = unsafe { self.heads.get_unchecked(class.number()) };
        // SAFETY: INDEX1 to INDEX3; the caller has the index, so it holds the store's lock.
        unsafe { Block::of_header(head.pointer(self.window)) }
    }

    /// Removes a block that was found and is still at the head of its list.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn take(&mut self, found: &Found) {
        let next = found.block.next_link();
        *self.head_mut(found.class) = next;
        self.set_back(next, Link::list(found.class.number()));
        self.unmark(found.class, next);
    }

    /// Removes a free block of `size` bytes.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn remove(&mut self, block: Block, size: usize) {
        if !CRUMBS || size >= MIN_BLOCK {
            self.unlink(block);
        }
    }

    /// Puts a free block of `size` bytes at the head of its list.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn insert(&mut self, block: Block, size: usize) {
        if !CRUMBS || size >= MIN_BLOCK {
            self.link(block, size);
        }
    }

    /// As [`insert`](Self::insert), of a block that is no crumb.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn link(&mut self, block: Block, size: usize) {
        self.link_to(block, Class::of(size));
    }

    #[cfg_attr(target_pointer_width = "64", inline(always))]
    fn link_to(&mut self, block: Block, class: Class) {
        let next = *self.head_mut(class);
        block.set_links(Link::list(class.number()), next);
        *self.head_mut(class) = Link::to(block);
        self.set_back(next, Link::to(block));
        *self.word_mut(class) |= 1 << (class.number() % BITS);
    }

    #[cfg_attr(target_pointer_width = "64", inline(always))]
    fn unlink(&mut self, block: Block) {
        let (back, next) = (block.back(), block.next_link());
        self.set_back(next, back);
        if back.is_to_list() {
            // SAFETY: INDEX2, the number is that of the block's list.
            let class = unsafe { Class::new_unchecked(back.list_number()) };
            *self.head_mut(class) = next;
            self.unmark(class, next);
        } else {
            let link = next_link_at(back.pointer(self.window));
            // SAFETY: INDEX1 and INDEX2, the link of a block in a list (BLOCK1 to BLOCK3).
            unsafe { link.write(next) };
        }
    }

    /// Writes the back link of the block that `next` leads to, if it leads to one.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    fn set_back(&mut self, next: Link, back: Link) {
        // SAFETY: the link of a block in a list (BLOCK1 to BLOCK3), or the second word of
        // the end mark (INDEX4).
        unsafe { back_at(next.pointer(self.window)).write(back) };
    }

    /// The first class with this number or a higher one whose list is not empty.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    fn class_from(&self, first: usize) -> Option<Class> {
        let mut word = first / BITS;
        // SAFETY: CLASS1, `first` is at most `CLASSES`, which is less than all bits.
        let bits = unsafe { *self.bitmap.get_unchecked(word) };
        let mut bits = bits & (usize::MAX << (first % BITS));
        while bits == 0 {
            word += 1;
            bits = *self.bitmap.get(word)?;
        }
        // SAFETY: INDEX3, only bits of classes are set.
        Some(unsafe { Class::new_unchecked(word * BITS + bits.trailing_zeros() as usize) })
    }

    /// Notes that a list is empty, if `first` is a link to no block.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    fn unmark(&mut self, class: Class, first: Link) {
        let empty = usize::from(first == self.nil);
        *self.word_mut(class) &= !(empty << (class.number() % BITS));
    }

    /// The block of this index that a link leads to.
    #[inline]
    fn block(&self, link: Link) -> Option<Block> {
        if link == self.nil {
            return None;
        }
        // SAFETY: INDEX1 and INDEX2; the caller has the index, so it holds the store's
        // lock.
        Some(unsafe { Block::of_header(link.pointer(self.window)) })
    }

    #[inline(always)]
    fn head_mut(&mut self, class: Class) -> &mut Link {
        // SAFETY: CLASS1.
        unsafe { self.heads.get_unchecked_mut(class.number()) }
    }

    #[inline(always)]
    fn word_mut(&mut self, class: Class) -> &mut usize {
        // SAFETY: CLASS1, and there are `CLASSES / BITS` words, rounded up.
        unsafe { self.bitmap.get_unchecked_mut(class.number() / BITS) }
    }
}

/// The first class whose blocks all hold `size` bytes behind the largest possible gap
/// before a multiple of `align`.
#[inline(always)]
fn enough_for(size: usize, align: usize) -> Option<usize> {
    // A size is at most 2^31, and so is an alignment on 32-bit targets: this does
    // not overflow.
    Class::enough_for(size + ((align - 1) & !(GRANULE - 1)))
}

#[cfg(feature = "testing")]
use super::region::Regions;

#[cfg(feature = "testing")]
impl Index {
    /// Walks all lists, tests INDEX1 to INDEX4, and returns the number of blocks in them.
    pub fn check(&self, regions: &Regions) -> Result<usize, &'static str> {
        let is_end =
            |end: Block| Link::to(end) == self.nil && Window::of(end.address()) == self.window;
        if self.window != Window::NONE && !regions.iter().any(|span| is_end(span.end)) {
            return Err("INDEX4: the lists do not end at an end mark of the window");
        }
        let mut count = 0;
        for number in 1..CLASSES {
            // SAFETY: the loop's bounds.
            let class = unsafe { Class::new_unchecked(number) };
            let marked = self.bitmap[number / BITS] >> (number % BITS) & 1 != 0;
            let (mut link, mut previous) = (self.block(self.heads[number]), Link::list(number));
            if marked != link.is_some() {
                return Err("INDEX3: a bit and its list disagree");
            }
            while let Some(block) = link {
                if Window::of(block.address()) != self.window {
                    return Err("INDEX1: a list holds a block that is not in the window");
                }
                if !block.is_free() || Class::of(block.size()) != class {
                    return Err("INDEX2: a list holds a block that is not of its class");
                }
                if block.back() != previous {
                    return Err("INDEX2: a link back does not lead back");
                }
                previous = Link::to(block);
                (link, count) = (self.block(block.next_link()), count + 1);
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::header::MAX_BLOCK;

    #[test]
    fn an_empty_index_finds_nothing() {
        let mut index = Index::new(Window::of(0), Link::NONE);
        assert!(index.find(MIN_BLOCK, GRANULE).is_none());
        assert!(index.find(MAX_BLOCK, 1 << (usize::BITS - 1)).is_none());
    }
}
