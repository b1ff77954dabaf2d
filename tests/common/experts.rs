//! Experts on the heap under test, which is the global allocator, and owners of values.

#![allow(dead_code, reason = "not all test programs ask for owners")]

use expert_alloc::{Expert, ExpertAlloc, ExpertKey};

#[global_allocator]
pub static ALLOC: ExpertAlloc = ExpertAlloc::new();

/// A new expert without a quota.
pub fn expert(name: &str) -> Expert {
    ALLOC.expert(name).register().unwrap()
}

/// The owner of the block that the value is in.
pub fn owner<T: ?Sized>(value: &T) -> Option<ExpertKey> {
    ALLOC.owner_of(value)
}

/// The host, as an owner.
pub fn host() -> Option<ExpertKey> {
    Some(ALLOC.host().key())
}
