//! The free blocks by size: the two-level index of TLSF.
//!
//! A *class* is a range of sizes. Up to 16 granules each size has a class;
//! above, each power of two is cut into eight ranges of equal width (so a
//! class spans at most an eighth of its size), and on 64-bit targets, where
//! heads are twice as wide, the largest powers of two stay whole. Each class
//! has a list, and a bit that says whether the list is empty; finding the next
//! class that is not takes two bit scans.
//!
//! M. Masmano, I. Ripoll, A. Crespo, J. Real: TLSF, a new dynamic memory
//! allocator for real-time systems. ECRTS 2004.
//!
//! - X1 a class is less than [`CLASSES`].
//! - X2 each free block is in the list of its class, once, and nothing else is
//!   in a list.
//! - X3 bit `c` of the bitmap is set iff list `c` is not empty; bit `w` of the
//!   summary is set iff word `w` of the bitmap is not 0.

use super::block::{Block, Link};
use super::header::{GRANULE, MAX_BLOCK};

/// Log2 of the classes to a power of two.
const FINE: u32 = 3;

/// How many powers of two, above the first 16 granules, are cut up.
const LEVELS: u32 = if usize::BITS == 32 { TOP - FINE } else { 9 };

/// Log2 of the largest size in granules.
const TOP: u32 = (MAX_BLOCK / GRANULE).ilog2();

/// Granules of the first size of the classes that are whole powers of two.
const COARSE: u32 = FINE + 1 + LEVELS;

/// The number of classes that are parts of a power of two.
const FINE_CLASSES: usize = ((LEVELS as usize) << FINE) + (2 << FINE);

/// The number of lists.
const CLASSES: usize = FINE_CLASSES + if TOP >= COARSE { (TOP - COARSE) as usize + 1 } else { 0 };

const BITS: usize = usize::BITS as usize;
const WORDS: usize = CLASSES.div_ceil(BITS);

/// How many blocks of the class that a size falls into are looked at before a
/// block of a larger class is taken, which any size in the class fits.
const LOOKS: usize = 4;

pub use class::Class;

/// Keeps the constructor of classes, and with it X1, to itself.
mod class {
    use super::{CLASSES, COARSE, FINE, FINE_CLASSES};
    use crate::fixed::header::{GRANULE, MAX_BLOCK};

    /// A range of sizes (X1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Class(usize);

    impl Class {
        /// The class of a block of `size` bytes, a size that H1 allows.
        #[inline]
        pub fn of(size: usize) -> Self {
            debug_assert!(size <= MAX_BLOCK);
            let granules = size / GRANULE;
            let log2 = usize::BITS - 1 - (granules | 1 << FINE).leading_zeros();
            if CLASSES > FINE_CLASSES && log2 >= COARSE {
                return Self(FINE_CLASSES + (log2 - COARSE) as usize);
            }
            let level = log2 - FINE;
            Self(((level as usize) << FINE) + (granules >> level))
        }

        /// The class with this number, found set in the bitmap.
        ///
        /// # Safety
        ///
        /// - S1 `number < CLASSES`.
        #[inline]
        pub unsafe fn new_unchecked(number: usize) -> Self {
            debug_assert!(number < CLASSES);
            Self(number)
        }

        /// The number of the class, less than `CLASSES`.
        #[inline]
        pub fn number(self) -> usize {
            self.0
        }
    }
}

/// The lists of free blocks.
pub struct Index {
    heads: [Link; CLASSES],
    bitmap: [usize; WORDS],
    summary: usize,
}

impl Index {
    /// An index of no blocks.
    pub const fn new() -> Self {
        Self { heads: [None; CLASSES], bitmap: [0; WORDS], summary: 0 }
    }

    /// A free block that holds `size` bytes, in bounded time.
    #[inline]
    pub fn find(&self, size: usize) -> Option<Block> {
        let class = Class::of(size);
        let mut link = self.head(class);
        for _ in 0..LOOKS {
            let Some(block) = link else { break };
            if block.size() >= size {
                return Some(block);
            }
            link = block.links()[1];
        }
        self.head(self.next_class(class)?)
    }

    /// A free block that holds `size` bytes at a multiple of `align`, and the
    /// gap in front of them, in bounded time.
    pub fn find_aligned(&self, size: usize, align: usize) -> Option<(Block, usize)> {
        let fits = |block: Block| {
            let gap = block.gap(align)?;
            let end = gap.checked_add(size)?;
            (end <= block.size()).then_some((block, gap))
        };
        let class = Class::of(size);
        let mut link = self.head(class);
        for _ in 0..LOOKS {
            let Some(block) = link else { break };
            if let Some(found) = fits(block) {
                return Some(found);
            }
            link = block.links()[1];
        }
        let larger = self.next_class(class).and_then(|class| self.head(class)).and_then(fits);
        // With the largest gap there can be in front, any block will do.
        larger.or_else(|| {
            let most = size.checked_add(align)?.checked_add(GRANULE)?;
            self.find((most <= MAX_BLOCK).then_some(most)?).and_then(fits)
        })
    }

    /// Puts a free block at the head of its list.
    #[inline]
    pub fn insert(&mut self, block: Block, size: usize) {
        let class = Class::of(size);
        let next = self.head(class);
        block.set_links(None, next);
        match next {
            Some(next) => next.set_previous_link(Some(block)),
            None => self.mark(class),
        }
        *self.head_mut(class) = Some(block);
    }

    /// Takes a free block out of its list.
    #[inline]
    pub fn remove(&mut self, block: Block, size: usize) {
        let [previous, next] = block.links();
        if let Some(next) = next {
            next.set_previous_link(previous);
        }
        match previous {
            Some(previous) => previous.set_next_link(next),
            None => {
                let class = Class::of(size);
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
        let (word, bit) = (first / BITS, first % BITS);
        if word >= WORDS {
            return None;
        }
        let here = self.word(word) & (usize::MAX << bit);
        let (word, bits) = if here != 0 {
            (word, here)
        } else {
            let words = self.summary & (usize::MAX << word << 1);
            if words == 0 {
                return None;
            }
            let word = words.trailing_zeros() as usize;
            (word, self.word(word))
        };
        // SAFETY: X3, only bits of classes are set.
        Some(unsafe { Class::new_unchecked(word * BITS + bits.trailing_zeros() as usize) })
    }

    #[inline]
    fn mark(&mut self, class: Class) {
        let (word, bit) = (class.number() / BITS, class.number() % BITS);
        *self.word_mut(word) |= 1 << bit;
        self.summary |= 1 << word;
    }

    #[inline]
    fn unmark(&mut self, class: Class) {
        let (word, bit) = (class.number() / BITS, class.number() % BITS);
        *self.word_mut(word) &= !(1 << bit);
        if self.word(word) == 0 {
            self.summary &= !(1 << word);
        }
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
    fn word(&self, word: usize) -> usize {
        // SAFETY: X1 and X3, the callers divide a class by `BITS`, or found
        // the number in the summary.
        unsafe { *self.bitmap.get_unchecked(word) }
    }

    #[inline]
    fn word_mut(&mut self, word: usize) -> &mut usize {
        // SAFETY: X1, the callers divide a class by `BITS`.
        unsafe { self.bitmap.get_unchecked_mut(word) }
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
        for (word, &bits) in self.bitmap.iter().enumerate() {
            if (self.summary >> word & 1 != 0) != (bits != 0) {
                return Err("X3: the summary and a word of the bitmap disagree");
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::header::MIN_BLOCK;

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
        let index = Index::new();
        assert!(index.find(MIN_BLOCK).is_none());
        assert!(index.find_aligned(MAX_BLOCK, 1 << (usize::BITS - 1)).is_none());
    }
}
