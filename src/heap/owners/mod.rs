//! Owners: what each has, in spans to itself and in common ones, and what it is charged.
//!
//! - [`heap`]: the record of an owner that has spans to itself; [`lists`]: its spans, and
//!   its caches; [`stripes`]: the locks of the records.
//! - [`begin_end`]: how spans become a heap's, and go back to the arena.
//! - [`charges`]: what the owner of a heap is charged for its spans: quota, overdraft,
//!   refusal.
//! - [`numbers`]: owner numbers, given out; [`entry`]: the record of each;
//!   [`entry_locks`]: their locks.
//! - [`ledger`]: what a thread keeps for an owner number; [`credit`]: charge, overdraft and
//!   refusal of blocks in common spans.

pub mod begin_end;
pub mod charges;
pub mod credit;
pub mod entry;
pub mod entry_locks;
pub mod heap;
pub mod ledger;
pub mod lists;
pub mod numbers;
pub mod stripes;
