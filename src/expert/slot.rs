//! Slots: the state of one expert, at an address that never moves.
//!
//! A slot is taken by one expert after another. Its *word* has the generation, which
//! is compared with the one in a key, so that a stale key finds nothing. The table
//! hands out zero-filled memory, and zero is a slot that was never taken; its first
//! taker writes the body, once.
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
//! - SLOT1 the body is written before the generation first leaves 0, and a
//!   reference to a slot leaves the registry only after that.
//! - SLOT2 the generation is odd iff the slot's key is valid (KEY2). While it is
//!   even the slot is free, being taken, or lingers for its children.
//! - SLOT3 `holds` is 1 for the expert itself, while it has not ended, plus one
//!   for each child that has not been released. The thread that gives up the last
//!   one releases the slot.
//! - SLOT4 from the opening of the slot to its release, `link` is the parent's slot; while
//!   the slot is free, it is the next free slot; 0 is none.
//! - SLOT5 the name is written only while the generation is even.
//! - SLOT6 `CLOSING` is set once, by the thread that ends the expert.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use crate::account::Account;
use crate::expert::cleanup::Cleanups;
#[cfg(feature = "std")]
use crate::expert::hosted::{Beside, Hosted};
use crate::expert::name::Name;
use crate::key::{ExpertKey, LAST_GENERATION};
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::sync::{AtomicHalf, AtomicUsize, Half, fence};

/// The expert is being ended.
pub(crate) const CLOSING: usize = 1;
/// A thread has reached the expert by its key alone, so the end must wait until such
/// visitors have left.
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
pub struct Slot<O, N: Name> {
    word: AtomicUsize,
    link: AtomicHalf,
    holds: AtomicHalf,
    body: UnsafeCell<MaybeUninit<Body<O, N>>>,
}

/// The part of a slot besides its word and links.
struct Body<O, N: Name> {
    account: Account,
    owner: O,
    cleanups: Cleanups,
    #[cfg(feature = "std")]
    beside: N::Beside,
    name: N,
}

// SAFETY: all fields are atomic or, in the body, only shared after SLOT1.
unsafe impl<O: Sync, N: Name> Sync for Slot<O, N> {}

/// A slot's word, as it was read.
#[derive(Clone, Copy)]
pub(crate) struct Word(usize);

impl Word {
    /// The word of the host, as if it had a slot.
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
        let body = Body {
            account: Account::new(),
            owner,
            cleanups: Cleanups::new(),
            #[cfg(feature = "std")]
            beside: N::Beside::NEW,
            name: N::NEW,
        };
        // SAFETY: S1 and SLOT1: no one else reads or writes the body yet.
        unsafe { (*self.body.get()).write(body) };
    }

    fn body(&self) -> &Body<O, N> {
        let body = self.body.get();
        // SAFETY: the pointer is of a field of `self`, and after SLOT1 no one writes there.
        let body = unsafe { &*body };
        // SAFETY: SLOT1: written before `self` could be reached.
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

    /// The part that only hosts have.
    #[cfg(feature = "std")]
    pub(crate) fn hosted(&self) -> Option<&Hosted> {
        self.body().beside.hosted()
    }

    pub(crate) fn name(&self) -> &N {
        &self.body().name
    }

    /// The word. Acquire: pairs with the Release in [`open`](Self::open), so that a
    /// thread that sees a generation also sees its account and name.
    pub(crate) fn word(&self) -> Word {
        Word(self.word.load(Acquire))
    }

    /// Prepares a free slot for its next expert and makes its key valid. `prepare` writes
    /// name and account.
    pub(crate) fn open(&self, flags: usize, parent: usize, prepare: impl FnOnce(&Self)) -> usize {
        let generation = self.word().generation() + 1;
        debug_assert!(generation % 2 == 1 && generation <= LAST_GENERATION, "SLOT2");
        // A thread that reads a word of the new name and then, behind an Acquire
        // fence, the slot's word again, sees that the old generation is over.
        fence(Release);
        self.link.store(parent as Half, Relaxed);
        self.holds.store(1, Relaxed);
        prepare(self);
        // Release: publishes all of the above to `word`.
        self.word.store(generation << Half::BITS | flags, Release);
        generation
    }

    /// Prepares a free slot to serve as an account without an expert of its own. It lingers
    /// from the beginning, as for a child. `prepare` writes the account.
    #[cfg(feature = "std")]
    pub(crate) fn linger(&self, parent: usize, prepare: impl FnOnce(&Self)) {
        debug_assert!(!self.word().is_taken(), "SLOT2");
        self.link.store(parent as Half, Relaxed);
        self.holds.store(1, Relaxed);
        prepare(self);
        if self.word().generation() == 0 {
            // Even and not 0: taken by nobody, and reachable (SLOT1).
            // Release: publishes the above to `word`.
            self.word.store(2 << Half::BITS, Release);
        }
    }

    /// Marks the expert of `key` as being ended. Returns the flags before, or `None` if it
    /// has ended or another thread ends it (SLOT6).
    pub(crate) fn begin_closing(&self, key: ExpertKey, required: usize) -> Option<Word> {
        self.set_flag(key, |word| {
            (!word.has(CLOSING) && (required == 0 || word.has(required))).then_some(CLOSING)
        })
    }

    /// Notes that a thread has reached the expert by its key alone. Returns the word
    /// before, or `None` if the expert has ended.
    ///
    /// All changes to one word have an order, so the thread that ends the expert
    /// either sees this flag or is seen by the caller.
    #[inline]
    pub(crate) fn mark_keyed(&self, key: ExpertKey) -> Option<Word> {
        let word = Word(self.word.load(SeqCst));
        if word.is_of(key) && word.has(KEYED) {
            return Some(word);
        }
        self.set_flag(key, |_| Some(KEYED))
    }

    /// The word, in the usual case: this is the slot of `key`, a thread has come by the key
    /// before, and the expert is not being ended. The body is then written (SLOT1).
    #[cfg(feature = "capi")]
    #[inline(always)]
    pub(crate) fn usual_word(&self, key: ExpertKey) -> Option<Word> {
        // SeqCst: as in `mark_keyed`. A word has a flag only while the slot is taken, so
        // its generation is then odd.
        let word = Word(self.word.load(SeqCst));
        let is_its = word.generation() == key.generation();
        (is_its && word.0 & (KEYED | CLOSING) == KEYED).then_some(word)
    }

    /// Whether the word is the same as before. SeqCst: as in `mark_keyed`.
    #[cfg(feature = "capi")]
    #[inline(always)]
    pub(crate) fn is_still(&self, word: Word) -> bool {
        self.word.load(SeqCst) == word.0
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

    #[cold]
    #[inline(never)]
    fn set_flag(&self, key: ExpertKey, flag: impl Fn(Word) -> Option<usize>) -> Option<Word> {
        let set = |word: usize| {
            let flag = Word(word).is_of(key).then_some(Word(word)).and_then(&flag)?;
            Some(word | flag)
        };
        self.word.fetch_update(SeqCst, SeqCst, set).ok().map(Word)
    }

    /// Makes the key invalid, and returns the flags before. A slot at its last generation
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

    /// Keeps the slot in place for one more child; `false` if the count of children is at
    /// its limit.
    pub(crate) fn hold(&self) -> bool {
        self.holds.fetch_update(Relaxed, Relaxed, |holds| holds.checked_add(1)).is_ok()
    }

    /// Gives up one hold, and returns whether it was the last (SLOT3).
    ///
    /// Release, and Acquire for the last one: the thread that releases the slot sees
    /// everything that the other holders did with it.
    pub(crate) fn unhold(&self) -> bool {
        // The expert has ended, so it gets no more children: a single hold is the
        // caller's, and does not have to be counted down.
        self.holds.load(Acquire) == 1 || self.holds.fetch_sub(1, AcqRel) == 1
    }

    /// The parent's slot, or the next free one (SLOT4).
    pub(crate) fn link(&self) -> usize {
        self.link.load(Relaxed) as usize
    }

    /// Sets the next free slot.
    pub(crate) fn set_link(&self, slot: usize) {
        self.link.store(slot as Half, Relaxed);
    }

    /// Lets a free slot go on as if experts had come and gone there until the
    /// generation was `generation`.
    #[cfg(any(test, all(feature = "testing", feature = "std")))]
    pub(crate) fn skip_to_generation(&self, generation: usize) {
        assert!(generation % 2 == 0 && !self.word().is_taken());
        self.word.store(generation << Half::BITS, Release);
    }
}
