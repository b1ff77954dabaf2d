//! The sizes that the host engine is built on.
//!
//! ```text
//! chunk, 32 MiB (4 MiB on 32-bit), aligned to its size
//! +---------+--- --+-----------+-----------+-----------+-- --+-----------+
//! | slice 0 |      | slice 102 | slice 103 | slice 104 |     | slice 510 |
//! | headers | tag tables       | < span, 2 slices    > | ...             |
//! +---------+--- --+-----------+-----------+-----------+-- --+-----------+
//!   |         |
//!   |         one table of 16 KiB for each slice of blocks
//!   slice 0 = [ unused | header 1 | header 2 | ... | header 511 ]   128 B each
//! ```
//!
//! The headers lie side by side in slice 0, so they spread over the cache sets and leave
//! blocks on their natural alignment. Headers and tag tables stay what they are for as long
//! as the chunk is mapped: no block ever lies there, so a read without a lock finds a
//! header or a tag, whatever the slice is used for.

/// The unit in which spans are carved and owners are charged, in bytes.
pub const PAGE: usize = 4096;

pub const SLICE_SHIFT: u32 = 16;
/// The unit in which spans are made, in bytes.
pub const SLICE: usize = 1 << SLICE_SHIFT;

pub const CHUNK_SHIFT: u32 = if usize::BITS == 64 { 25 } else { 22 };
/// The unit of memory from the page source, in bytes.
pub const CHUNK: usize = 1 << CHUNK_SHIFT;

/// Slices in a chunk, including the slice of the headers.
pub const SLICES: usize = CHUNK / SLICE;

/// The distance between two tag tables, in bytes: a tag of four bytes for each
/// block of a slice of the smallest class.
pub const TABLE: usize = SLICE / QUANTUM * size_of::<u32>();

/// Slices of a chunk that blocks may lie in; the tag table of each takes a quarter of a
/// slice.
pub const BLOCK_SLICES: usize = (SLICES - 1) * SLICE / (SLICE + TABLE);

/// The first slice that blocks may lie in: behind the headers and the tables.
pub const FIRST_SLICE: usize = 1 + (BLOCK_SLICES * TABLE).div_ceil(SLICE);

/// The headers and tag tables of a chunk with this many slices for blocks, in bytes.
pub const fn front_of(slices: usize) -> usize {
    SLICE + (slices * TABLE).next_multiple_of(SLICE)
}

pub const HEADER_SHIFT: u32 = 7;
/// The distance between two span headers, in bytes: two cache lines.
pub const HEADER: usize = 1 << HEADER_SHIFT;

/// The unit of every block's address and size, in bytes: the alignment that
/// `malloc` promises, and room for a link and a guard word.
pub const QUANTUM: usize = 16;

const _: () = assert!(SLICES * HEADER <= SLICE, "the headers fit slice 0");
const _: () = assert!(FIRST_SLICE + BLOCK_SLICES <= SLICES, "the tables leave room for the blocks");
const _: () = assert!(QUANTUM >= 2 * size_of::<usize>(), "a free block holds two words");
