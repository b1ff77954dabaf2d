//! A set of slices of one chunk, a bit each. Pure: no memory, no locks.

use super::geometry::SLICES;

const WORDS: usize = SLICES.div_ceil(64);

/// A set of slice numbers below [`SLICES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceSet([u64; WORDS]);

impl SliceSet {
    /// The empty set.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// How many slices are in the set.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no slice is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Whether all slices of `start..start + count` are in the set.
    pub fn has_all(&self, start: usize, count: usize) -> bool {
        masks(start, count).all(|(word, mask)| self.0[word] & mask == mask)
    }

    /// Whether any slice of `start..start + count` is in the set.
    pub fn has_any(&self, start: usize, count: usize) -> bool {
        masks(start, count).any(|(word, mask)| self.0[word] & mask != 0)
    }

    /// Adds `start..start + count`.
    #[inline]
    pub fn insert(&mut self, start: usize, count: usize) {
        if count == 1 {
            // Nearly all spans are one slice.
            self.0[start / 64] |= 1 << (start % 64);
            return;
        }
        masks(start, count).for_each(|(word, mask)| self.0[word] |= mask);
    }

    /// Removes `start..start + count`.
    pub fn remove(&mut self, start: usize, count: usize) {
        masks(start, count).for_each(|(word, mask)| self.0[word] &= !mask);
    }

    /// Adds all that is in `other`.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, more)| *word |= more);
    }

    /// What is in both sets.
    pub fn and(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    /// The first slice at or after `from` that is in the set.
    pub fn next(&self, from: usize) -> Option<usize> {
        self.find(from, 0)
    }

    /// The first slice at or after `from` that is not in the set; `SLICES` if
    /// there is none.
    pub fn next_gap(&self, from: usize) -> usize {
        self.find(from, u64::MAX).unwrap_or(SLICES)
    }

    /// The first start, a multiple of `align`, of `count` slices in a row that
    /// are in the set. Time in the number of runs before it.
    pub fn find_run(&self, count: usize, align: usize) -> Option<usize> {
        let mut from = 0;
        loop {
            let start = self.next(from)?.next_multiple_of(align);
            if start + count > SLICES {
                return None;
            }
            let end = self.next_gap(start);
            if end >= start + count {
                return Some(start);
            }
            from = end.max(start + 1);
        }
    }

    /// The runs of the set, as (start, count), in order.
    pub fn runs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let mut from = 0;
        core::iter::from_fn(move || {
            let start = self.next(from)?;
            from = self.next_gap(start);
            Some((start, from - start))
        })
    }

    fn find(&self, from: usize, flip: u64) -> Option<usize> {
        if from >= SLICES {
            return None;
        }
        let mut word = from / 64;
        let mut bits = (self.0[word] ^ flip) & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = self.0.get(word)? ^ flip;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }
}

/// The words that `start..start + count` touches, each with its bits.
fn masks(start: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
    debug_assert!(start + count <= SLICES);
    let end = start + count;
    let words = if count == 0 { 0..0 } else { start / 64..(end - 1) / 64 + 1 };
    words.map(move |word| {
        let low = start.saturating_sub(word * 64);
        let high = (end - word * 64).min(64);
        (word, u64::MAX << low & u64::MAX >> (64 - high))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same answers by looking at each slice.
    fn slow_run(set: &SliceSet, count: usize, align: usize) -> Option<usize> {
        (0..=SLICES - count)
            .step_by(align)
            .find(|&start| (start..start + count).all(|slice| set.has_all(slice, 1)))
    }

    #[test]
    fn agrees_with_counting_by_hand() {
        let mut random = 0x9E37_79B9_u64;
        let mut next = |below: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        let mut set = SliceSet::EMPTY;
        let mut truth = [false; SLICES];
        for _ in 0..3000 {
            let start = next(SLICES);
            let count = next(SLICES - start + 1).min(next(70));
            let add = next(2) == 0;
            if add {
                set.insert(start, count)
            } else {
                set.remove(start, count)
            }
            truth[start..start + count].fill(add);
            assert_eq!(set.len(), truth.iter().filter(|&&bit| bit).count());
            assert_eq!(set.is_empty(), !truth.contains(&true));
            let at = next(SLICES);
            assert_eq!(set.next(at), (at..SLICES).find(|&slice| truth[slice]));
            assert_eq!(
                set.next_gap(at),
                (at..SLICES).find(|&slice| !truth[slice]).unwrap_or(SLICES)
            );
            let (count, align) = (1 + next(20), 1 << next(4));
            assert_eq!(set.find_run(count, align), slow_run(&set, count, align));
            assert_eq!(set.runs().map(|(_, count)| count).sum::<usize>(), set.len());
        }
    }
}
