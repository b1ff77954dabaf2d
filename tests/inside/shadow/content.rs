//! The content that the model writes into its blocks. Many payloads look like headers,
//! because most mistakes in recognising addresses show only there.

use core::ptr::NonNull;

use super::Random;
use crate::engine::Kind;
use crate::fixed::header::{GRANULE, HEADER, MIN_BLOCK};

/// The content of a block, from its first byte on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// One byte, again and again, so no part of it is like a header.
    Byte(u8),
    /// Words like headers of raw blocks, with this tag, sizes up to `most`, and any check.
    Forged { seed: u32, tag: u32, most: u32 },
    /// The header of a live block, again and again.
    Copied([u32; HEADER / 4]),
}

impl Content {
    /// Words like headers, of blocks of the owner in `slot`, for `size` bytes.
    pub(super) fn forged(random: &mut Random, slot: usize, size: usize) -> Self {
        // In half of the cases, most of these words lead to others.
        let bound = if random.below(2) == 0 { 0x200 } else { size.next_power_of_two() / 4 };
        let most = bound.clamp(2 * MIN_BLOCK, 0x200) as u32 - 1;
        Self::Forged { seed: random.next(), tag: slot as u32, most }
    }

    /// Replaces words like headers by others, and returns whether the content was of that
    /// kind.
    pub(super) fn forge_again(&mut self, random: &mut Random) -> bool {
        let Self::Forged { seed, .. } = self else { return false };
        *seed = random.next();
        true
    }

    /// The header of the live block whose payload is at `payload`.
    pub(super) fn copied(payload: NonNull<u8>) -> Self {
        // SAFETY: the callers pass live blocks: each has its header in front.
        let header = unsafe { payload.sub(HEADER) };
        // SAFETY: as above; two words, aligned.
        Self::Copied(unsafe { header.cast().read() })
    }

    /// Whether the content is meant to look like headers.
    pub(super) fn is_like_headers(self) -> bool {
        !matches!(self, Self::Byte(_))
    }

    /// The byte at `offset`.
    pub(super) fn byte(self, offset: usize) -> u8 {
        let (place, word) = (offset / 4, offset % 4);
        let words = match self {
            Self::Byte(byte) => return byte,
            Self::Copied(words) => words[place % 2],
            Self::Forged { seed, tag, most } => {
                let random = mixed(seed, place as u32);
                if place % 2 == 0 {
                    // The lowest bit, "the block before is free", is 0.
                    random & most & !(GRANULE as u32 - 1) | (Kind::Raw as u32 + 1) << 1
                } else {
                    tag << 16 | random & 0xFFFF
                }
            }
        };
        words.to_ne_bytes()[word]
    }

    /// Writes the first `size` bytes of the content to `start`, a live block's payload of
    /// this size.
    pub(super) fn write(self, start: NonNull<u8>, size: usize) {
        for offset in 0..size {
            // SAFETY: the block is the caller's, `size` bytes long.
            let byte = unsafe { start.add(offset) };
            // SAFETY: as above.
            unsafe { byte.write(self.byte(offset)) };
        }
    }

    /// Whether bytes of a live block's payload at `start` are those of this content.
    pub(super) fn is_at(self, start: NonNull<u8>, mut range: core::ops::Range<usize>) -> bool {
        range.all(|offset| {
            // SAFETY: the callers pass ranges of live blocks.
            let byte = unsafe { start.add(offset) };
            // SAFETY: as above; filled with zeros or by `write`.
            unsafe { byte.read() == self.byte(offset) }
        })
    }
}

/// The `place`-th of some random words (the finalizer of MurmurHash3, Appleby
/// 2011).
fn mixed(seed: u32, place: u32) -> u32 {
    let mut word = seed ^ place.wrapping_mul(0x9E37_79B9);
    word = (word ^ word >> 16).wrapping_mul(0x85EB_CA6B);
    word = (word ^ word >> 13).wrapping_mul(0xC2B2_AE35);
    word ^ word >> 16
}
