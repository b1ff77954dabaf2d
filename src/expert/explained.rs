//! Explanations of errors: the quota that had no room, and its holders.

use core::fmt;

use crate::error::Error;
use crate::expert::family;
use crate::expert::home::Home;
use crate::expert::largest::{Holding, Largest, Usual, held_by};
use crate::expert::report;
use crate::expert::shown::{Shown, Size};
use crate::key::ExpertKey;

/// An [`Error`] with the largest holders of the memory: the result of
/// [`explain`](crate::Expert::explain).
///
/// It names the five largest holders if the error is about memory: for
/// [`QuotaExceeded`](Error::QuotaExceeded) and [`Overdrawn`](Error::Overdrawn) those of the
/// quota that has the least room, for [`OutOfMemory`](Error::OutOfMemory) those of the
/// heap. Other errors have no holders.
///
/// ```
/// use expert_alloc::{Error, ExpertAlloc};
///
/// /// What a host answers.
/// fn rows(heap: ExpertAlloc) -> Result<usize, Box<dyn std::error::Error>> {
///     let query = heap.expert("query").quota(64 << 10).register()?;
///     let rows = query.alloc(1 << 20).map_err(|error| query.explain(error))?;
///     Ok(query.size(rows.as_ptr()))
/// }
/// let error = rows(ExpertAlloc::new()).unwrap_err();
/// assert!(error.to_string().ends_with("(query: 0 B of 64.0 KiB); most is held by query (0 B)"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Explained<N = Usual> {
    error: Error,
    /// The name of the quota's expert, and the quota in bytes; 0 for none.
    by: Option<(Holding<N>, usize)>,
    largest: Largest<N>,
}

impl<N: Copy> Explained<N> {
    /// The error.
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertAlloc};
    ///
    /// let query = ExpertAlloc::new().expert("query").quota(64 << 10).register()?;
    /// let refused = query.alloc(1 << 20).map_err(|error| query.explain(error));
    /// assert_eq!(refused.unwrap_err().error(), Error::QuotaExceeded);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn error(&self) -> Error {
        self.error
    }

    /// The expert whose quota had the least room, with its charge; `None` if the error is
    /// not about a quota.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let query = ExpertAlloc::new().expert("query").quota(64 << 10).register()?;
    /// let refused = query.alloc(1 << 20).map_err(|error| query.explain(error));
    /// assert_eq!(refused.unwrap_err().by().unwrap().key, query.key());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn by(&self) -> Option<Holding<N>> {
        self.by.map(|(holding, _)| holding)
    }

    /// Who holds most.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let query = heap.expert("query").quota(64 << 10).register()?;
    /// let refused = query.alloc(1 << 20).map_err(|error| query.explain(error));
    /// assert_eq!(refused.unwrap_err().largest().iter().next().unwrap().key, query.key());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn largest(&self) -> &Largest<N> {
        &self.largest
    }
}

impl<N: Copy + AsRef<str>> Explained<N> {
    /// The background of the error: the quota, and its holders.
    pub(crate) fn reasons(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((by, quota)) = &self.by {
            write!(f, " ({}: {}", Shown(by.name.as_ref()), Size(by.charged_bytes))?;
            match quota {
                0 => f.write_str(", no quota)")?,
                quota => write!(f, " of {})", Size(*quota))?,
            }
        }
        held_by(&self.largest, f)
    }

    /// The same explanation, with names by value.
    #[cfg(feature = "std")]
    pub(crate) fn owned(&self) -> Explained {
        let by = self.by.as_ref().map(|(holding, quota)| (holding.owned(), *quota));
        Explained { error: self.error, by, largest: self.largest.owned() }
    }
}

impl<N: Copy + AsRef<str>> fmt::Display for Explained<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)?;
        self.reasons(f)
    }
}

impl<N: Copy + AsRef<str> + fmt::Debug> core::error::Error for Explained<N> {}

/// The explanation of an error of the expert of `key`.
pub(crate) fn explain<H: Home>(home: H, key: ExpertKey, error: Error) -> Explained<H::Text> {
    let (by, largest) = match error {
        Error::QuotaExceeded | Error::Overdrawn => {
            let by = family::tightest(home, key);
            let row = report::row(home, by).ok();
            let by_row = row.map(|row| (family::holding(&row), row.stats.quota));
            (by_row, family::largest(home, by))
        }
        Error::OutOfMemory => (None, family::largest_of_all(home)),
        _ => (None, Largest::NONE),
    };
    Explained { error, by, largest }
}
