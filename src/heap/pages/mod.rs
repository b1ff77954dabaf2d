//! Chunks from the page source, and runs of slices out of them. This room does not know
//! spans or owners.
//!
//! - [`runs`]: takes slices for a span, and takes them back.
//! - [`huge`]: mappings for blocks that are larger than a chunk; [`kept`]: those that were
//!   freed lately.
//! - [`purging`]: decides when free slices give up their physical pages.
//! - [`growth`], [`release`]: chunks from the page source, and back to it.
//! - [`arena`]: the lists and counts under the one lock; [`chunk`]: what a chunk is;
//!   [`bitmap`]: a set of its slices.
//! - [`chunk_map`]: finds the chunk of an address; [`address`]: makes pointers of
//!   addresses.

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
