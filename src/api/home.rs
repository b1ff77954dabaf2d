//! The home that `Expert` means when none is named.

/// The process-wide heap: the home of an `Expert` for which none is named.
///
/// ```
/// use expert_alloc::{DefaultHome, Expert, ExpertAlloc};
///
/// let expert: Expert<DefaultHome> = ExpertAlloc::new().expert("one").register()?;
/// let same: Expert = expert;
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[cfg(feature = "std")]
pub type DefaultHome = crate::api::ExpertAlloc;

/// A heap of the program's own, in a static.
#[cfg(not(feature = "std"))]
pub type DefaultHome = &'static crate::api::ExpertHeap;
