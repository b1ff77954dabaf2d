//! The public interface: argument checks and types over the expert layer; no policy.
//!
//! ```text
//!  global   the process-wide heap: GlobalAlloc, reports, look-ups
//!  expert_heap   the same for a heap in memory that the program gives
//!  background   memory that goes back
//!  builder  how an expert is registered   expert  Expert itself
//!  handle   what collections are given    scope   ambient attribution
//!  current  who is in scope, and how that travels
//!  quotas   quotas while they are used    holders  who has what was refused
//!  host     what belongs to no expert
//!  shared   owned experts, and their handles
//!  allocator  the Allocator traits on handles
//!  raw      (expert, size) in, pointer or error out
//!  netmon   (key, size) in, pointer or error out
//!  by_key   quotas and figures by a key
//!  aligned  raw blocks beyond 16 bytes
//!  families children kept by their parent   observer  who is told what happens
//!  run      an expert's code, and what became of it
//!  task     the same for futures
//!  panics   what panics allocate           foreign   what C++ may throw
//!  capi     the calls by key in C          leave     what longjmp may leave
//!  lend     what a plug-in's allocator calls
//!  identity which heap this is             process   ExpertAlloc as an allocator and a home
//! ```

#[cfg(feature = "capi")]
mod aligned;
#[cfg(any(feature = "allocator-api2", feature = "allocator-api2-04", expert_alloc_allocator))]
mod allocator;
#[cfg(feature = "std")]
mod background;
mod builder;
#[cfg(feature = "capi")]
mod by_key;
#[cfg(feature = "capi")]
pub mod capi;
#[cfg(feature = "std")]
mod current;
mod expert;
mod expert_heap;
#[cfg(feature = "std")]
mod families;
#[cfg(feature = "std")]
mod foreign;
#[cfg(feature = "std")]
mod global;
mod handle;
mod holders;
mod home;
mod host;
#[cfg(feature = "std")]
mod identity;
#[cfg(feature = "capi")]
mod leave;
#[cfg(feature = "capi")]
mod lend;
#[cfg(feature = "capi")]
mod netmon;
#[cfg(feature = "std")]
mod observer;
#[cfg(feature = "std")]
mod panics;
#[cfg(feature = "std")]
mod process;
mod quotas;
mod raw;
#[cfg(feature = "std")]
mod run;
#[cfg(feature = "std")]
mod scope;
#[cfg(feature = "std")]
mod shared;
#[cfg(feature = "std")]
mod task;
#[cfg(all(test, feature = "std"))]
#[path = "../../tests/inside/api.rs"]
mod tests;

#[cfg(feature = "std")]
pub use background::Background;
pub use builder::ExpertBuilder;
#[cfg(feature = "std")]
pub use current::Inherit;
pub use expert::Expert;
pub use expert_heap::ExpertHeap;
#[cfg(feature = "std")]
pub use global::{ExpertAlloc, Snapshot};
pub use handle::ExpertHandle;
pub use home::DefaultHome;
pub use host::Host;
#[cfg(feature = "std")]
pub use observer::Observation;
pub use raw::Holder;
#[cfg(feature = "std")]
pub use run::{Failure, FailureKind};
#[cfg(feature = "std")]
pub use scope::{InScope, Scope};
#[cfg(feature = "std")]
pub use shared::{SharedExpert, SharedHandle};
#[cfg(feature = "std")]
pub use task::RunAsync;
