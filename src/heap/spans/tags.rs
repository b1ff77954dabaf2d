//! Tags: a word for each block of a *tagged* span, beside the headers, where no
//! program writes.
//!
//! Spans of one owner need no tags, because their header names the owner. A tagged span
//! holds blocks of many owners, or raw blocks, to which untrusted pointers may lead.
//!
//! ```text
//!   31      30 29                    7      6      5          0
//!  +----------+-----------------------+---------+--------------+
//!  | kind     | index                 | in work | size class   |   0: no block
//!  +----------+-----------------------+---------+--------------+
//!   `------- owner number -----------'
//! ```
//!
//! A table belongs to a slice for as long as its chunk is mapped, so a word of it is a tag
//! whatever the slice is used for. The tag has the class because the class tells which
//! address the word stands for: of two spans that begin at the same slice, one after the
//! other, either the classes differ, or the blocks are the same.
//!
//! # Invariants
//!
//! - TAG1 a block of a tagged span is in use iff its tag is not 0; the tag is then its
//!   owner number and the class of its span. (While a raw block is allocated, resized or
//!   freed, it counts as either.)
//! - TAG2 all words of a table are 0, except tags of blocks in use (TAG1); so all are 0
//!   while no tagged span begins at its slice.
//! - TAG3 a change of a tag to another word that is not 0, and a taking of a tag that
//!   another thread may take as well, is one exchange; raw calls, sweeps and threads that
//!   do not own the span do this. The thread that owns the span may use a load and a store
//!   to clear the tag of a block that it was given to free, because all others leave such a
//!   block alone: raw calls and sweeps look for other tags.
//! - TAG4 only a raw call that has found the block sets `in work`; until it is cleared,
//!   other raw calls for the block wait.

use core::ptr;

use crate::engine::Kind;
use crate::heap::base::geometry::{FIRST_SLICE, SLICE, TABLE};
use crate::heap::base::number::Number;
use crate::heap::base::size_class::{self, CLASSES, SMALL_MAX};
use crate::heap::pages::address::{chunk_of, slice_of};
#[cfg(feature = "capi")]
use crate::sync::fence_behind_exchange;
use crate::sync::{AtomicU32, Ordering};

const CLASS_BITS: u32 = 6;
const IN_WORK: u32 = 1 << CLASS_BITS;
const NUMBER_SHIFT: u32 = CLASS_BITS + 1;

const _: () = assert!(CLASSES < 1 << CLASS_BITS, "a class, or LARGE, fits");
const _: () = assert!(Kind::Raw as u32 == 2 && Kind::ALL.len() == 3, "raw: the highest bit");
const _: () = assert!(Number::BITS + NUMBER_SHIFT == u32::BITS);

/// The value that stands for the class of a block with a span of its own.
const LARGE: usize = (1 << CLASS_BITS) - 1;

/// The tag of a block. See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u32);

impl Tag {
    /// The tag of no block.
    pub const NONE: Self = Self(0);

    /// The tag of a block of `class` in use.
    #[inline(always)]
    pub const fn new(number: Number, class: usize) -> Self {
        Self(number.into_raw() << NUMBER_SHIFT | class as u32)
    }

    /// The tag of a block with a span of its own.
    pub const fn large(number: Number) -> Self {
        Self::new(number, LARGE)
    }

    /// The owner of the block; `None` if there is no block.
    #[inline(always)]
    pub const fn number(self) -> Option<Number> {
        Number::from_raw(self.0 >> NUMBER_SHIFT)
    }

    /// The owner of a block that is not raw; `None` if there is no block, or a raw one.
    #[inline(always)]
    pub const fn number_unless_raw(self) -> Option<Number> {
        // The tag of a raw block has its highest bit set, so as a signed number it is below
        // 0; a tag of no block is below all numbers.
        if self.0 as i32 >= 1 << NUMBER_SHIFT { self.number() } else { None }
    }

    /// The class of the block's span; `None` for a block with a span of its own.
    pub const fn class(self) -> Option<usize> {
        let class = (self.0 & (IN_WORK - 1)) as usize;
        if class < CLASSES { Some(class) } else { None }
    }

    /// Whether a raw call is at work on the block (TAG4).
    pub const fn is_in_work(self) -> bool {
        self.0 & IN_WORK != 0
    }

    /// The tag while a raw call is at work on the block.
    pub const fn in_work(self) -> Self {
        Self(self.0 | IN_WORK)
    }
}

/// The place of a tag.
#[derive(Debug)]
#[repr(transparent)]
pub struct TagWord(AtomicU32);

impl TagWord {
    /// Reads the tag.
    #[inline(always)]
    pub fn load(&self) -> Tag {
        // Acquire: the block as it was handed out (the Release in `store`).
        Tag(self.0.load(Ordering::Acquire))
    }

    /// Writes the tag of a block that only the caller uses.
    #[inline(always)]
    pub fn store(&self, tag: Tag) {
        // Release: the block's content, to a raw call that finds it.
        self.0.store(tag.0, Ordering::Release);
    }

    /// Takes the tag, whatever it is (TAG3).
    #[inline]
    pub fn take(&self) -> Tag {
        // Relaxed: this only decides which thread frees the block; the list that gets the
        // block orders the rest.
        Tag(self.0.swap(0, Ordering::Relaxed))
    }

    /// Changes `old` to `new`, and returns whether the tag was `old` (TAG3).
    pub fn exchange(&self, old: Tag, new: Tag) -> bool {
        // Acquire: as in `load`. Release: as in `store`.
        let done = self.0.compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Acquire);
        done.is_ok()
    }
}

#[cfg(feature = "capi")]
impl TagWord {
    /// As [`exchange`](Self::exchange), with a sequentially consistent fence behind it.
    #[inline(always)]
    pub fn exchange_and_fence(&self, old: Tag, new: Tag) -> bool {
        let done = self.exchange(old, new);
        fence_behind_exchange();
        done
    }
}

/// For each class, the factor that turns an offset into the number of a block, and the size
/// of a block.
#[derive(Clone, Copy)]
pub struct Measure {
    /// `offset * inverse >> 32` is the number of the block there, of a class of one slice;
    /// exact for offsets below 64 KiB, since the factor is less than 1 above 2^32 / size,
    /// and `offset * size < 2^32`. It is 0 for the other classes.
    inverse: u32,
    size: u32,
}

/// It is a constant, so the linker places it beside its users, and they need no indirect
/// access.
const MEASURES: &[Measure; CLASSES] = &{
    let mut table = [Measure { inverse: 0, size: 0 }; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        let size = size_class::size_of(class);
        let inverse = if size <= SMALL_MAX { ((1 << 32) / size as u64 + 1) as u32 } else { 0 };
        table[class] = Measure { inverse, size: size as u32 };
        class += 1;
    }
    table
};

const _: () = assert!(SLICE * SMALL_MAX < 1 << 32);

impl Measure {
    /// The entry of `class`.
    #[inline(always)]
    pub fn of(class: usize) -> Self {
        debug_assert!(class < CLASSES);
        // SAFETY: classes are below CLASSES.
        *unsafe { MEASURES.get_unchecked(class) }
    }

    /// The size of a block, in bytes.
    #[inline(always)]
    pub const fn bytes(self) -> i32 {
        self.size as i32
    }

    /// Whether a span of the class is one slice.
    #[inline(always)]
    pub const fn is_one_slice(self) -> bool {
        self.inverse != 0
    }

    /// The place of the tag of the block at `address`, of a class of one slice.
    ///
    /// # Safety
    ///
    /// - S1 a block of the class, which [is of one slice](Self::is_one_slice), in a tagged
    ///   span of a chunk that is mapped for as long as the result is used.
    #[inline(always)]
    pub unsafe fn word_in_slice(self, address: usize) -> &'static TagWord {
        // SAFETY: S1.
        unsafe { word_at(address, self.index_in_slice(address % SLICE)) }
    }

    /// The number of the block that is `offset` bytes from the first one, of a class of one
    /// slice.
    #[inline(always)]
    pub fn index_in_slice(self, offset: usize) -> usize {
        debug_assert!(self.is_one_slice());
        ((offset as u64 * u64::from(self.inverse)) >> 32) as usize
    }
}

/// The size of a block of `class`, in bytes, from a table.
#[inline(always)]
pub fn block_bytes(class: usize) -> u32 {
    Measure::of(class).size
}

/// The number of the block of `class` that is `offset` bytes from the first one, of a class
/// of one slice; `None` for other classes.
#[inline(always)]
pub fn index_in_slice(class: usize, offset: usize) -> Option<usize> {
    let measure = Measure::of(class);
    measure.is_one_slice().then(|| measure.index_in_slice(offset))
}

/// The number of the block of `class` that is `offset` bytes from the first one.
#[inline(always)]
pub fn index_of(class: usize, offset: usize) -> usize {
    let index = index_in_slice(class, offset);
    index.unwrap_or_else(|| offset / size_class::size_of(class))
}

/// The place of the tag of block `index` of the span that begins at `start`.
///
/// # Safety
///
/// - S1 `start` is the address of a slice for blocks in a chunk that is mapped for
///   as long as the result is used; `index` is below the number of blocks that a
///   slice can hold.
#[inline(always)]
pub unsafe fn word_at(start: usize, index: usize) -> &'static TagWord {
    let table = chunk_of(start) + SLICE + (slice_of(start).wrapping_sub(FIRST_SLICE)) * TABLE;
    let word = ptr::with_exposed_provenance::<TagWord>(table + index * size_of::<TagWord>());
    // SAFETY: S1: inside the table of a slice of a mapped chunk, which holds such words only.
    unsafe { &*word }
}

/// The place of the tag of the block of `class` at `address`.
///
/// # Safety
///
/// - S1 as for [`word_at`]: a block of that class in a mapped chunk; its span begins
///   at `start`.
#[inline(always)]
pub unsafe fn word_of(start: usize, address: usize, class: usize) -> &'static TagWord {
    // SAFETY: S1.
    unsafe { word_at(start, index_of(class, address - start)) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_offset_leads_to_its_block() {
        for class in 0..CLASSES {
            let size = size_class::size_of(class);
            for offset in 0..size_class::slices(class) * SLICE {
                assert_eq!(index_of(class, offset), offset / size, "class {class} offset {offset}");
            }
        }
    }

    #[test]
    fn a_tag_tells_all_that_it_was_made_of() {
        for kind in Kind::ALL {
            for index in [1, 77, Number::LAST] {
                let number = Number::new(kind, index).unwrap();
                for class in 0..CLASSES {
                    let tag = Tag::new(number, class);
                    assert_eq!((tag.number(), tag.class()), (Some(number), Some(class)));
                    assert!(tag.in_work().is_in_work() && !tag.is_in_work());
                }
                assert_eq!(Tag::large(number).class(), None);
                assert_eq!(Tag::large(number).number(), Some(number));
            }
        }
        assert_eq!(Tag::NONE.number(), None);
    }
}
