//! Errors, as values: nothing here allocates or panics.

use core::fmt;

/// Why a call was refused. Nothing has changed when one of these is returned:
/// the block a failed call was about is untouched and still owned.
///
/// ```
/// use expert_alloc::{Error, ExpertAlloc};
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let wild = 0x5EED as *mut u8;
/// assert_eq!(expert.free(wild), Err(Error::InvalidPointer));
/// assert_eq!(Error::InvalidPointer.to_string(), "not a live block of this heap");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// The system, or the heap's regions, have no more memory, or the size
    /// overflows.
    OutOfMemory,
    /// The quota of the expert, or of one of its parents, has no room.
    /// [`explain`](crate::Expert::explain) names the holders.
    QuotaExceeded,
    /// A clean-up failed during reclaim; the memory was reclaimed all the same.
    CleanupFailed,
    /// The block belongs to another expert; it is untouched.
    AccessDenied,
    /// The pointer is not a live block of this heap: it is wild, unaligned, interior,
    /// already freed, or of an expert that has ended.
    InvalidPointer,
    /// The host has told this expert to stop; it may free, but not allocate.
    Terminated,
    /// The expert was granted more than its quota, where a refusal would have
    /// aborted the process, and must stop for that reason; it may free.
    Overdrawn,
    /// A parent of the expert has ended or must stop, so the expert must stop, too;
    /// it may free.
    ParentStopped,
    /// No expert has the key: it is zero, forged, or of an expert that has ended.
    InvalidKey,
    /// No slot is left for another expert.
    TooManyExperts,
    /// The purger runs already, and a process has only one.
    AlreadyRunning,
}

impl Error {
    /// Whether the expert must stop, for one of three reasons: it may free, but not
    /// allocate any more.
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertAlloc};
    ///
    /// let expert = ExpertAlloc::new().expert("slow").quota(64 << 10).register()?;
    /// let refused = expert.alloc(1 << 20).unwrap_err();
    /// assert_eq!((refused, refused.is_stop()), (Error::QuotaExceeded, false));
    /// expert.terminate();
    /// assert!(expert.alloc(1).unwrap_err().is_stop());
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub const fn is_stop(self) -> bool {
        matches!(self, Self::Terminated | Self::Overdrawn | Self::ParentStopped)
    }

    /// The Network Monitor error code (`NMERR_…`) that the C calls return for
    /// this error.
    ///
    /// ```
    /// use expert_alloc::Error;
    ///
    /// const NMERR_OUT_OF_MEMORY: u32 = 19;
    /// assert_eq!(Error::QuotaExceeded.nmerr(), NMERR_OUT_OF_MEMORY);
    /// ```
    ///
    /// The three reasons to stop are one code, `NMERR_EXPERT_TERMINATE`, because a
    /// plug-in must do the same for each.
    ///
    /// ```
    /// use expert_alloc::Error;
    ///
    /// let reasons = [Error::Terminated, Error::Overdrawn, Error::ParentStopped];
    /// assert_eq!(reasons.map(Error::nmerr), [125; 3]);
    /// ```
    #[must_use]
    pub const fn nmerr(self) -> u32 {
        match self {
            Self::OutOfMemory | Self::QuotaExceeded | Self::TooManyExperts => 19,
            Self::CleanupFailed => 69,
            Self::AccessDenied => 74,
            Self::InvalidPointer | Self::AlreadyRunning => 76,
            Self::Terminated | Self::Overdrawn | Self::ParentStopped => 125,
            Self::InvalidKey => 130,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfMemory => "out of memory",
            Self::QuotaExceeded => "the expert's quota, or a parent's, has no room for this",
            Self::CleanupFailed => "a clean-up failed while the expert was reclaimed",
            Self::AccessDenied => "the block belongs to another expert",
            Self::InvalidPointer => "not a live block of this heap",
            Self::Terminated => "the host has told this expert to stop",
            Self::Overdrawn => "the expert was granted more than its quota, and is to stop",
            Self::ParentStopped => "a parent of this expert has ended or is to stop",
            Self::InvalidKey => "no live expert has this key",
            Self::TooManyExperts => "no slot is left for another expert",
            Self::AlreadyRunning => "it runs in this process already",
        })
    }
}

impl core::error::Error for Error {}
