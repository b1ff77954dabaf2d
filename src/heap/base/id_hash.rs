//! The hash of the identifiers that caches are looked up by.

/// Spreads an id over the word: identifiers are small numbers in few bits.
#[derive(Clone, Copy, Default)]
pub struct IdHasher;

impl core::hash::BuildHasher for IdHasher {
    type Hasher = IdHash;

    fn build_hasher(&self) -> IdHash {
        IdHash(0)
    }
}

/// See [`IdHasher`].
pub struct IdHash(u64);

impl core::hash::Hasher for IdHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_usize(usize::from(byte)));
    }

    fn write_usize(&mut self, word: usize) {
        // Fibonacci hashing (Knuth, TAOCP 3, 6.4), folded so that both ends
        // of the product count.
        let product = u128::from(self.0 ^ word as u64) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}
