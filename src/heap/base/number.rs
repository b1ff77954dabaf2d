//! Owner numbers, as words: what a tag says of a block's owner.
//!
//! What is kept for a number lies in segments that double in size (see `numbers`), and
//! what a thread keeps for it in segments of the same sizes (see `ledger`).

use crate::engine::Kind;

const INDEX_BITS: u32 = 23;

/// An owner number: a kind and an index that is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(u32);

impl Number {
    /// How many bits a number has.
    pub const BITS: u32 = INDEX_BITS + 2;

    /// The largest index.
    pub const LAST: usize = (1 << INDEX_BITS) - FIRST_SEGMENT - 1;

    /// The number of `kind` and `index`; `None` for an index beyond the last one, or 0.
    pub const fn new(kind: Kind, index: usize) -> Option<Self> {
        if index == 0 || index > Self::LAST {
            return None;
        }
        Some(Self((kind as u32) << INDEX_BITS | index as u32))
    }

    /// As a word.
    #[inline(always)]
    pub const fn into_raw(self) -> u32 {
        self.0
    }

    /// From a word that [`into_raw`](Self::into_raw) gave, or 0.
    #[inline(always)]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        if raw == 0 { None } else { Some(Self(raw)) }
    }

    /// The kind of the blocks that bear it.
    pub const fn kind(self) -> Kind {
        Kind::ALL[self.kind_place()]
    }

    /// The place of its kind among [`Kind::ALL`].
    #[inline(always)]
    pub const fn kind_place(self) -> usize {
        (self.0 >> INDEX_BITS) as usize % Kind::ALL.len()
    }

    /// Its index among those of its kind.
    #[inline(always)]
    pub const fn index(self) -> usize {
        (self.0 & ((1 << INDEX_BITS) - 1)) as usize
    }
}

/// How many entries the first segment of a kind has.
pub const FIRST_SEGMENT: usize = 256;

/// How many segments hold all numbers of a kind: each has twice as many as the one before.
pub const SEGMENT_COUNT: usize = ((1 << INDEX_BITS) / FIRST_SEGMENT).ilog2() as usize;

/// The segment of `index`, and the place in it.
#[inline(always)]
pub const fn place_of(index: usize) -> (usize, usize) {
    let place = index + FIRST_SEGMENT;
    let segment = (place / FIRST_SEGMENT).ilog2() as usize;
    (segment, place - (FIRST_SEGMENT << segment))
}
