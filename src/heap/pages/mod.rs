//! Chunks from the page source, and runs of slices out of them. No room above is known
//! here: what a span is, or an owner.
//!
//! - [`runs`]: slices for a span, and back: what is taken first.
//! - [`huge`]: mappings for blocks that are larger than a chunk; [`kept`]: those that were
//!   freed lately.
//! - [`purging`]: where it is decided that free slices give up their physical pages.
//! - [`growth`], [`release`]: chunks from the page source, and back to it.
//! - [`arena`]: the lists and counts under the one lock; [`chunk`]: what a chunk is;
//!   [`bitmap`]: a set of its slices.
//! - [`chunk_map`]: from any address to its chunk; [`address`]: from an address to a
//!   pointer.

pub mod address;
pub mod arena;
pub mod bitmap;
pub mod chunk;
pub mod chunk_map;
pub mod growth;
pub mod huge;
pub mod kept;
pub mod purging;
pub mod release;
pub mod runs;
