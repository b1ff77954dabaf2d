//! Slots: where the state of one expert lies, at an address that never moves.
//!
//! A slot is taken by one expert after another. Its *word* says by which: the
//! generation is compared with the one in a key, so that a stale key finds
//! nothing. The table hands out zero-filled memory, and zero is a slot that
//! was never taken; only then is the body written, once.
//!
//! ```text
//!  word       high half: generation      low half: flags
//!  +--------------------------------+--------------------------------+
//!  | odd: taken, the key is valid   | LENT OVERDRAFT DETACHED KEYED CLOSING |
//!  +--------------------------------+--------------------------------+
//! ```
//!
//! Invariants
//!
//! - T1 the body is written before the generation first leaves 0, and a
//!   reference to a slot leaves the registry only after that.
//! - T2 the generation is odd iff the slot's key is valid (K2). While it is
//!   even the slot is free, being taken, or lingers for its children.
//! - T3 `holds` is 1 for the expert itself, while it has not ended, plus one
//!   for each child that has not been released. Who gives up the last one
//!   releases the slot.
//! - T4 `link` is the parent's slot from when the slot is opened until it is
//!   released, and the next free slot while this one is free; 0 is none.
//! - T5 the name is written only while the generation is even.
//! - T6 `CLOSING` is set by the one who ends the expert, and once.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use crate::account::Account;
use crate::expert::cleanup::Cleanups;
use crate::expert::name::Name;
use crate::key::{ExpertKey, LAST_GENERATION};
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::sync::{AtomicHalf, AtomicUsize, Half, fence};

/// The expert is being ended.
pub(crate) const CLOSING: usize = 1;
/// Someone has reached the expert by its key alone: ending it has to wait for
/// such visitors to leave.
pub(crate) const KEYED: usize = 2;
/// No `Expert` value owns the slot: it may be ended by its key.
#[cfg(any(test, feature = "capi"))]
pub(crate) const DETACHED: usize = 4;
/// The global allocator may overdraw the account.
pub(crate) const OVERDRAFT: usize = 8;

/// A plug-in allocates for the expert as long as its library is loaded.
#[cfg(feature = "capi")]
pub(crate) const LENT: usize = 16;

const FLAGS: usize = (1 << Half::BITS) - 1;

/// One expert's state. See the module.
#[cfg_attr(target_pointer_width = "64", repr(align(64)))]
pub struct Slot<O, N> {
    word: AtomicUsize,
    link: AtomicHalf,
    holds: AtomicHalf,
    body: UnsafeCell<MaybeUninit<Body<O, N>>>,
}

/// What is in a slot besides its word and links.
struct Body<O, N> {
    account: Account,
    owner: O,
    cleanups: Cleanups,
    name: N,
}

// SAFETY: all fields are atomic or, in the body, only shared after T1.
unsafe impl<O: Sync, N: Sync> Sync for Slot<O, N> {}

/// How a slot's word read.
#[derive(Clone, Copy)]
pub(crate) struct Word(usize);

impl Word {
    /// As the host's would read, if it had a slot.
    pub(crate) const HOST: Self = Self(1 << Half::BITS);

    pub(crate) fn generation(self) -> usize {
        self.0 >> Half::BITS
    }

    pub(crate) fn has(self, flag: usize) -> bool {
        self.0 & flag != 0
    }

    /// Whether the slot is taken by the expert of `key`.
    pub(crate) fn is_of(self, key: ExpertKey) -> bool {
        self.generation() == key.generation() && self.is_taken()
    }

    pub(crate) fn is_taken(self) -> bool {
        self.generation() % 2 == 1
    }
}

impl<O, N: Name> Slot<O, N> {
    /// Writes the body of a slot that was never taken.
    ///
    /// # Safety
    ///
    /// - S1 the slot is zero-filled, and this is the only call for it.
    pub(crate) unsafe fn write_body(&self, owner: O) {
        let body = Body { account: Account::new(), owner, cleanups: Cleanups::new(), name: N::NEW };
        // SAFETY: S1 and T1: no one else reads or writes the body yet.
        unsafe { (*self.body.get()).write(body) };
    }

    fn body(&self) -> &Body<O, N> {
        let body = self.body.get();
        // SAFETY: the pointer is of a field of `self`, and after T1 no one writes there.
        let body = unsafe { &*body };
        // SAFETY: T1: written before `self` could be reached.
        unsafe { body.assume_init_ref() }
    }

    pub(crate) fn account(&self) -> &Account {
        &self.body().account
    }

    pub(crate) fn owner(&self) -> &O {
        &self.body().owner
    }

    pub(crate) fn cleanups(&self) -> &Cleanups {
        &self.body().cleanups
    }

    pub(crate) fn name(&self) -> &N {
        &self.body().name
    }

    /// The word. Acquire: pairs with the Release in [`open`](Self::open), so
    /// that who sees a generation sees the account and the name that go with it.
    pub(crate) fn word(&self) -> Word {
        Word(self.word.load(Acquire))
    }

    /// Readies a free slot for its next expert and makes its key valid.
    /// `prepare` writes name and account.
    pub(crate) fn open(&self, flags: usize, parent: usize, prepare: impl FnOnce(&Self)) -> usize {
        let generation = self.word().generation() + 1;
        debug_assert!(generation % 2 == 1 && generation <= LAST_GENERATION, "T2");
        // Who reads a word of the new name and then, behind an Acquire fence,
        // the slot's word again, sees that the old generation is over.
        fence(Release);
        self.link.store(parent as Half, Relaxed);
        self.holds.store(1, Relaxed);
        prepare(self);
        // Release: publishes all of the above to `word`.
        self.word.store(generation << Half::BITS | flags, Release);
        generation
    }

    /// Marks the expert of `key` as being ended; the flags before, or `None`
    /// where it has ended or another ends it (T6).
    pub(crate) fn begin_closing(&self, key: ExpertKey, required: usize) -> Option<Word> {
        self.set_flag(key, |word| {
            (!word.has(CLOSING) && (required == 0 || word.has(required))).then_some(CLOSING)
        })
    }

    /// Notes that someone reaches the expert by its key alone. The word
    /// before, or `None` where the expert has ended.
    ///
    /// With the order of all changes to one word, whoever ends the expert
    /// either sees this flag or is seen by the caller.
    #[inline]
    pub(crate) fn mark_keyed(&self, key: ExpertKey) -> Option<Word> {
        let word = Word(self.word.load(SeqCst));
        if word.is_of(key) && word.has(KEYED) {
            return Some(word);
        }
        self.set_flag(key, |_| Some(KEYED))
    }

    /// Lets the expert be ended by its key alone from now on.
    #[cfg(any(test, feature = "capi"))]
    pub(crate) fn detach(&self, key: ExpertKey) {
        self.set_flag(key, |_| Some(DETACHED));
    }

    /// Lets a plug-in allocate for the expert from now on.
    #[cfg(feature = "capi")]
    pub(crate) fn lend(&self, key: ExpertKey) {
        self.set_flag(key, |_| Some(LENT));
    }

    fn set_flag(&self, key: ExpertKey, flag: impl Fn(Word) -> Option<usize>) -> Option<Word> {
        let set = |word: usize| {
            let flag = Word(word).is_of(key).then_some(Word(word)).and_then(&flag)?;
            Some(word | flag)
        };
        self.word.fetch_update(SeqCst, SeqCst, set).ok().map(Word)
    }

    /// Makes the key invalid; the flags before. A slot at its last generation
    /// reads as never taken, and is not taken again.
    pub(crate) fn shut(&self) -> Word {
        let generation = self.word().generation();
        let next = if generation == LAST_GENERATION { 0 } else { generation + 1 };
        Word(self.word.swap(next << Half::BITS, SeqCst))
    }

    /// Whether no further generation is left for this (shut) slot.
    pub(crate) fn is_retired(&self) -> bool {
        self.word().0 & !FLAGS == 0
    }

    /// Keeps the slot in place for one child more; `false` where there are
    /// as many as can be counted.
    pub(crate) fn hold(&self) -> bool {
        self.holds.fetch_update(Relaxed, Relaxed, |holds| holds.checked_add(1)).is_ok()
    }

    /// Gives up one hold; whether it was the last (T3).
    ///
    /// Release, and Acquire for the last one: whoever releases the slot sees
    /// all that the other holders did with it.
    pub(crate) fn unhold(&self) -> bool {
        // The expert has ended, so no child comes any more: a single hold is the
        // caller's, and need not be counted down.
        self.holds.load(Acquire) == 1 || self.holds.fetch_sub(1, AcqRel) == 1
    }

    /// The parent's slot, or the next free one (T4).
    pub(crate) fn link(&self) -> usize {
        self.link.load(Relaxed) as usize
    }

    /// Sets the next free slot.
    pub(crate) fn set_link(&self, slot: usize) {
        self.link.store(slot as Half, Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn skip_to_generation(&self, generation: usize) {
        assert!(generation % 2 == 0 && !self.word().is_taken());
        self.word.store(generation << Half::BITS, Release);
    }
}
