//! The builder of an expert.

use core::fmt;

use crate::api::Expert;
use crate::api::home::DefaultHome;
use crate::error::Error;
#[cfg(feature = "std")]
use crate::expert::events::EventKind;
#[cfg(feature = "std")]
use crate::expert::home::Ambient;
use crate::expert::home::Home;
use crate::expert::life::{self, Request};
#[cfg(feature = "std")]
use crate::expert::look;
use crate::expert::name::Name;
use crate::expert::slot::OVERDRAFT;

/// An expert about to be registered.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let heap = ExpertAlloc::new();
/// let expert = heap.expert("top-users").quota(64 << 20).soft_quota(48 << 20).register()?;
/// assert_eq!(expert.stats().quota, 64 << 20);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[must_use = "an expert exists once it is registered"]
pub struct ExpertBuilder<'b, H: Home = DefaultHome> {
    home: H,
    name: <H::Name as Name>::Given<'b>,
    quota: usize,
    soft_quota: usize,
    parent: Option<&'b Expert<H>>,
    overdraft: bool,
    #[cfg(feature = "std")]
    guarantee: usize,
}

impl<'b, H: Home> ExpertBuilder<'b, H> {
    pub(crate) fn new(home: H, name: <H::Name as Name>::Given<'b>) -> Self {
        Self {
            home,
            name,
            quota: 0,
            soft_quota: 0,
            parent: None,
            overdraft: true,
            #[cfg(feature = "std")]
            guarantee: 0,
        }
    }

    /// Limits the bytes that may be charged to the expert; 0 for no limit.
    /// Blocks are charged rounded up, and somewhat ahead of their use: see the
    /// guide (`docs/guide/quotas.md`).
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertAlloc};
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("small").quota(64 << 10).register()?;
    /// assert_eq!(expert.alloc(100 << 10), Err(Error::QuotaExceeded));
    /// assert_eq!(expert.stats().refusals, 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn quota(mut self, bytes: usize) -> Self {
        self.quota = bytes;
        self
    }

    /// Sets the soft quota: reports say so when more bytes are charged; 0 for none. Nothing
    /// is refused.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("growing").soft_quota(64 << 10).register()?;
    /// expert.alloc(100 << 10)?;
    /// assert!(expert.snapshot().is_over_soft_quota());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn soft_quota(mut self, bytes: usize) -> Self {
        self.soft_quota = bytes;
        self
    }

    /// Makes the expert a child: its memory is charged to `parent` as well,
    /// whose quota it cannot escape, and it must stop when the parent is told
    /// to stop or ends. Its memory stays its own.
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertAlloc};
    ///
    /// let heap = ExpertAlloc::new();
    /// let plugin = heap.expert("plug-in").quota(64 << 10).register()?;
    /// let query = heap.expert("query").parent(&plugin).register()?;
    /// assert_eq!(query.alloc(100 << 10), Err(Error::QuotaExceeded), "the parent's");
    /// plugin.terminate();
    /// assert_eq!(query.alloc(1), Err(Error::ParentStopped));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn parent(mut self, parent: &'b Expert<H>) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Makes the global allocator return null in a scope of this expert when its quota has
    /// no room, or it was told to stop and its thread has used up the free blocks at hand;
    /// most programs answer by aborting the process. By default the memory is granted,
    /// counted, and the expert is told to stop
    /// ([`State::Overdrawn`](crate::State::Overdrawn)). Its children inherit this setting.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// let expert = ALLOC.expert("careful").quota(64 << 10).refuse_overdraft().register()?;
    /// let _scope = expert.enter();
    /// let mut bytes: Vec<u8> = Vec::new();
    /// assert!(bytes.try_reserve(1 << 20).is_err());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn refuse_overdraft(mut self) -> Self {
        self.overdraft = false;
        self
    }

    /// Makes the expert. It costs no memory until it allocates.
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertAlloc};
    ///
    /// let heap = ExpertAlloc::new();
    /// let plugin = heap.expert("plug-in").register()?;
    /// plugin.terminate();
    /// let query = heap.expert("query").parent(&plugin).register();
    /// assert_eq!(query.unwrap_err(), Error::ParentStopped);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::TooManyExperts`], [`Error::OutOfMemory`]: no slot is left.
    /// - [`Error::ParentStopped`]: the parent must stop.
    /// - [`Error::QuotaExceeded`]: the parent has no room for the guarantee.
    /// - [`Error::InvalidKey`]: the parent lives in another heap.
    pub fn register(self) -> Result<Expert<H>, Error> {
        if self.parent.is_some_and(|parent| !parent.home().is_same(self.home)) {
            return Err(Error::InvalidKey);
        }
        let request = Request {
            name: self.name,
            quota: self.quota,
            soft_quota: self.soft_quota,
            parent: self.parent.map(|parent| (parent.key(), parent.slot())),
            flags: if self.overdraft { OVERDRAFT } else { 0 },
            #[cfg(feature = "std")]
            guarantee: self.guarantee,
        };
        let (key, slot) = life::register(self.home, &request)?;
        #[cfg(feature = "std")]
        look::tell(self.home, key, EventKind::Registered);
        Ok(Expert::registered(self.home, key, slot))
    }
}

#[cfg(feature = "std")]
impl ExpertBuilder<'_, crate::api::ExpertAlloc> {
    /// Limits the expert's charge to a percentage of what the process may have now
    /// (see [`ExpertAlloc::system_limit`](crate::ExpertAlloc::system_limit)); 0 for
    /// no limit. The percentages of all experts together may exceed 100.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("at most a quarter").quota_percent(25).register()?;
    /// assert_eq!(expert.stats().quota, heap.system_limit() / 100 * 25);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn quota_percent(self, percent: u8) -> Self {
        if percent == 0 {
            return self.quota(0);
        }
        let bytes = (crate::heap::system_limit() / 100).saturating_mul(percent.into());
        // A quota of 0 would mean no quota.
        self.quota(bytes.max(1))
    }
}

#[cfg(feature = "std")]
impl<H: Ambient> ExpertBuilder<'_, H> {
    /// Sets bytes of the parent's quota aside for this expert, so that its siblings
    /// cannot use them. They count as charged to the parent until the expert has
    /// ended. Beyond them, the expert competes like any other. Without a parent it
    /// means nothing.
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertAlloc};
    ///
    /// let heap = ExpertAlloc::new();
    /// let tenant = heap.expert("tenant").quota(1 << 20).register()?;
    /// let steady = heap.expert("steady").parent(&tenant).guarantee(512 << 10).register()?;
    /// let greedy = heap.expert("greedy").parent(&tenant).register()?;
    /// assert_eq!(greedy.alloc(600 << 10), Err(Error::QuotaExceeded));
    /// assert!(greedy.alloc(500 << 10).is_ok());
    /// assert!(steady.alloc(500 << 10).is_ok());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn guarantee(mut self, bytes: usize) -> Self {
        self.guarantee = bytes;
        self
    }
}

impl<H: Home> fmt::Debug for ExpertBuilder<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpertBuilder")
            .field("quota", &self.quota)
            .field("soft_quota", &self.soft_quota)
            .field("parent", &self.parent)
            .field("overdraft", &self.overdraft)
            .finish_non_exhaustive()
    }
}
