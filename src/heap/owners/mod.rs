//! Owners: what each has, in spans of its own and in common ones, and what it is charged.

pub mod begin_end;
pub mod charges;
pub mod credit;
pub mod entry;
pub mod heap;
pub mod ledger;
pub mod lists;
pub mod numbers;
pub mod stripes;
