//! The calls: allocate, free, resize, look up.
//!
//! - [`ambient`]: the global allocator's calls.
//! - [`requests`]: requests with a layout, for an owner or for the host; [`seated`]:
//!   requests for a class, by the owner that is seated at a cache or a desk.
//! - [`scoped`]: scopes of the global allocator, entered and left.
//! - [`common`]: blocks of small owners, out of common spans, with tags.
//! - [`pressure`]: the steps after the quota or the system refuses.
//! - [`large`]: blocks with a span to themselves.
//! - [`free`]: frees, by the span's thread or any other.
//! - [`resize`]: in place, or copied.
//! - [`raw`]: blocks for untrusted callers; [`at_once`]: their fast paths; [`lookup`]:
//!   look-up of untrusted addresses.

pub mod ambient;
pub mod at_once;
pub mod common;
pub mod free;
pub mod large;
pub mod lookup;
pub mod pressure;
pub mod raw;
pub mod requests;
pub mod resize;
pub mod scoped;
pub mod seated;
