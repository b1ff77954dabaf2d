//! The model's record of a block, and the pattern that it writes into it.

use core::alloc::Layout;
use core::ptr::NonNull;

use expert_alloc::ExpertKey;

/// The way in which a block was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    Ambient,
    Bound,
    Raw,
}

/// A block that the model holds.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub start: NonNull<u8>,
    pub layout: Layout,
    pub face: Face,
    /// The seat of its expert; the number of seats for the host.
    pub seat: usize,
    /// The number of its expert among those of the seat.
    pub incarnation: usize,
    pub key: ExpertKey,
    pub seed: u64,
}

// SAFETY: the model hands blocks from thread to thread, one at a time.
unsafe impl Send for Block {}

const HEAD: usize = 512;
const TAIL: usize = 64;
const PROBES: usize = 16;

fn byte(seed: u64, offset: usize) -> u8 {
    (seed as usize).wrapping_mul(31).wrapping_add(offset.wrapping_mul(7)) as u8 | 1
}

/// The offsets that the pattern covers in a block of `size` bytes.
fn places(size: usize) -> impl Iterator<Item = usize> {
    let head = size.min(HEAD);
    let tail = size.saturating_sub(TAIL).max(head)..size;
    let probes = if size > HEAD + TAIL { PROBES } else { 0 };
    (0..head).chain(tail).chain((0..probes).map(move |probe| size / PROBES * probe))
}

impl Block {
    fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: callers stay inside the block.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// Writes the pattern. Fills the block, which is live and the caller's.
    pub fn fill(&self) {
        for offset in places(self.layout.size()) {
            // SAFETY: inside the block.
            unsafe { self.at(offset).write(byte(self.seed, offset)) };
        }
    }

    /// Checks the pattern in the first `upto` bytes.
    pub fn check_upto(&self, upto: usize) {
        self.check_moved(self.start, upto);
    }

    /// Checks the pattern of a block that now begins at `start`.
    pub fn check_moved(&self, start: NonNull<u8>, upto: usize) {
        for offset in places(self.layout.size()).filter(|&offset| offset < upto) {
            // SAFETY: inside the block.
            let place = unsafe { start.add(offset) };
            // SAFETY: as above; every byte was written.
            let found = unsafe { place.read() };
            let expected = byte(self.seed, offset);
            assert_eq!(found, expected, "offset {offset} of {self:?}, now at {start:?}");
        }
    }

    /// Checks the whole pattern of a block.
    pub fn check(&self) {
        self.check_upto(self.layout.size());
    }

    /// Checks that the bytes from `from` on are 0, or a sample of them if they are many.
    pub fn check_zero(&self, from: usize) {
        let size = self.layout.size();
        let step = if size - from > 256 << 10 { 509 } else { 1 };
        for offset in (from..size).step_by(step) {
            // SAFETY: inside the block.
            let found = unsafe { self.at(offset).read() };
            assert_eq!(found, 0, "offset {offset} of zeroed {self:?}");
        }
    }
}
