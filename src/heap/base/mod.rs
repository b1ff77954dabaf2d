//! The basis of all rooms: sizes and classes, and memory for the engine's own records.
//!
//! - [`geometry`]: the sizes that the engine is built on.
//! - [`size_class`]: the classes of blocks.
//! - [`number`]: owner numbers, as words.
//! - [`tables`]: memory for records, which are recycled and never unmapped. [`slabs`]:
//!   records whose pages go back when no record is in use.
//! - [`list`]: lists whose links lie in the records.
//! - [`id_hash`]: the hash of numbers that are looked up.
//! - [`paths`], [`refused`]: counts of slow paths that were entered, and of frees that were
//!   refused.

pub mod geometry;
pub mod id_hash;
pub mod list;
pub mod number;
pub mod paths;
pub mod refused;
pub mod size_class;
pub mod slabs;
pub mod tables;
