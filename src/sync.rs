//! The one switch between the real atomics and the model checker's.
//!
//! Everything that is checked under loom takes its atomics from here; `--cfg loom`
//! swaps them. On targets without compare-and-swap the feature `critical-section`
//! stands in for it.

#[cfg(all(not(target_has_atomic = "ptr"), not(feature = "critical-section")))]
compile_error!("this target has no compare-and-swap: enable the feature `critical-section`");

#[cfg(all(not(loom), target_has_atomic = "ptr"))]
#[allow(unused_imports, reason = "not every engine uses all of them")]
pub use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering, fence,
};
#[cfg(loom)]
#[allow(unused_imports, reason = "not every engine uses all of them")]
pub use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering, fence,
};
#[cfg(all(not(target_has_atomic = "ptr"), feature = "critical-section"))]
#[allow(unused_imports, reason = "not every engine uses all of them")]
pub use portable_atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering, fence,
};

/// Half of a pointer-sized word: slot numbers and counts of slots.
#[cfg(target_pointer_width = "64")]
pub type Half = u32;
/// Half of a pointer-sized word: slot numbers and counts of slots.
#[cfg(target_pointer_width = "32")]
pub type Half = u16;

/// A [`Half`] that threads share.
#[cfg(target_pointer_width = "32")]
pub type AtomicHalf = AtomicU16;
/// A [`Half`] that threads share.
#[cfg(target_pointer_width = "64")]
pub type AtomicHalf = AtomicU32;
