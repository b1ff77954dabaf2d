//! A set of slices of one chunk, a bit each. It uses no memory and no locks.

use crate::heap::base::geometry::SLICES;

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
    #[inline]
    pub fn has_all(&self, start: usize, count: usize) -> bool {
        masks(start, count).all(|(word, mask)| self.0[word] & mask == mask)
    }

    /// Whether any slice of `start..start + count` is in the set.
    #[inline]
    pub fn has_any(&self, start: usize, count: usize) -> bool {
        masks(start, count).any(|(word, mask)| self.0[word] & mask != 0)
    }

    /// Adds `start..start + count`.
    #[inline]
    pub fn insert(&mut self, start: usize, count: usize) {
        masks(start, count).for_each(|(word, mask)| self.0[word] |= mask);
    }

    /// Removes `start..start + count`.
    #[inline]
    pub fn remove(&mut self, start: usize, count: usize) {
        masks(start, count).for_each(|(word, mask)| self.0[word] &= !mask);
    }

    /// Adds all numbers of `other`.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, more)| *word |= more);
    }

    /// The numbers that are in both sets.
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

    /// The start of `count` slices in a row that are in the set, at a multiple of `align`.
    /// A single slice is taken from the first run. Several slices are taken from the run
    /// with the fewest slices in `around`, a superset of this set. This best fit keeps long
    /// runs for requests that need them. The time grows with the number of runs.
    pub fn find_run(&self, count: usize, align: usize, around: &Self) -> Option<usize> {
        if count == 1 && align == 1 {
            return self.next(0);
        }
        let (mut best, mut fewest) = (None, usize::MAX);
        for (from, slices) in self.runs() {
            let start = from.next_multiple_of(align);
            if start + count <= from + slices {
                let room = around.next_gap(from) - from;
                if room < fewest {
                    (best, fewest) = (Some(start), room);
                }
                if room == count {
                    break;
                }
            }
        }
        best
    }

    /// The first `count` members, or all if there are fewer.
    pub fn first(&self, count: usize) -> Self {
        let (mut first, mut left) = (Self::EMPTY, count);
        for (start, slices) in self.runs() {
            first.insert(start, slices.min(left));
            left -= slices.min(left);
            if left == 0 {
                break;
            }
        }
        first
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

/// The words that `start..start + count` touches, each with its bits; usually there is one.
#[inline]
fn masks(start: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
    debug_assert!(start + count <= SLICES);
    let (mut word, mut low, mut left) = (start / 64, start % 64, count);
    core::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let taken = left.min(64 - low);
        let mask = (word, u64::MAX >> (64 - taken) << low);
        (word, low, left) = (word + 1, 0, left - taken);
        Some(mask)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the answers against a look at each slice.
    fn slow_run(set: &SliceSet, count: usize, align: usize, around: &SliceSet) -> Option<usize> {
        let holds = |set: &SliceSet, slice| slice < SLICES && set.has_all(slice, 1);
        let begins = |&slice: &usize| holds(set, slice) && (slice == 0 || !holds(set, slice - 1));
        let fit = |from: usize| {
            let start = from.next_multiple_of(align);
            (from..start + count).all(|slice| holds(set, slice)).then_some((from, start))
        };
        let room = |from: usize| (from..).take_while(|&slice| holds(around, slice)).count();
        let fits = (0..SLICES).filter(begins).filter_map(fit);
        fits.min_by_key(|&(from, _)| if count == 1 && align == 1 { 0 } else { room(from) })
            .map(|(_, start)| start)
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
            let mut around = set;
            around.insert(start, count.min(SLICES - start));
            for around in [&set, &around] {
                let found = set.find_run(count, align, around);
                assert_eq!(found, slow_run(&set, count, align, around));
            }
            assert_eq!(set.runs().map(|(_, count)| count).sum::<usize>(), set.len());
        }
    }
}
