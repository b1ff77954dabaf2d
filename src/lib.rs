#![cfg_attr(feature = "std", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "std"),
    doc = "Memory for firmware that runs modules of different origin: every block carries its owner. See the README."
)]
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(expert_alloc_allocator_gate, feature(allocator_api))]
// docs.rs says at each item which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(docsrs, doc(auto_cfg(hide(expert_alloc_allocator))))]

mod account;
mod api;
mod engine;
mod error;
mod expert;
pub mod fixed;
#[cfg(all(doc, feature = "std"))]
pub mod guide;
#[cfg(feature = "std")]
mod heap;
mod key;
#[cfg(feature = "std")]
mod lock;
#[cfg(feature = "std")]
mod source;
mod sync;
#[cfg(all(feature = "testing", feature = "std"))]
#[doc(hidden)]
pub mod testing;
#[cfg(feature = "std")]
mod wait;

#[cfg(feature = "capi")]
pub use api::capi;
#[cfg(feature = "std")]
pub use api::{
    Background, ExpertAlloc, Failure, FailureKind, InScope, Inherit, Observation, RunAsync, Scope,
    SharedExpert, SharedHandle, Snapshot,
};
pub use api::{DefaultHome, Expert, ExpertBuilder, ExpertHandle, ExpertHeap, Holder, Host};
pub use error::Error;
#[cfg(feature = "std")]
pub use expert::events::{Event, EventKind, Observer, Refusal, Verdict};
pub use expert::explained::Explained;
pub use expert::home::{Ambient, Home};
pub use expert::largest::{Holding, Largest};
#[cfg(feature = "std")]
pub use expert::owned_name::NameCopy;
pub use expert::report::ExpertSnapshot;
pub use expert::stats::{Reclaimed, Stats};
pub use expert::table::Report;
pub use expert::visit::State;
#[cfg(feature = "std")]
pub use heap::HeapStats;
pub use key::ExpertKey;

/// The global allocator of the unit tests is the heap that they test.
#[cfg(all(test, feature = "std"))]
#[global_allocator]
static HEAP_UNDER_TEST: ExpertAlloc = ExpertAlloc::new();
