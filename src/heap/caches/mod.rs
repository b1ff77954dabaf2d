//! Caches: the spans from which one thread allocates for one heap.
//!
//! - [`cache`]: a cache, whose it is, and what the fast path takes from it;
//!   [`bins`]: bins, and the queues of spans that fill them.
//! - [`refill`]: what happens when a bin is empty.
//! - [`idle`], [`idle_slices`]: spans that are kept without a block in use, and how many.
//! - [`ending`], [`emptying`]: how spans without a block in use end.
//! - [`collect`]: what other threads freed is brought home.
//! - [`leaving`]: what becomes of a cache whose thread or owner ends.
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
