//! Quotas while they are used.

use crate::api::expert::Expert;
use crate::error::Error;
use crate::expert::family;
use crate::expert::home::Home;
use crate::expert::stats::Stats;

impl<H: Home> Expert<H> {
    /// Sets the hard limit of what may be charged from now on, in bytes; 0 for none. If
    /// more is charged already, nothing is taken away, and new requests are refused until
    /// enough was freed.
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertAlloc};
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("elastic").quota(64 << 10).register()?;
    /// assert_eq!(expert.alloc(100 << 10), Err(Error::QuotaExceeded));
    /// expert.set_quota(1 << 20);
    /// let block = expert.alloc(100 << 10)?;
    /// expert.set_quota(64 << 10);
    /// assert_eq!(expert.size(block.as_ptr()), 100 << 10, "it stays");
    /// assert_eq!(expert.alloc(100 << 10), Err(Error::QuotaExceeded));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_quota(&self, bytes: usize) {
        self.slot().account().set_quota(bytes);
    }

    /// Sets the soft quota: reports say so when more bytes are charged; 0 for none.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("growing").register()?;
    /// expert.alloc(100 << 10)?;
    /// expert.set_soft_quota(64 << 10);
    /// assert!(expert.snapshot().is_over_soft_quota());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn set_soft_quota(&self, bytes: usize) {
        self.slot().account().set_soft_quota(bytes);
        #[cfg(feature = "std")]
        if let Some(hosted) = self.slot().hosted() {
            hosted.told.forget_soft();
        }
    }

    /// Moves `bytes` of this expert's quota to that of another, if they are not in
    /// use. An expert without a quota has none to give; if the other has no quota,
    /// it stays without one.
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertAlloc};
    ///
    /// let heap = ExpertAlloc::new();
    /// let idle = heap.expert("idle").quota(1 << 20).register()?;
    /// let busy = heap.expert("busy").quota(1 << 20).register()?;
    /// idle.give_room(&busy, 512 << 10)?;
    /// assert_eq!((idle.stats().quota, busy.stats().quota), (512 << 10, 1536 << 10));
    /// assert_eq!(idle.give_room(&busy, 512 << 10), Err(Error::QuotaExceeded), "all of it");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`] if so much of the quota is not free, or if nothing would be
    /// left, because a quota of 0 means none.
    pub fn give_room(&self, to: &Self, bytes: usize) -> Result<(), Error> {
        let (from, to) = (self.slot().account(), to.slot().account());
        from.give_room(to, bytes).map_err(|_| Error::QuotaExceeded)
    }

    /// Lets an overdrawn expert go on, if its charge is within its quota and its
    /// parents' quotas again, because memory was freed or a quota was raised.
    /// Returns whether it is no longer overdrawn.
    ///
    /// ```
    /// use expert_alloc::{ExpertAlloc, State};
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// let expert = ALLOC.expert("large").quota(64 << 10).register()?;
    /// let large = expert.run(|| vec![0_u8; 1 << 20]).unwrap();
    /// assert_eq!((expert.state(), expert.forgive()), (State::Overdrawn, false));
    /// expert.set_quota(2 << 20);
    /// assert!(expert.forgive());
    /// assert_eq!(expert.state(), State::Live);
    /// # drop(large);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn forgive(&self) -> bool {
        self.slot().account().forgive()
    }

    /// The sum of the figures of the expert, its children, their children, and so on.
    /// Charges, their peak and the quota are those of the expert itself, whose charges
    /// include its children's.
    ///
    /// The call looks at every expert of the heap.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let tenant = heap.expert("tenant").quota(1 << 20).register()?;
    /// let query = heap.expert("query").parent(&tenant).register()?;
    /// tenant.alloc(100)?;
    /// query.alloc(100)?;
    /// assert_eq!(tenant.stats().live_blocks, 1);
    /// assert_eq!(tenant.subtree().live_blocks, 2);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn subtree(&self) -> Stats {
        family::subtree(self.home(), self.key(), self.stats())
    }
}
