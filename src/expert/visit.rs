//! Visits: from a key alone to an expert that cannot end meanwhile.
//!
//! Code with a reference to an `Expert` needs no visit: the borrow keeps it alive. A
//! key, however, may come from anywhere and at any time. A visitor first pins the key,
//! then checks that it is valid; the thread that ends the expert first makes the key
//! invalid, then waits for pins. So one of the two sees the other.

use crate::account::Account;
use crate::engine::{Engine, HOST_KEY, Who};
use crate::error::Error;
use crate::expert::home::{Home, OwnerOf, SlotOf};
use crate::expert::slot::{CLOSING, OVERDRAFT, Word};
use crate::key::ExpertKey;
use crate::sync::{Window, delay};

/// Whether an expert may allocate, and the reason if not.
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
    /// It was granted more than its quota, and must stop for that reason.
    Overdrawn,
    /// Its parent, or an expert above that, has ended or must stop, so it must stop, too.
    ParentStopped,
    /// It is ending, and its clean-ups run.
    Closing,
}

impl State {
    /// The state in one or two words.
    ///
    /// ```
    /// assert_eq!(expert_alloc::State::ParentStopped.as_str(), "parent stopped");
    /// ```
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

    /// The reason why an expert in this state is refused memory; `None` for a live one.
    ///
    /// ```
    /// use expert_alloc::{Error, State};
    ///
    /// assert_eq!(State::Live.refusal(), None);
    /// assert_eq!(State::Overdrawn.refusal(), Some(Error::Overdrawn));
    /// assert_eq!(State::Closing.refusal(), Some(Error::Terminated));
    /// ```
    #[must_use]
    pub const fn refusal(self) -> Option<Error> {
        match self {
            Self::Live => None,
            Self::Terminated | Self::Closing => Some(Error::Terminated),
            Self::Overdrawn => Some(Error::Overdrawn),
            Self::ParentStopped => Some(Error::ParentStopped),
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

/// A visit to the expert, or the host, of a key, which stays until this is dropped.
pub(crate) struct Visit<'a, H: Home + 'a> {
    home: H,
    key: ExpertKey,
    /// `None` for the host.
    slot: Option<&'a SlotOf<H>>,
    word: Word,
    _pin: Option<H::Pin>,
}

impl<'a, H: Home + 'a> Visit<'a, H> {
    /// Visits the expert, or the host, that has this key.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`] for a key of no live expert.
    #[inline(always)]
    pub(crate) fn new(home: H, key: ExpertKey) -> Result<Self, Error> {
        if key == HOST_KEY {
            return Ok(Self::of_host(home));
        }
        let slot = Self::find(home, key).ok_or(Error::InvalidKey)?;
        let pin = home.pin(key);
        delay(Window::PinKey);
        let word = slot.mark_keyed(key).ok_or(Error::InvalidKey)?;
        Ok(Self { home, key, slot: Some(slot), word, _pin: Some(pin) })
    }

    fn of_host(home: H) -> Self {
        Self { home, key: HOST_KEY, slot: None, word: Word::HOST, _pin: None }
    }

    /// The slot of a key, if the key is valid now, because a stale key must not prolong a
    /// wait.
    #[inline(always)]
    fn find(home: H, key: ExpertKey) -> Option<&'a SlotOf<H>> {
        let slot = home.registry().lookup(key.slot()?)?;
        let is_its = slot.word().is_of(key);
        delay(Window::FindKey);
        is_its.then_some(slot)
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

    /// Whether the state is [`State::Live`], which takes one or two loads for most experts.
    #[cfg(feature = "capi")]
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        // This is the word as it was when the visit began, which is a moment of the call,
        // too.
        !self.word.has(CLOSING) && self.slot.is_none_or(|slot| slot.account().is_open())
    }

    pub(crate) fn state(&self) -> State {
        match self.slot {
            Some(slot) => State::of(slot.word(), slot.account()),
            None => State::Live,
        }
    }
}
