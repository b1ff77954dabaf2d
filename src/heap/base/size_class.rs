//! Size classes: 16 bytes apart up to 128 bytes, then four to each doubling,
//! so that at most a fifth of a block is lost to rounding.
//!
//! A block is a multiple of its class's size away from a slice boundary, and a
//! class size is a multiple of every power of two up to its largest such
//! factor; [`of_layout`] chooses the class so that this covers the alignment.

use core::alloc::Layout;

use super::geometry::SLICE;

/// The number of classes.
pub const CLASSES: usize = 44;

/// The largest size whose spans are one slice, in bytes.
pub const SMALL_MAX: usize = 8 << 10;

/// The largest size that has a class, in bytes; beyond it a block has a span
/// of its own.
pub const CLASSED_MAX: usize = 64 << 10;

/// Up to this size a table gives the class. Most requests are that small, and the table
/// takes two instructions; the formula needs a bit scan, which is slow on some processors.
/// The table has 1 KiB.
const LOOKED_UP_MAX: usize = SMALL_MAX;

/// The classes of sizes up to [`LOOKED_UP_MAX`], 16 bytes a step. It is a constant, so the
/// linker places it beside its users, and they need no indirect access.
const LOOKED_UP: &[BinPlace; LOOKED_UP_MAX / 16] = &{
    let mut table = [BinPlace(0); LOOKED_UP_MAX / 16];
    let mut step = 0;
    while step < table.len() {
        table[step] = BinPlace::of_class(computed(16 * step + 16));
        step += 1;
    }
    table
};

/// A size class as the place of its bin: the distance from the first bin in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinPlace(u16);

impl BinPlace {
    /// How far bins lie apart, in bytes.
    pub const BIN: usize = 2 * core::mem::size_of::<usize>();

    /// The place of the bin of `class`.
    #[inline(always)]
    pub const fn of_class(class: usize) -> Self {
        debug_assert!(class < CLASSES);
        Self((class * Self::BIN) as u16)
    }

    /// The class.
    #[inline(always)]
    pub const fn class(self) -> usize {
        self.0 as usize / Self::BIN
    }

    /// Bytes from the first bin.
    #[inline(always)]
    pub const fn offset(self) -> usize {
        self.0 as usize
    }
}

/// The class for `layout`, if one look-up finds it: up to [`LOOKED_UP_MAX`] bytes, aligned
/// to at most 16. A size of 0 has no entry in the table either.
#[inline(always)]
pub fn looked_up(layout: Layout) -> Option<BinPlace> {
    if layout.align() > 16 {
        return None;
    }
    LOOKED_UP.get(layout.size().wrapping_sub(1) >> 4).copied()
}

/// The class for `size` bytes, `1 <= size <= CLASSED_MAX`.
#[inline(always)]
pub fn of_size(size: usize) -> usize {
    match LOOKED_UP.get((size - 1) >> 4) {
        Some(place) => place.class(),
        None => computed(size),
    }
}

/// The class for `size` bytes.
///
/// With `x = size - 1` and `b` the place of its highest bit (6 at least), the
/// two bits below the highest one choose among the four classes of a doubling;
/// below 128 the same formula counts in steps of 16.
#[inline(always)]
const fn computed(size: usize) -> usize {
    let x = size - 1;
    let b = (x | 64).ilog2() as usize;
    (x >> (b - 2)) + 4 * b - 24
}

/// The block size of a class in bytes.
#[inline]
pub const fn size_of(class: usize) -> usize {
    if class < 8 { (class + 1) * 16 } else { (5 + class % 4) << (5 + (class - 8) / 4) }
}

/// The class whose blocks have room and alignment for `layout`; `None` if it needs a span
/// of its own. The size must not be 0.
#[inline(always)]
pub fn of_layout(layout: Layout) -> Option<usize> {
    let (size, align) = (layout.size(), layout.align());
    if align <= 16 {
        return if size <= CLASSED_MAX { Some(of_size(size)) } else { None };
    }
    if align > CLASSED_MAX || size > CLASSED_MAX {
        return None;
    }
    // At most CLASSED_MAX, because that is a multiple of `align`.
    Some(of_size((size + align - 1) & !(align - 1)))
}

/// How many slices a span of this class has: one up to `SMALL_MAX`, otherwise the number
/// that eight blocks fill.
pub const fn slices(class: usize) -> usize {
    let size = size_of(class);
    if size <= SMALL_MAX { 1 } else { (8 * size).div_ceil(SLICE) }
}

/// How many blocks a span of this class has.
pub const fn capacity(class: usize) -> u32 {
    CAPACITY[class] as u32
}

/// The table of [`capacity`], because a division is slow.
const CAPACITY: [u16; CLASSES] = {
    let mut table = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        table[class] = (slices(class) * SLICE / size_of(class)) as u16;
        class += 1;
    }
    table
};

const _: () = {
    let mut class = 0;
    while class < CLASSES {
        assert!(computed(size_of(class)) == class, "a class holds its own size");
        assert!(class == 0 || computed(size_of(class - 1) + 1) == class, "classes have no gap");
        assert!(size_of(class) % crate::heap::base::geometry::QUANTUM == 0);
        assert!(capacity(class) <= 4096 && capacity(class) >= 7);
        class += 1;
    }
    assert!(size_of(CLASSES - 1) == CLASSED_MAX);
    assert!(slices(computed(SMALL_MAX)) == 1);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_and_alignment_fits_its_class() {
        for size in 1..=CLASSED_MAX {
            let class = of_size(size);
            assert!(size_of(class) >= size);
            assert!(size <= 128 || size_of(class) <= size + size / 4, "at most a quarter more");
        }
        for align in (0..=16).map(|shift| 1usize << shift) {
            for size in (1..4096).chain((4096..=CLASSED_MAX).step_by(997)) {
                let class = of_layout(Layout::from_size_align(size, align).unwrap()).unwrap();
                assert!(size_of(class) >= size);
                assert_eq!(size_of(class) % align, 0, "size {size} align {align}");
            }
        }
    }

    #[test]
    fn what_is_too_large_has_no_class() {
        for (size, align) in [(CLASSED_MAX + 1, 1), (1, 2 * CLASSED_MAX), (CLASSED_MAX + 1, 4096)] {
            assert_eq!(of_layout(Layout::from_size_align(size, align).unwrap()), None);
        }
    }
}
