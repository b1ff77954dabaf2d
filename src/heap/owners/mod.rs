//! Owners: what each has, in spans to itself and in common ones, and what it is charged.
//!
//! - [`heap`]: the record of an owner that has spans to itself; [`lists`]: its spans, and
//!   its caches; [`stripes`]: the locks of the records.
//! - [`begin_end`]: how spans become a heap's, and go back to the arena.
//! - [`payer`]: charge, overdraft and refusal; [`charges`]: what the owner of a heap pays for
//!   its spans; [`credit`]: what an owner pays for blocks in common ones.
//! - [`numbers`]: owner numbers, given out; [`entry`]: the record of each;
//!   [`entry_locks`]: their locks.
//! - [`ledger`]: what a thread keeps for an owner number.

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
