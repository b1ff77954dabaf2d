//! Owner numbers, as words: a tag names a block's owner by its number.
//!
//! The entry of a number lies in segments that double in size (see `numbers`), and a
//! thread's line for it in segments of the same sizes (see `ledger`).

use core::num::NonZeroU32;

use crate::engine::Kind;

/// Bits of a place: an index, and [`FIRST_SEGMENT`] more.
const PLACE_BITS: u32 = 23;

/// An owner number: a kind and an index that is not 0.
///
/// As a word, it has the kind above the index's place, so looking up an entry or a line
/// needs no addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(NonZeroU32);

impl Number {
    /// How many bits a number has.
    pub const BITS: u32 = PLACE_BITS + 2;

    /// The largest index.
    pub const LAST: usize = (1 << PLACE_BITS) - FIRST_SEGMENT - 1;

    /// The number of `kind` and `index`; `None` for an index beyond the last one, or 0.
    pub const fn new(kind: Kind, index: usize) -> Option<Self> {
        if index == 0 || index > Self::LAST {
            return None;
        }
        Self::from_raw((kind as u32) << PLACE_BITS | (index + FIRST_SEGMENT) as u32)
    }

    /// As a word.
    #[inline(always)]
    pub const fn into_raw(self) -> u32 {
        self.0.get()
    }

    /// The number of a word from [`into_raw`](Self::into_raw); `None` for 0.
    #[inline(always)]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match NonZeroU32::new(raw) {
            Some(word) => Some(Self(word)),
            None => None,
        }
    }

    /// The kind of the blocks that bear the number.
    pub const fn kind(self) -> Kind {
        Kind::ALL[self.kind_place()]
    }

    /// The place of its kind among [`Kind::ALL`].
    #[inline(always)]
    pub const fn kind_place(self) -> usize {
        (self.into_raw() >> PLACE_BITS) as usize % Kind::ALL.len()
    }

    /// Its index among those of its kind.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.place() - FIRST_SEGMENT
    }

    /// Its place among all of its kind, as if their segments lay side by side: segment `s`
    /// has the places from `FIRST_SEGMENT << s` on.
    #[inline(always)]
    pub const fn place(self) -> usize {
        (self.into_raw() & ((1 << PLACE_BITS) - 1)) as usize
    }

    /// The segment of its place, among those of all kinds: [`SEGMENTS_PER_KIND`] of each.
    #[inline(always)]
    pub const fn segment(self) -> usize {
        // Never 0: a place is `FIRST_SEGMENT` or more.
        let segment = ((self.place() / FIRST_SEGMENT) | 1).ilog2() as usize;
        let of_kind = (self.into_raw() >> PLACE_BITS) as usize * SEGMENTS_PER_KIND;
        (of_kind | segment) % SEGMENT_COUNT
    }
}

/// How many entries the first segment of a kind has.
pub const FIRST_SEGMENT: usize = 256;

/// The number of segments of a kind. Each has twice as many places as the one before it.
pub const SEGMENTS_PER_KIND: usize = 16;

/// The number of segments of all kinds; it is a power of two, so a remainder is a mask.
pub const SEGMENT_COUNT: usize = 4 * SEGMENTS_PER_KIND;

const _: () = assert!(Kind::ALL.len() * SEGMENTS_PER_KIND <= SEGMENT_COUNT);
const _: () = assert!((1 << PLACE_BITS) / FIRST_SEGMENT <= 1 << (SEGMENTS_PER_KIND - 1));

/// How many places segment `segment` of a kind has.
pub const fn places(segment: usize) -> usize {
    FIRST_SEGMENT << (segment % SEGMENTS_PER_KIND)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_place_of_its_own_in_a_segment_of_its_kind() {
        for (of_kind, kind) in Kind::ALL.into_iter().enumerate() {
            let mut next = (of_kind * SEGMENTS_PER_KIND, FIRST_SEGMENT + 1);
            for index in 1..=Number::LAST {
                let number = Number::new(kind, index).expect("an index in range");
                assert_eq!((number.segment(), number.place()), next, "{kind:?} {index}");
                assert_eq!((number.kind(), number.index()), (kind, index));
                assert_eq!(Number::from_raw(number.into_raw()), Some(number));
                let (segment, place) = (next.0, next.1 + 1);
                next = if place < 2 * places(segment) {
                    (segment, place)
                } else {
                    (segment + 1, place)
                };
            }
            assert!(
                Number::new(kind, 0).is_none() && Number::new(kind, Number::LAST + 1).is_none()
            );
        }
        assert_eq!(Number::from_raw(0), None);
    }
}
