//! The holders of memory that an expert was refused.

use crate::api::expert::Expert;
#[cfg(feature = "std")]
use crate::api::global::ExpertAlloc;
use crate::error::Error;
use crate::expert::explained::{self, Explained};
use crate::expert::family;
use crate::expert::home::Home;
use crate::expert::largest::Largest;
#[cfg(feature = "std")]
use crate::key::ExpertKey;

impl<H: Home> Expert<H> {
    /// The children that hold most, each with all experts below it. The host may stop one
    /// of these rather than the expert that was refused.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let tenant = heap.expert("tenant").quota(1 << 20).register()?;
    /// let light = heap.expert("light").parent(&tenant).register()?;
    /// let heavy = heap.expert("heavy").parent(&tenant).register()?;
    /// heavy.alloc(900 << 10)?;
    /// assert!(light.alloc(500 << 10).is_err());
    /// let largest = tenant.largest_children();
    /// assert_eq!(largest.iter().next().unwrap().key, heavy.key());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn largest_children(&self) -> Largest<H::Text> {
        family::largest_children(self.home(), self.key())
    }

    /// The largest holders of the quota that has the least room for this expert, its own or
    /// one above. After a refusal, ending these frees memory for it. If no other expert
    /// shares that quota, the list has this expert alone.
    ///
    /// The call looks at all experts, so its time grows with their number.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let tenant = heap.expert("tenant").quota(1 << 20).register()?;
    /// let light = heap.expert("light").parent(&tenant).register()?;
    /// let heavy = heap.expert("heavy").parent(&tenant).register()?;
    /// heavy.alloc(900 << 10)?;
    /// assert!(light.alloc(500 << 10).is_err());
    /// assert_eq!(light.largest_holders().to_string(), "heavy (904.0 KiB), light (0 B)");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn largest_holders(&self) -> Largest<H::Text> {
        family::largest(self.home(), family::tightest(self.home(), self.key()))
    }

    /// The error of a call for this expert in words that name the five who hold most, for a
    /// host's log or its answer: an [`Error`] itself has room for a reason only. It
    /// describes the present, so call it at once after the error.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let tenant = heap.expert("tenant").quota(1 << 20).register()?;
    /// let query = heap.expert("query").parent(&tenant).register()?;
    /// query.alloc(900 << 10)?;
    /// let refused = query.alloc(500 << 10).unwrap_err();
    /// assert_eq!(
    ///     query.explain(refused).to_string(),
    ///     "the expert's quota, or a parent's, has no room for this \
    ///      (tenant: 904.0 KiB of 1.0 MiB); most is held by query (904.0 KiB)"
    /// );
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn explain(&self, error: Error) -> Explained<H::Text> {
        explained::explain(self.home(), self.key(), error)
    }
}

#[cfg(feature = "std")]
impl ExpertAlloc {
    /// As [`Expert::explain`], for code that has only the key. For a key of no live expert,
    /// the result has only the error.
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertAlloc};
    ///
    /// let heap = ExpertAlloc::new();
    /// let query = heap.expert("query").quota(1 << 20).register()?;
    /// let explained = heap.explain(query.key(), Error::QuotaExceeded);
    /// assert!(explained.to_string().contains("(query: 0 B of 1.0 MiB)"));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn explain(self, key: ExpertKey, error: Error) -> Explained {
        explained::explain(self, key, error)
    }
}
