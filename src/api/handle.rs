//! Handles: allocators for collections that live in an expert's memory.

use core::fmt;

use crate::api::expert::Expert;
use crate::api::home::DefaultHome;
use crate::expert::home::Home;

/// An allocator whose memory is an expert's: a reference to the expert, small
/// and freely copied, to be given to `new_in` of a collection.
///
/// It implements `Allocator` of allocator-api2 0.2 (feature `allocator-api2`),
/// of allocator-api2 0.4 (feature `allocator-api2-04`), and of the standard
/// library where the toolchain has it.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let heap = ExpertAlloc::new();
/// let expert = heap.expert("users").register()?;
/// let mut users = hashbrown::HashMap::new_in(expert.allocator());
/// users.insert("10.0.0.1", 1_u64);
/// assert!(expert.stats().live_bytes > 0);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
pub struct ExpertHandle<'e, H: Home = DefaultHome> {
    expert: &'e Expert<H>,
}

impl<H: Home> Clone for ExpertHandle<'_, H> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Home> Copy for ExpertHandle<'_, H> {}

impl<H: Home> fmt::Debug for ExpertHandle<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExpertHandle").field(&self.expert.key()).finish()
    }
}

impl<'e, H: Home> ExpertHandle<'e, H> {
    #[inline]
    pub(crate) const fn new(expert: &'e Expert<H>) -> Self {
        Self { expert }
    }

    /// The expert that this allocates for.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("one").register()?;
    /// let handle = expert.allocator();
    /// assert_eq!(handle.expert().key(), expert.key());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub const fn expert(self) -> &'e Expert<H> {
        self.expert
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn handles_and_experts_are_shared_between_threads_and_small() {
        fn shared<T: Send + Sync>() {}
        shared::<ExpertHandle<'_>>();
        shared::<Expert>();
        assert_eq!(size_of::<ExpertHandle<'_>>(), size_of::<usize>());
        assert_eq!(size_of::<Expert>(), 2 * size_of::<usize>());
    }
}
