//! Spans: the lists of their blocks. They name their owners only by address.
//!
//! - [`span`]: the header, with the lists of the span's blocks; lists of spans.
//! - [`free_block`]: a free block, its guard, and lists of free blocks.
//! - [`remote`]: the list of blocks that other threads freed; [`pushes`]: pushing a block
//!   there.
//! - [`tags`]: the owners of blocks of tagged spans.

pub mod free_block;
pub mod pushes;
pub mod remote;
pub mod span;
pub mod tags;
