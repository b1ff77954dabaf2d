//! Numbers that are the same in each run (SplitMix64).

pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) as usize % end
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    /// A size in bytes: small ones are the most frequent.
    pub fn size(&mut self) -> usize {
        let magnitude = self.below(17);
        self.below(1 << magnitude) + 1
    }

    /// Sometimes a size that gets a mapping or a large part of a chunk to itself; such
    /// blocks are not written to.
    pub fn large_size(&mut self) -> usize {
        if self.one_in(12) { self.below(40 << 20) + 1 } else { self.size() }
    }
}
