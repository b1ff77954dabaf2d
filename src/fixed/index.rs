//! The free blocks by size: the two-level index of TLSF.
//!
//! A *class* is a range of sizes. Up to 16 granules each size has a class;
//! above, each power of two is cut into eight ranges of equal width, so that a
//! class spans at most an eighth of its size. On 64-bit targets, where heads
//! are twice as wide, larger powers of two are cut into fewer. Each class has a
//! list, and a bit that says whether the list is empty; finding the next class
//! that is not is a bit scan.
//!
//! M. Masmano, I. Ripoll, A. Crespo, J. Real: TLSF, a new dynamic memory
//! allocator for real-time systems. ECRTS 2004.
//!
//! - X1 a class is less than [`CLASSES`].
//! - X2 each free block is in the list of its class, once, and nothing else is
//!   in a list.
//! - X3 bit `c` of the bitmap is set iff list `c` is not empty.

use core::ptr::NonNull;

use super::block::{Block, Link};
use super::header::{MAX_BLOCK, MIN_BLOCK};

use class::CLASSES;
pub use class::Class;

const BITS: usize = usize::BITS as usize;
const WORDS: usize = CLASSES.div_ceil(BITS);

/// How many blocks of the class that a size falls into are looked at before a
/// block of a larger class is taken, which any size in the class fits.
const LOOKS: usize = 8;

/// From this size on, in bytes, a class is worth a search: larger blocks are
/// few, and a bad fit costs more.
const LARGE: usize = 4096;

/// Keeps the constructor of classes, and with it X1, to itself.
mod class {
    use crate::fixed::header::{GRANULE, MAX_BLOCK};

    /// Log2 of the largest size in granules.
    const TOP: usize = (MAX_BLOCK / GRANULE).ilog2() as usize;

    /// Log2 of the number of classes that sizes from `2^log2` granules up to
    /// twice as many have.
    const fn cuts(log2: usize) -> usize {
        let most = if usize::BITS == 32 || log2 <= 8 {
            3
        } else if log2 <= 13 {
            2
        } else {
            0
        };
        if log2 < most { log2 } else { most }
    }

    /// For each power of two, what a size in granules is shifted by, and what
    /// is then to be added (modulo 256), to make a class.
    const STEPS: [(u8, u8); TOP + 1] = {
        let mut steps = [(0, 0); TOP + 1];
        let (mut log2, mut first) = (0, 1);
        while log2 <= TOP {
            let shift = log2 - cuts(log2);
            steps[log2] = (shift as u8, (first as u8).wrapping_sub(1 << cuts(log2)));
            first += 1 << cuts(log2);
            log2 += 1;
        }
        steps
    };

    /// The number of lists.
    pub const CLASSES: usize = Class::of(MAX_BLOCK).0 as usize + 1;

    /// A range of sizes (X1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Class(u8);

    impl Class {
        /// The class of a block of `size` bytes, a size that H1 allows.
        #[inline]
        pub const fn of(size: usize) -> Self {
            debug_assert!(size >= GRANULE && size <= MAX_BLOCK);
            let granules = (size / GRANULE) as u32;
            let log2 = 31 ^ granules.leading_zeros() as usize;
            if log2 > TOP {
                // SAFETY: H1, `size` is at least a granule and at most `MAX_BLOCK`.
                unsafe { core::hint::unreachable_unchecked() }
            }
            let (shift, add) = STEPS[log2];
            Self(((granules >> (shift & 31)) as u8).wrapping_add(add))
        }

        /// The class with this number, found set in the bitmap.
        ///
        /// # Safety
        ///
        /// - S1 `number < CLASSES`.
        #[inline]
        pub unsafe fn new_unchecked(number: usize) -> Self {
            debug_assert!(number < CLASSES);
            Self(number as u8)
        }

        /// The number of the class, less than `CLASSES`.
        #[inline]
        pub const fn number(self) -> usize {
            self.0 as usize
        }
    }
}

/// A free block, and the list that it is in.
pub struct Found {
    /// The block.
    pub block: Block,
    class: Class,
}

/// The lists of free blocks.
pub struct Index {
    bitmap: [usize; WORDS],
    heads: [Link; CLASSES],
    /// Where a link is written that no block has.
    nowhere: Link,
}

impl Index {
    /// An index of no blocks.
    pub const fn new() -> Self {
        Self { bitmap: [0; WORDS], heads: [None; CLASSES], nowhere: None }
    }

    /// As [`find`](Self::find), where no list has to be searched: `None` where
    /// one has, too.
    #[inline(always)]
    pub fn find_fast(&self, size: usize) -> Option<Found> {
        let class = Class::of(size);
        match self.head(class) {
            _ if size >= LARGE => None,
            Some(block) if block.size() >= size => Some(Found { block, class }),
            _ => self.first_above(class),
        }
    }

    /// A free block that holds `size` bytes, in bounded time: of the class
    /// that the size falls into, else of the next. It comes to the head of its
    /// list.
    pub fn find(&mut self, size: usize) -> Option<Found> {
        let class = Class::of(size);
        let fits = |block: Block| block.size() >= size;
        if let Some(found) = self.look(class, fits) {
            return Some(found);
        }
        let above = self.first_above(class)?;
        self.look(above.class, fits)
    }

    /// A free block that holds `size` bytes behind a gap that makes the payload
    /// a multiple of `align`, in bounded time. It comes to the head of its list.
    pub fn find_aligned(&mut self, size: usize, align: usize) -> Option<Found> {
        let fits = |block: Block| {
            let end = block.gap(align).and_then(|gap| gap.checked_add(size));
            end.is_some_and(|end| end <= block.size())
        };
        let class = Class::of(size);
        if let Some(found) = self.look(class, fits) {
            return Some(found);
        }
        if let Some(found) = self.first_above(class).filter(|found| fits(found.block)) {
            return Some(found);
        }
        // With the largest gap there can be in front, any block will do.
        let most = size.checked_add(align)?.checked_add(MIN_BLOCK)?;
        self.find((most <= MAX_BLOCK).then_some(most)?)
    }

    /// Looks for a block that fits among the first of a list, and brings it to
    /// the head.
    fn look(&mut self, class: Class, fits: impl Fn(Block) -> bool) -> Option<Found> {
        let mut best: Link = None;
        let mut link = self.head(class);
        for _ in 0..LOOKS {
            let Some(block) = link else { break };
            if fits(block) && best.is_none_or(|best| block.size() < best.size()) {
                best = link;
            }
            link = block.links()[1];
        }
        let block = best?;
        self.unlink(block, class);
        self.link(block, class);
        Some(Found { block, class })
    }

    #[inline(always)]
    fn first_above(&self, class: Class) -> Option<Found> {
        let class = self.next_class(class)?;
        Some(Found { block: self.head(class)?, class })
    }

    /// Takes a block away that was found, and is still at the head of its list.
    #[inline(always)]
    pub fn take(&mut self, found: &Found) {
        let [_, next] = found.block.links();
        *self.head_mut(found.class) = next;
        self.set_previous(next, None);
        if next.is_none() {
            self.unmark(found.class);
        }
    }

    /// Takes a free block of `size` bytes away.
    #[inline]
    pub fn remove(&mut self, block: Block, size: usize) {
        self.unlink(block, Class::of(size));
    }

    /// Puts a free block of `size` bytes at the head of its list.
    #[inline]
    pub fn insert(&mut self, block: Block, size: usize) {
        self.link(block, Class::of(size));
    }

    #[inline]
    fn link(&mut self, block: Block, class: Class) {
        let next = self.head(class);
        block.set_links(None, next);
        self.set_previous(next, Some(block));
        self.mark(class);
        *self.head_mut(class) = Some(block);
    }

    #[inline]
    fn unlink(&mut self, block: Block, class: Class) {
        let [previous, next] = block.links();
        if let Some(next) = next {
            next.set_previous_link(previous);
        }
        match previous {
            Some(previous) => previous.set_next_link(next),
            None => {
                *self.head_mut(class) = next;
                if next.is_none() {
                    self.unmark(class);
                }
            }
        }
    }

    /// The first class above `class` whose list is not empty.
    #[inline]
    fn next_class(&self, class: Class) -> Option<Class> {
        let first = class.number() + 1;
        let mut word = first / BITS;
        let mut bits = self.bitmap.get(word)? & (usize::MAX << (first % BITS));
        while bits == 0 {
            word += 1;
            bits = *self.bitmap.get(word)?;
        }
        // SAFETY: X3, only bits of classes are set.
        Some(unsafe { Class::new_unchecked(word * BITS + bits.trailing_zeros() as usize) })
    }

    /// Writes the link back of a block, if there is one. Which of the two is as
    /// good as random, so it is a choice between two addresses, not a branch.
    #[inline(always)]
    fn set_previous(&mut self, block: Link, previous: Link) {
        let nowhere = NonNull::from(&mut self.nowhere);
        let at = block.map_or(nowhere, Block::previous_link);
        // SAFETY: the link of a free block of this store (B1 to B3), or a field
        // of our own.
        unsafe { at.write(previous) };
    }

    #[inline]
    fn mark(&mut self, class: Class) {
        *self.word_mut(class) |= 1 << (class.number() % BITS);
    }

    #[inline]
    fn unmark(&mut self, class: Class) {
        *self.word_mut(class) &= !(1 << (class.number() % BITS));
    }

    #[inline]
    fn head(&self, class: Class) -> Link {
        // SAFETY: X1.
        unsafe { *self.heads.get_unchecked(class.number()) }
    }

    #[inline]
    fn head_mut(&mut self, class: Class) -> &mut Link {
        // SAFETY: X1.
        unsafe { self.heads.get_unchecked_mut(class.number()) }
    }

    #[inline]
    fn word_mut(&mut self, class: Class) -> &mut usize {
        // SAFETY: X1, and there are `CLASSES / BITS` words, rounded up.
        unsafe { self.bitmap.get_unchecked_mut(class.number() / BITS) }
    }
}

#[cfg(feature = "testing")]
impl Index {
    /// Walks all lists, testing X2 and X3; the number of blocks in them.
    pub fn check(&self) -> Result<usize, &'static str> {
        let mut count = 0;
        for number in 0..CLASSES {
            // SAFETY: the loop's bound.
            let class = unsafe { Class::new_unchecked(number) };
            let marked = self.bitmap[number / BITS] >> (number % BITS) & 1 != 0;
            let (mut link, mut previous) = (self.head(class), None);
            if marked != link.is_some() {
                return Err("X3: a bit and its list disagree");
            }
            while let Some(block) = link {
                if !block.is_free() || Class::of(block.size()) != class {
                    return Err("X2: a list holds a block that is not of its class");
                }
                let [back, next] = block.links();
                if back != previous {
                    return Err("X2: a link back does not lead back");
                }
                (link, previous, count) = (next, Some(block), count + 1);
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::header::GRANULE;

    #[test]
    fn classes_grow_with_the_size_and_all_are_used() {
        let mut last = Class::of(GRANULE).number();
        let mut size = GRANULE;
        while size <= MAX_BLOCK - GRANULE {
            size += (size / 64).max(GRANULE) & !(GRANULE - 1);
            let class = Class::of(size.min(MAX_BLOCK)).number();
            assert!(class == last || class == last + 1, "{size}: {last}, {class}");
            last = class;
        }
        assert_eq!(last, CLASSES - 1);
    }

    #[test]
    fn small_sizes_have_a_class_each() {
        for granules in 1..16 {
            assert_eq!(Class::of(granules * GRANULE).number(), granules);
        }
        assert_eq!(Class::of(16 * GRANULE), Class::of(17 * GRANULE));
        assert!(Class::of(MIN_BLOCK).number() < CLASSES);
    }

    #[test]
    fn an_empty_index_finds_nothing() {
        let mut index = Index::new();
        assert!(index.find(MIN_BLOCK).is_none());
        assert!(index.find_aligned(MAX_BLOCK, 1 << (usize::BITS - 1)).is_none());
    }
}
