//! Made-up traffic: the same frames each time, of every kind that the experts
//! care about, so that the host has something to do without a capture.
//!
//! About forty conversations run at the same time. A generator with a fixed seed selects
//! the one that sends next, and a new conversation replaces one that is over.

use std::collections::VecDeque;

use crate::conversation;

/// Conversations under way at the same time.
const CONVERSATIONS: usize = 40;

/// Clock of the first frame, in nanoseconds since the epoch: 1 January 2026.
const START: u64 = 1_767_225_600_000_000_000;

/// Small, fast and good enough pseudo-random numbers: Steele, Lea and Flood,
/// "Fast splittable pseudorandom number generators", 2014.
pub struct SplitMix(u64);

impl SplitMix {
    /// The numbers that follow from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`. The slight bias does not matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// `true` in one of `n` cases.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// `len` arbitrary bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 7);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// An endless stream of made-up frames.
pub struct Traffic {
    numbers: SplitMix,
    clock: u64,
    under_way: Vec<VecDeque<Vec<u8>>>,
}

impl Traffic {
    /// The stream from its beginning.
    pub fn new() -> Self {
        let mut under_way = Vec::new();
        under_way.resize_with(CONVERSATIONS, VecDeque::new);
        Self { numbers: SplitMix::new(0x5eed), clock: START, under_way }
    }

    /// The next frame and its time.
    pub fn next_frame(&mut self) -> (u64, Vec<u8>) {
        loop {
            let chosen = self.numbers.below(CONVERSATIONS as u64) as usize;
            if let Some(frame) = self.under_way[chosen].pop_front() {
                self.clock += 1_000 + self.numbers.below(40_000);
                return (self.clock, frame);
            }
            self.under_way[chosen] = conversation::any(&mut self.numbers);
        }
    }
}
