//! The host: the owner of all blocks that belong to no expert.

use core::fmt;

use crate::engine::{Engine, HOST_KEY, Who};
use crate::expert::home::{Home, OwnerOf};
use crate::expert::stats::Stats;
use crate::key::ExpertKey;

/// The host's raw calls, and its figures. A block that must outlive its expert is
/// transferred to the host, and from the host to the next expert.
///
/// The host has a key like any expert, no quota, and never ends.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let heap = ExpertAlloc::new();
/// let host = heap.host();
/// let block = host.alloc(100)?;
/// assert_eq!(heap.owner_of(block.as_ptr()), Some(host.key()));
/// host.free(block.as_ptr())?;
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Host<H: Home> {
    home: H,
}

impl<H: Home> Host<H> {
    pub(crate) const fn new(home: H) -> Self {
        Self { home }
    }

    /// Its key, the same in every program.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let host = ExpertAlloc::new().host();
    /// assert_eq!(host.key().to_string(), "0.1");
    /// ```
    #[must_use]
    pub fn key(&self) -> ExpertKey {
        HOST_KEY
    }

    /// Its figures: live blocks and bytes, charges, counts.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let host = ExpertAlloc::new().host();
    /// let before = host.stats();
    /// host.alloc(100)?;
    /// assert_eq!(host.stats().live_blocks, before.live_blocks + 1);
    /// assert_eq!(host.stats().quota, 0, "it has none");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(self.home.engine(), self.who())
    }

    pub(crate) fn home(&self) -> H {
        self.home
    }

    pub(crate) fn who(&self) -> Who<'_, OwnerOf<H>> {
        self.home.engine().host()
    }
}

impl<H: Home> fmt::Debug for Host<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}
