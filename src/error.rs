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
    QuotaExceeded,
    /// A clean-up failed during reclaim; the memory was reclaimed all the same.
    CleanupFailed,
    /// The block belongs to another expert; it is untouched.
    AccessDenied,
    /// Not a live block of this heap: wild, unaligned, interior, already
    /// freed, or of an expert that has ended.
    InvalidPointer,
    /// The host has told this expert to stop; it may free, but not allocate.
    Terminated,
    /// No live expert has the key: it is zero, forged, or of an expert that has ended.
    InvalidKey,
    /// No slot is left for another expert.
    TooManyExperts,
}

impl Error {
    /// The Network Monitor error code (`NMERR_…`) that the C calls return for
    /// this error.
    ///
    /// ```
    /// use expert_alloc::Error;
    ///
    /// const NMERR_OUT_OF_MEMORY: u32 = 19;
    /// assert_eq!(Error::QuotaExceeded.nmerr(), NMERR_OUT_OF_MEMORY);
    /// ```
    #[must_use]
    pub const fn nmerr(self) -> u32 {
        match self {
            Self::OutOfMemory | Self::QuotaExceeded | Self::TooManyExperts => 19,
            Self::CleanupFailed => 69,
            Self::AccessDenied => 74,
            Self::InvalidPointer => 76,
            Self::Terminated => 125,
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
            Self::InvalidKey => "no live expert has this key",
            Self::TooManyExperts => "no slot is left for another expert",
        })
    }
}

impl core::error::Error for Error {}
