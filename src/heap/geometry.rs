//! The sizes that the host engine is built on.
//!
//! ```text
//! chunk, 32 MiB (4 MiB on 32-bit), aligned to its size
//! +---------+---------+---------+---------+-- --+-----------+
//! | slice 0 | slice 1 | slice 2 | slice 3 |     | slice 511 |
//! | headers | <- span of one  > | < span, 1 | ...           |
//! +---------+---------+---------+---------+-- --+-----------+
//!   |
//!   slice 0 = [ chunk | header 1 | header 2 | ... | header 511 ]   128 B each
//! ```
//!
//! The headers lie side by side in slice 0, so they spread over the cache sets
//! and leave blocks on their natural alignment.

/// The unit in which spans are carved and owners are charged, in bytes.
pub const PAGE: usize = 4096;

pub const SLICE_SHIFT: u32 = 16;
/// The unit in which spans are made, in bytes.
pub const SLICE: usize = 1 << SLICE_SHIFT;

pub const CHUNK_SHIFT: u32 = if usize::BITS == 64 { 25 } else { 22 };
/// The unit in which memory is had from the page source, in bytes.
pub const CHUNK: usize = 1 << CHUNK_SHIFT;

/// Slices in a chunk, the one with the headers included.
pub const SLICES: usize = CHUNK / SLICE;

pub const HEADER_SHIFT: u32 = 7;
/// The distance between two span headers, in bytes: two cache lines.
pub const HEADER: usize = 1 << HEADER_SHIFT;

/// What every block is aligned to and a multiple of, in bytes: what `malloc`
/// promises, and room for a link and a guard word.
pub const QUANTUM: usize = 16;

const _: () = assert!(SLICES * HEADER <= SLICE, "the headers fit slice 0");
const _: () = assert!(QUANTUM >= 2 * size_of::<usize>(), "a free block holds two words");
