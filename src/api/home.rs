//! The default home of `Expert`.

/// The process-wide heap: the default home of `Expert` with `std`.
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

/// A heap of the program in a static: the default home without `std`.
#[cfg(not(feature = "std"))]
pub type DefaultHome = &'static crate::api::ExpertHeap;
