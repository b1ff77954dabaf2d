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
//! - X2 each free block of at least [`MIN_BLOCK`] bytes is in the list of its
//!   class, once, and nothing else is in a list.
//! - X3 bit `c` of the bitmap is set iff list `c` is not empty.

use super::block::{Back, Block, Link};
use super::header::{GRANULE, MIN_BLOCK};

use class::CLASSES;
pub use class::Class;

const BITS: usize = usize::BITS as usize;
const WORDS: usize = CLASSES.div_ceil(BITS);

/// How many blocks are looked at before a request is refused.
const LOOKS: usize = 16;

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

    /// How many classes stand in a table. On 32-bit targets, which count the
    /// bytes of their programs, none do.
    const TABLED: usize = if usize::BITS == 32 { 0 } else { 256 };

    const TABLE: [u8; TABLED] = {
        let mut table = [0; TABLED];
        let mut granules = 1;
        while granules < TABLED {
            table[granules] = Class::computed(granules as u32).0 as u8;
            granules += 1;
        }
        table
    };

    /// The number of lists.
    pub const CLASSES: usize = Class::of(MAX_BLOCK).0 as usize + 1;

    /// A range of sizes (X1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Class(u32);

    impl Class {
        /// The class of a block of `size` bytes, a size that H1 allows.
        #[inline]
        pub const fn of(size: usize) -> Self {
            debug_assert!(size >= GRANULE && size <= MAX_BLOCK);
            let granules = size / GRANULE;
            if TABLED != 0 && granules < TABLED {
                return Self(TABLE[granules] as u32);
            }
            Self::computed(granules as u32)
        }

        /// The class of a block of `size` bytes, a multiple of a granule;
        /// `None` where no block is that large.
        #[inline(always)]
        pub const fn of_any(size: usize) -> Option<Self> {
            if size <= MAX_BLOCK { Some(Self::of(size)) } else { None }
        }

        #[inline(always)]
        const fn computed(granules: u32) -> Self {
            let log2 = 31 ^ granules.leading_zeros() as usize;
            if log2 > TOP {
                // SAFETY: H1, `size` is at least a granule and at most `MAX_BLOCK`.
                unsafe { core::hint::unreachable_unchecked() }
            }
            let (shift, add) = STEPS[log2];
            Self(((granules >> (shift & 31)) as u8).wrapping_add(add) as u32)
        }

        /// The class with this number, found set in the bitmap.
        ///
        /// # Safety
        ///
        /// - S1 `number < CLASSES`.
        #[inline]
        pub unsafe fn new_unchecked(number: usize) -> Self {
            debug_assert!(number < CLASSES);
            Self(number as u32)
        }

        /// The number of the class, less than `CLASSES`.
        #[inline]
        pub const fn number(self) -> usize {
            self.0 as usize
        }
    }
}

/// A free block at the head of its list, with room for a request.
#[derive(Clone, Copy)]
pub struct Found {
    /// The block.
    pub block: Block,
    /// Its size.
    pub whole: usize,
    /// How far behind its start the block that was asked for begins.
    pub gap: usize,
    class: Class,
}

impl Found {
    #[inline(always)]
    fn new(block: Block, class: Class, align: usize) -> Self {
        Self { block, whole: block.size(), gap: block.gap(align), class }
    }

    /// Whether there is room for `size` bytes. They are at most `MAX_BLOCK`,
    /// and the gap is less than the largest power of two: the sum is no
    /// overflow.
    #[inline(always)]
    fn fits(&self, size: usize) -> bool {
        self.gap + size <= self.whole
    }

    /// The bytes behind the gap.
    #[inline(always)]
    pub fn room(&self) -> usize {
        self.whole - self.gap
    }
}

/// The lists of free blocks.
pub struct Index {
    bitmap: [usize; WORDS],
    heads: [Link; CLASSES],
}

impl Index {
    /// An index of no blocks.
    pub const fn new() -> Self {
        Self { bitmap: [0; WORDS], heads: [None; CLASSES] }
    }

    /// A free block that holds `size` bytes behind a gap that makes the payload
    /// a multiple of `align`: the first of the class that the size falls into,
    /// else the first above, else the first above what is large enough for any
    /// gap. `None` says nothing: ask [`find`](Self::find).
    #[inline(always)]
    pub fn find_fast(&self, size: usize, align: usize) -> Option<Found> {
        let class = Class::of(size);
        if let Some(block) = self.head(class) {
            let found = Found::new(block, class, align);
            if found.fits(size) {
                return Some(found);
            }
        }
        let class = self.next_class(class)?;
        let found = Found::new(self.head(class)?, class, align);
        if found.fits(size) {
            return Some(found);
        }
        // A size is less than 2^32, and on 32-bit targets, as an alignment, at
        // most 2^31: this does not overflow.
        let class = self.next_class(Class::of_any(size + (align - GRANULE))?)?;
        Some(Found::new(self.head(class)?, class, align))
    }

    /// As [`find_fast`](Self::find_fast), and at last one among the first few
    /// blocks of the size's class and those above it.
    pub fn find(&mut self, size: usize, align: usize) -> Option<Found> {
        if let Some(found) = self.find_fast(size, align) {
            return Some(found);
        }
        let mut class = Class::of(size);
        let mut link = self.head(class);
        for _ in 0..LOOKS {
            if link.is_none() {
                class = self.next_class(class)?;
                link = self.head(class);
            }
            let found = Found::new(link?, class, align);
            if found.fits(size) {
                self.unlink(found.block);
                self.link_to(found.block, class);
                return Some(found);
            }
            link = found.block.next_link();
        }
        None
    }

    /// Takes a block away that was found, and is still at the head of its list.
    #[inline(always)]
    pub fn take(&mut self, found: &Found) {
        let next = found.block.next_link();
        *self.head_mut(found.class) = next;
        match next {
            Some(next) => next.set_back(Back::list(found.class.number())),
            None => self.unmark(found.class),
        }
    }

    /// Takes a free block of `size` bytes away.
    #[inline(always)]
    pub fn remove(&mut self, block: Block, size: usize) {
        if size >= MIN_BLOCK {
            self.unlink(block);
        }
    }

    /// Puts a free block of `size` bytes at the head of its list.
    #[inline(always)]
    pub fn insert(&mut self, block: Block, size: usize) {
        if size >= MIN_BLOCK {
            self.link(block, size);
        }
    }

    /// As [`insert`](Self::insert), of a block that is no crumb.
    #[inline(always)]
    pub fn link(&mut self, block: Block, size: usize) {
        self.link_to(block, Class::of(size));
    }

    #[inline(always)]
    fn link_to(&mut self, block: Block, class: Class) {
        let next = self.head(class);
        block.set_links(Back::list(class.number()), next);
        *self.head_mut(class) = Some(block);
        match next {
            Some(next) => next.set_back(Back::block(block)),
            None => *self.word_mut(class) |= 1 << (class.number() % BITS),
        }
    }

    #[inline(always)]
    fn unlink(&mut self, block: Block) {
        let (back, next) = (block.back(), block.next_link());
        if let Some(next) = next {
            next.set_back(back);
        }
        match back.get() {
            Ok(previous) => previous.set_next_link(next),
            Err(number) => {
                // SAFETY: X2, the number is that of the block's list.
                let class = unsafe { Class::new_unchecked(number) };
                *self.head_mut(class) = next;
                if next.is_none() {
                    self.unmark(class);
                }
            }
        }
    }

    /// The first class above `class` whose list is not empty.
    #[inline(always)]
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

    #[inline(always)]
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
            let (mut link, mut previous) = (self.head(class), Back::list(number));
            if marked != link.is_some() {
                return Err("X3: a bit and its list disagree");
            }
            while let Some(block) = link {
                if !block.is_free() || Class::of(block.size()) != class {
                    return Err("X2: a list holds a block that is not of its class");
                }
                if block.back() != previous {
                    return Err("X2: a link back does not lead back");
                }
                (link, previous, count) = (block.next_link(), Back::block(block), count + 1);
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
        assert!(index.find(MIN_BLOCK, 1).is_none());
        assert!(index.find(MAX_BLOCK, 1 << (usize::BITS - 1)).is_none());
    }
}
