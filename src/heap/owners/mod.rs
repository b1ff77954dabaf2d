//! Owners: their memory, in spans to themselves and in common ones, and their charges.
//!
//! - [`heap`]: the record of an owner that has spans to itself; [`lists`]: its spans, and
//!   its caches; [`stripes`]: the locks of the records.
//! - [`begin_end`]: the beginning and the end of a heap's spans.
//! - [`payer`]: charge, overdraft and refusal; [`charges`]: payments of a heap's owner for
//!   its spans; [`credit`]: payments for blocks in common spans.
//! - [`numbers`]: owner numbers, given out; [`entry`]: the record of each;
//!   [`entry_locks`]: their locks.
//! - [`ledger`]: a thread's lines for owner numbers.

pub mod begin_end;
pub mod charges;
pub mod credit;
pub mod entry;
pub mod entry_locks;
pub mod heap;
pub mod ledger;
pub mod lists;
pub mod numbers;
pub mod payer;
pub mod stripes;
