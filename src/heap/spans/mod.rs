//! Spans: whose their blocks are by name only, and where each block is.
//!
//! - [`span`]: the header, and with it where each block of the span is; lists of spans.
//! - [`free_block`]: a block that nobody uses, its guard, and lists of such.
//! - [`remote`]: what other threads freed; [`pushes`]: how it gets there.
//! - [`tags`]: whose a block of a tagged span is.

pub mod free_block;
pub mod pushes;
pub mod remote;
pub mod span;
pub mod tags;
