//! Errors: the reasons why a call was refused.

use core::fmt;
use core::num::NonZeroU32;

/// An `NMERR` code other than success.
///
/// ```
/// use expert_alloc_plugin::Error;
///
/// assert_eq!(Error::TERMINATE.code(), 125);
/// assert_eq!(Error::from_code(0), Ok(()));
/// assert_eq!(Error::from_code(125), Err(Error::TERMINATE));
/// assert_eq!(Error::TERMINATE.to_string(), "the host wants this expert to stop");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Error(NonZeroU32);

impl Error {
    /// The system or the quota has no more memory.
    pub const OUT_OF_MEMORY: Self = Self::of(19);
    /// A panic or an exception came out of a function.
    pub const INTERNAL_EXCEPTION: Self = Self::of(69);
    /// The block belongs to another key.
    pub const ACCESS_DENIED: Self = Self::of(74);
    /// The pointer is not a live block of the heap, or another argument is invalid.
    pub const INVALID_PARAMETER: Self = Self::of(76);
    /// The host wants this expert to stop.
    pub const TERMINATE: Self = Self::of(125);
    /// No live expert has this key.
    pub const INVALID_KEY: Self = Self::of(130);

    const fn of(code: u32) -> Self {
        match NonZeroU32::new(code) {
            Some(code) => Self(code),
            None => panic!("0 is success"),
        }
    }

    /// The meaning of a code.
    ///
    /// ```
    /// use expert_alloc_plugin::Error;
    ///
    /// assert_eq!(Error::from_code(0), Ok(()));
    /// assert_eq!(Error::from_code(Error::TERMINATE.code()), Err(Error::TERMINATE));
    /// ```
    ///
    /// # Errors
    ///
    /// The error of a code other than 0.
    pub const fn from_code(code: u32) -> Result<(), Self> {
        match NonZeroU32::new(code) {
            Some(code) => Err(Self(code)),
            None => Ok(()),
        }
    }

    /// The code.
    ///
    /// ```
    /// use expert_alloc_plugin::Error;
    ///
    /// assert_eq!(Error::INTERNAL_EXCEPTION.code(), 69);
    /// ```
    #[must_use]
    pub const fn code(self) -> u32 {
        self.0.get()
    }

    /// The code of a result; 0 for success.
    ///
    /// ```
    /// use expert_alloc_plugin::Error;
    ///
    /// assert_eq!(Error::code_of(Ok(())), 0);
    /// assert_eq!(Error::code_of(Err(Error::ACCESS_DENIED)), 74);
    /// ```
    #[must_use]
    pub const fn code_of(result: Result<(), Self>) -> u32 {
        match result {
            Ok(()) => 0,
            Err(why) => why.code(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OUT_OF_MEMORY => f.write_str("the system or the quota has no more memory"),
            Self::INTERNAL_EXCEPTION => f.write_str("a panic or an exception was caught"),
            Self::ACCESS_DENIED => f.write_str("the block belongs to another key"),
            Self::INVALID_PARAMETER => f.write_str("not a live block of this heap"),
            Self::TERMINATE => f.write_str("the host wants this expert to stop"),
            Self::INVALID_KEY => f.write_str("no live expert has this key"),
            Self(code) => write!(f, "error {code}"),
        }
    }
}

impl core::error::Error for Error {}
