//! Caches: the spans from which one thread allocates for one heap.
//!
//! - [`cache`]: a cache, its owner, and its fast path; [`bins`]: bins, and the queues of
//!   spans that fill them.
//! - [`refill`]: refilling an empty bin.
//! - [`idle`], [`idle_slices`]: spans that are kept without a block in use, and how many.
//! - [`ending`], [`emptying`]: the end of spans without a block in use.
//! - [`collect`]: blocks that other threads freed come home.
//! - [`leaving`]: the fate of a cache whose thread or owner ends.
//! - [`household`]: all caches of a thread.

pub mod bins;
pub mod cache;
pub mod collect;
pub mod emptying;
pub mod ending;
pub mod household;
pub mod idle;
pub mod idle_slices;
pub mod leaving;
pub mod refill;
