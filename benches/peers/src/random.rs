//! Random numbers and block sizes, the same for every allocator.

/// xorshift64*: small, fast, and the same everywhere.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number in `0..limit`, from the high bits.
    pub const fn below(&mut self, limit: usize) -> usize {
        (((self.next() >> 32) * limit as u64) >> 32) as usize
    }
}

/// 4096 block sizes in random order, few enough to stay in the cache.
pub struct Sizes(Box<[u16; 4096]>);

impl Sizes {
    /// The skewed mix: 70 % to 64 bytes, 20 % to 256, 8 % to 1 KiB, 2 % to
    /// 8 KiB.
    pub fn skewed() -> Self {
        Self::draw(|random| {
            let (from, to) = match random.below(100) {
                0..70 => (8, 64),
                70..90 => (65, 256),
                90..98 => (257, 1024),
                _ => (1025, 8192),
            };
            from + random.below(to - from + 1)
        })
    }

    /// Small blocks, 16 to 256 bytes, evenly.
    pub fn small() -> Self {
        Self::draw(|random| 16 + random.below(241))
    }

    /// From half of `bytes` to half as much again, evenly.
    pub fn around(bytes: usize) -> Self {
        Self::draw(|random| bytes / 2 + random.below(bytes + 1))
    }

    /// Every size `bytes`.
    pub fn fixed(bytes: u16) -> Self {
        Self::draw(|_| usize::from(bytes))
    }

    fn draw(mut size: impl FnMut(&mut Random) -> usize) -> Self {
        let mut random = Random::new(42);
        let mut sizes = Box::new([0; 4096]);
        for slot in sizes.iter_mut() {
            *slot = u16::try_from(size(&mut random)).expect("no size is above 64 KiB");
        }
        Self(sizes)
    }

    /// The size number `index`, counted round and round.
    pub const fn get(&self, index: usize) -> usize {
        self.0[index % 4096] as usize
    }
}
