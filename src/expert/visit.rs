//! Visits: from a key alone to an expert that cannot end meanwhile.
//!
//! Whoever has an `Expert` by reference needs no visit: the borrow keeps it
//! alive. A key, however, may come from anywhere and at any time. A visitor
//! first pins the key, then looks whether it is valid; whoever ends the expert
//! first makes the key invalid, then waits for pins. So one sees the other.

use crate::account::Account;
use crate::engine::{Engine, HOST_KEY, Who};
use crate::error::Error;
use crate::expert::home::{Home, OwnerOf, SlotOf};
use crate::expert::slot::{CLOSING, OVERDRAFT, Word};
use crate::key::ExpertKey;

/// How an expert stands.
///
/// ```
/// use expert_alloc::{ExpertAlloc, State};
///
/// let heap = ExpertAlloc::new();
/// let parent = heap.expert("parent").register()?;
/// let child = heap.expert("child").parent(&parent).register()?;
/// let _ = parent.finish();
/// assert_eq!(child.state(), State::ParentStopped);
/// assert_eq!(child.state().to_string(), "parent stopped");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It may allocate.
    Live,
    /// The host has told it to stop: it may free only.
    Terminated,
    /// It was granted more than its quota, and is to stop for that reason.
    Overdrawn,
    /// Its parent, or a parent of that, has ended or is to stop, and so is it.
    ParentStopped,
    /// It is being ended: its clean-ups run.
    Closing,
}

impl State {
    /// The state in one or two words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Terminated => "terminated",
            Self::Overdrawn => "overdrawn",
            Self::ParentStopped => "parent stopped",
            Self::Closing => "closing",
        }
    }

    pub(crate) fn of(word: Word, account: &Account) -> Self {
        if word.has(CLOSING) {
            Self::Closing
        } else if account.is_sealed() {
            Self::Terminated
        } else if account.is_parent_stopped() {
            Self::ParentStopped
        } else if account.is_overdrawn() {
            Self::Overdrawn
        } else {
            Self::Live
        }
    }
}

impl core::fmt::Display for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The engine's view of an expert.
pub(crate) fn who<'a, H: Home + 'a>(
    slot: &'a SlotOf<H>,
    key: ExpertKey,
    overdraft: bool,
) -> Who<'a, OwnerOf<H>> {
    Who { key, account: slot.account(), owner: slot.owner(), overdraft }
}

/// Someone who was let in by a key: the expert, or the host, stays until this
/// is dropped.
pub(crate) struct Visit<'a, H: Home + 'a> {
    home: H,
    key: ExpertKey,
    /// `None` for the host.
    slot: Option<&'a SlotOf<H>>,
    word: Word,
    _pin: Option<H::Pin>,
}

impl<'a, H: Home + 'a> Visit<'a, H> {
    /// Visits whoever has this key.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`] for a key that is nobody's.
    #[inline(always)]
    pub(crate) fn new(home: H, key: ExpertKey) -> Result<Self, Error> {
        if key == HOST_KEY {
            return Ok(Self { home, key, slot: None, word: Word::HOST, _pin: None });
        }
        let slot = key.slot().and_then(|slot| home.registry().lookup(slot));
        let slot = slot.ok_or(Error::InvalidKey)?;
        // A stale key is not to keep anyone waiting.
        if !slot.word().is_of(key) {
            return Err(Error::InvalidKey);
        }
        let pin = home.pin(key);
        let word = slot.mark_keyed(key).ok_or(Error::InvalidKey)?;
        Ok(Self { home, key, slot: Some(slot), word, _pin: Some(pin) })
    }

    pub(crate) fn key(&self) -> ExpertKey {
        self.key
    }

    /// The slot; `None` for the host.
    pub(crate) fn slot(&self) -> Option<&'a SlotOf<H>> {
        self.slot
    }

    #[inline]
    pub(crate) fn who(&self) -> Who<'_, OwnerOf<H>> {
        match self.slot {
            Some(slot) => who::<H>(slot, self.key, self.word.has(OVERDRAFT)),
            None => self.home.engine().host(),
        }
    }

    /// Whether the state is [`State::Live`]: a load or two, for most.
    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.slot.is_none_or(|slot| !slot.word().has(CLOSING) && slot.account().is_open())
    }

    pub(crate) fn state(&self) -> State {
        match self.slot {
            Some(slot) => State::of(slot.word(), slot.account()),
            None => State::Live,
        }
    }
}
