//! Sources of choices: a seed, or the bytes of a fuzzer.

use core::alloc::Layout;

/// A source of choices.
pub enum Dice<'a> {
    /// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    Seed(u64),
    /// Bytes of a fuzzer, until they are spent.
    Bytes(&'a [u8]),
}

impl Dice<'_> {
    /// Whether no choice is left.
    pub fn is_spent(&self) -> bool {
        matches!(self, Self::Bytes([]))
    }

    pub fn next(&mut self) -> u64 {
        match self {
            Self::Seed(state) => {
                *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut word = *state;
                word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
                word ^ word >> 31
            }
            Self::Bytes(bytes) => {
                let (taken, rest) = bytes.split_at(bytes.len().min(4));
                *bytes = rest;
                let word = taken.iter().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
                word.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ word
            }
        }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A size in bytes: mostly small, sometimes beyond `largest` by far, never 0.
    pub fn size(&mut self, largest: usize) -> usize {
        let limit = match self.below(1000) {
            // Many blocks have the same size, so spans become full.
            0..=149 => return 40,
            150..=219 => return 1000,
            220..=549 => 256,
            550..=799 => 4 << 10,
            800..=929 => 64 << 10,
            930..=989 => 512 << 10,
            990..=997 => 4 << 20,
            998 => 40 << 20,
            _ if self.once_in(4) => return isize::MAX as usize - self.below(1 << 20),
            _ => 8,
        };
        1 + self.below(limit.min(largest))
    }

    /// A layout for a size like that of [`size`](Self::size).
    pub fn layout(&mut self, largest: usize) -> Layout {
        let size = self.size(largest);
        let shift = match self.below(1000) {
            0..=799 => self.below(5),
            800..=949 => 5 + self.below(8),
            950..=989 => 13 + self.below(4),
            990..=997 => 17 + self.below(4),
            _ if largest > 1 << 20 => 21 + self.below(6),
            _ => 4,
        };
        let align = 1 << shift;
        Layout::from_size_align(size, align)
            .unwrap_or_else(|_| Layout::from_size_align(size, 1).unwrap())
    }
}
