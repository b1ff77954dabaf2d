//! The home that `Expert` means when none is named.

/// The process-wide heap.
#[cfg(feature = "std")]
pub type DefaultHome = crate::api::ExpertAlloc;

/// A heap of the program's own, in a static.
#[cfg(not(feature = "std"))]
pub type DefaultHome = &'static crate::api::ExpertHeap;
