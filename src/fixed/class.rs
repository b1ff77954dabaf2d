//! Classes of block sizes, as pure functions.
//!
//! Up to 63 granules, just under 2 KiB (512 bytes on 32-bit targets), each size
//! has a class; above, each power of two is cut into ranges of equal width:
//! sixteen up to 1,024 granules, eight up to 32 times that. The few blocks beyond
//! share one class.
//!
//! - CLASS1 a class is less than [`CLASSES`], and not 0.
//! - CLASS2 the classes are in the order of their sizes.

use core::num::NonZeroU32;

use super::header::{GRANULE, MAX_BLOCK};

/// Sizes in granules below this have a class each, of the same number.
const EXACT: usize = 1 << FIRST;
const FIRST: usize = 6;

/// From this size on, in bytes, the blocks of a class differ by so much that
/// a search looks at a block that may be large enough before one that certainly is.
pub const WIDE: usize = GRANULE << 10;

/// Log2 of the largest size in granules.
const TOP: usize = (MAX_BLOCK / GRANULE).ilog2() as usize;

/// Log2 of the number of classes for sizes from `2^log2` granules up to twice as many.
const fn cuts(log2: usize) -> usize {
    match log2 {
        0..=9 => 4,
        10..=14 => 3,
        _ => 0,
    }
}

/// For each power of two from `EXACT` granules on, the shift of a size in granules, and the
/// number that is then added, modulo 256, to make a class.
const STEPS: [(u8, u8); TOP + 1] = {
    let mut steps = [(0, 0); TOP + 1];
    let (mut log2, mut first) = (FIRST, EXACT);
    while log2 <= TOP {
        let shift = log2 - cuts(log2);
        steps[log2] = (shift as u8, (first as u8).wrapping_sub(1 << cuts(log2)));
        first += 1 << cuts(log2);
        log2 += 1;
    }
    steps
};

/// The number of classes.
pub const CLASSES: usize = Class::of(MAX_BLOCK).number() + 1;

const _: () = assert!(CLASSES <= 256, "classes are computed in bytes");

/// A class: a range of sizes (CLASS1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class(u32);

impl Class {
    /// The class of a block of `size` bytes, a size that HEAD1 allows.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub const fn of(size: usize) -> Self {
        debug_assert!(size >= GRANULE && size <= MAX_BLOCK);
        Self(number((size / GRANULE) as u32))
    }

    /// The number of the first class whose blocks all have `size` bytes, a multiple of a
    /// granule; `None` if no block is that large.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub const fn enough_for(size: usize) -> Option<usize> {
        if size > MAX_BLOCK {
            return None;
        }
        let granules = size / GRANULE;
        if granules < EXACT {
            return Some(granules);
        }
        // The class behind the last one with smaller blocks.
        Some(number(granules as u32 - 1) as usize + 1)
    }

    /// The class with this number; 0 for none.
    ///
    /// # Safety
    ///
    /// - S1 `number` is less than [`CLASSES`].
    #[inline(always)]
    pub unsafe fn new_unchecked(number: usize) -> Self {
        debug_assert!(number < CLASSES);
        Self(number as u32)
    }

    /// The number of the class, less than `CLASSES`.
    #[inline(always)]
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

/// The number of the class of a block of that many granules, as many as HEAD1 allows.
///
/// On 64-bit targets there is no branch here, because the sizes that are freed and left
/// over make it unpredictable. On the small processors of other targets a branch costs
/// less, and counting zeros is slow on some of them.
#[cfg_attr(target_pointer_width = "64", inline(always))]
const fn number(granules: u32) -> u32 {
    if usize::BITS == 32 && granules < EXACT as u32 {
        return granules;
    }
    // SAFETY: by HEAD1, there is at least one.
    let log2 = unsafe { NonZeroU32::new_unchecked(granules) }.ilog2() as usize;
    if log2 > TOP {
        // SAFETY: by HEAD1, there are at most as many as in `MAX_BLOCK`.
        unsafe { core::hint::unreachable_unchecked() }
    }
    let (shift, add) = STEPS[log2];
    ((granules >> (shift & 31)) as u8).wrapping_add(add) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for granules in 1..EXACT {
            assert_eq!(Class::of(granules * GRANULE).number(), granules);
        }
        assert_eq!(Class::of(EXACT * GRANULE), Class::of((EXACT + 1) * GRANULE));
        assert_eq!(Class::enough_for(EXACT * GRANULE), Some(EXACT));
        assert_eq!(Class::enough_for((EXACT + 1) * GRANULE), Some(EXACT + 1));
        assert_eq!(Class::enough_for(MAX_BLOCK + 1), None);
    }
}
