//! Keys: the names by which experts are known.
//!
//! A key is a slot number and a generation in one pointer-sized word, so it travels through
//! C as an opaque pointer and a stale or forged key is detected by comparing two numbers.
//! It is not an address and is never followed.
//!
//! ```text
//!  high half                 low half
//!  +------------------------+------------------------+
//!  | generation (odd: live) | slot + 1               |
//!  +------------------------+------------------------+
//! ```
//!
//! Invariants
//!
//! - KEY1 the low half is never 0, so neither is the key.
//! - KEY2 a slot's generation is odd iff the slot is taken, and only grows; a
//!   slot whose generation would wrap is retired, so no key is given out twice.

use core::fmt;
use core::num::NonZeroUsize;

const HALF_BITS: u32 = usize::BITS / 2;
const LOW_HALF: usize = (1 << HALF_BITS) - 1;

/// The most experts that can be alive at once: 2^32 - 2 on 64-bit targets,
/// 65,534 on 32-bit ones.
pub(crate) const MAX_SLOTS: usize = LOW_HALF - 1;

/// The last generation of a slot, after which it is retired.
pub(crate) const LAST_GENERATION: usize = LOW_HALF;

/// The identity of one expert: opaque, pointer-sized, never zero.
///
/// A key is given to one expert only, ever: when the expert has ended, its key
/// is stale and every call that takes it returns
/// [`Error::InvalidKey`](crate::Error::InvalidKey).
///
/// ```
/// use expert_alloc::{ExpertAlloc, ExpertKey};
///
/// let heap = ExpertAlloc::new();
/// let expert = heap.expert("one").register()?;
/// let word: usize = expert.key().into_raw();                  // through C and back
/// assert_eq!(ExpertKey::from_raw(word), Some(expert.key()));
/// assert_eq!(ExpertKey::from_raw(0), None);
/// let forged = ExpertKey::from_raw(word ^ 0x10).unwrap();
/// assert!(heap.get(forged).is_none());
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct ExpertKey(NonZeroUsize);

impl ExpertKey {
    /// Makes the key of `slot` in its `generation`; `None` where a half
    /// overflows.
    pub(crate) const fn new(slot: usize, generation: usize) -> Option<Self> {
        if slot >= MAX_SLOTS || generation > LAST_GENERATION {
            return None;
        }
        match NonZeroUsize::new(generation << HALF_BITS | (slot + 1)) {
            Some(word) => Some(Self(word)),
            None => None,
        }
    }

    /// Takes the word that [`into_raw`](Self::into_raw) gave, or anything
    /// else: a word that is no key of a live expert is refused by the calls
    /// that take it. `None` for 0, which is no key.
    ///
    /// ```
    /// use expert_alloc::{ExpertAlloc, ExpertKey};
    ///
    /// assert_eq!(ExpertKey::from_raw(0), None);
    /// let forged = ExpertKey::from_raw(0x5EED).unwrap();
    /// assert!(ExpertAlloc::new().get(forged).is_none());
    /// ```
    #[must_use]
    pub const fn from_raw(word: usize) -> Option<Self> {
        match NonZeroUsize::new(word) {
            Some(word) => Some(Self(word)),
            None => None,
        }
    }

    /// The key as a word, for example to pass through C as `HEXPERTKEY`.
    ///
    /// ```
    /// use expert_alloc::{ExpertAlloc, ExpertKey};
    ///
    /// let expert = ExpertAlloc::new().expert("one").register()?;
    /// let word = expert.key().into_raw();
    /// assert_eq!(ExpertKey::from_raw(word), Some(expert.key()));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub const fn into_raw(self) -> usize {
        self.0.get()
    }

    /// The slot that the key names; `None` where the low half is 0, which no
    /// key of ours has (KEY1).
    pub(crate) const fn slot(self) -> Option<usize> {
        (self.0.get() & LOW_HALF).checked_sub(1)
    }

    /// The generation that the key names.
    pub(crate) const fn generation(self) -> usize {
        self.0.get() >> HALF_BITS
    }
}

impl fmt::Debug for ExpertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExpertKey({self})")
    }
}

/// Prints slot and generation: `7.1`.
impl fmt::Display for ExpertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.slot() {
            Some(slot) => write!(f, "{slot}.{}", self.generation()),
            None => write!(f, "?.{}", self.generation()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_come_back() {
        let key = ExpertKey::new(41, 7).unwrap();
        assert_eq!((key.slot(), key.generation()), (Some(41), 7));
        assert_eq!(ExpertKey::from_raw(key.into_raw()), Some(key));
        assert_eq!(size_of::<Option<ExpertKey>>(), size_of::<*const u8>());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(ExpertKey::new(MAX_SLOTS, 1), None);
        assert_eq!(ExpertKey::new(0, LAST_GENERATION + 1), None);
        assert!(ExpertKey::new(MAX_SLOTS - 1, LAST_GENERATION).is_some());
        assert_eq!(ExpertKey::from_raw(0), None);
        let forged = ExpertKey::from_raw(1 << HALF_BITS).unwrap();
        assert_eq!(forged.slot(), None);
    }
}
