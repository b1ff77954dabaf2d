//! The faces: argument checks and types over the expert layer; no policy.
//!
//! ```text
//!  global   the process-wide heap: GlobalAlloc, reports, look-ups
//!  expert_heap   the same for a heap in memory that the program gives
//!  builder  how an expert is registered   expert  Expert itself
//!  handle   what collections are given    scope   ambient attribution
//!  host     what belongs to no expert
//!  allocator  the Allocator traits on it
//!  raw      (expert, size) in, pointer or error out
//!  netmon   (key, size) in, pointer or error out
//!  aligned  raw blocks beyond 16 bytes
//!  capi     that in C                      foreign   what C++ may throw
//!  leave    what longjmp may leave         lend      what a plug-in's allocator calls
//!  identity which heap this is
//! ```

#[cfg(feature = "capi")]
mod aligned;
#[cfg(any(feature = "allocator-api2", feature = "allocator-api2-04", expert_alloc_nightly))]
mod allocator;
mod builder;
#[cfg(feature = "capi")]
pub mod capi;
mod expert;
mod expert_heap;
#[cfg(feature = "capi")]
mod foreign;
#[cfg(feature = "std")]
mod global;
mod handle;
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
mod raw;
#[cfg(feature = "std")]
mod scope;
#[cfg(all(test, feature = "std"))]
mod tests;

pub use builder::ExpertBuilder;
pub use expert::Expert;
pub use expert_heap::ExpertHeap;
#[cfg(feature = "std")]
pub use global::{ExpertAlloc, Snapshot};
pub use handle::ExpertHandle;
pub use home::DefaultHome;
pub use host::Host;
pub use raw::Holder;
#[cfg(feature = "std")]
pub use scope::{Failure, InScope, Scope};
