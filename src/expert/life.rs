//! The life of an expert, with a function for each step.
//!
//! ```text
//!  register -> Live -> terminate -> Terminated -.
//!                |                              |
//!                `--------> begin <-------------'
//!                             |  Closing: no new memory, the key still frees
//!                          clean up, last registered first
//!                             |
//!                           shut    the key is invalid from here on
//!                             |
//!                         take memory: bound and raw reclaimed, ambient adopted
//!                             |
//!                          release, once no child is left: the slot is free
//! ```
//!
//! A parent may end before its children. They are told to stop, and their
//! memory stays: their handles borrow them, not the parent. The parent's slot
//! lingers as the account that their charges go through.

use core::cell::Cell;
use core::ptr::NonNull;

#[cfg(feature = "std")]
use crate::engine::HOST_KEY;
use crate::engine::{Engine, Kind, Who};
use crate::error::Error;
#[cfg(feature = "std")]
use crate::expert::events::{Event, EventKind};
#[cfg(feature = "std")]
use crate::expert::home::CopiedOf;
use crate::expert::home::{Home, OwnerOf, SlotOf};
#[cfg(feature = "std")]
use crate::expert::look;
use crate::expert::name::Name;
use crate::expert::slot::{KEYED, OVERDRAFT, Word};
use crate::expert::stats::Reclaimed;
use crate::expert::stop;
use crate::expert::visit::who;
use crate::key::ExpertKey;
#[cfg(feature = "std")]
use crate::sync::Ordering::Relaxed;
use crate::sync::{Window, delay};

/// The expert to register.
pub(crate) struct Request<'n, 'p, H: Home + 'p> {
    pub(crate) name: <H::Name as Name>::Given<'n>,
    /// The quota in bytes; 0 for none.
    pub(crate) quota: usize,
    /// The soft quota in bytes; 0 for none.
    pub(crate) soft_quota: usize,
    pub(crate) parent: Option<(ExpertKey, &'p SlotOf<H>)>,
    /// Bytes of the parent's quota that are set aside; 0 for none.
    #[cfg(feature = "std")]
    pub(crate) guarantee: usize,
    /// Flags of the slot's word.
    pub(crate) flags: usize,
}

/// The fate of an ended expert's ambient blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They become the host's.
    Adopt,
    /// They are taken back as well. Nothing may refer to them.
    Reclaim,
}

/// Makes an expert.
///
/// # Errors
///
/// [`Error::TooManyExperts`], [`Error::OutOfMemory`]; [`Error::ParentStopped`] if
/// the parent must stop.
pub(crate) fn register<'a, H: Home + 'a>(
    home: H,
    request: &Request<'_, '_, H>,
) -> Result<(ExpertKey, &'a SlotOf<H>), Error> {
    let registry = home.registry();
    let above = request.parent;
    if above.is_some_and(|(_, parent)| !parent.account().is_open()) {
        return Err(Error::ParentStopped);
    }
    let parent = above.map(|(key, slot)| (key.slot().unwrap_or(0), slot));
    #[cfg(feature = "std")]
    let parent = match parent {
        Some(parent) if request.guarantee != 0 => Some(set_aside(home, parent, request.guarantee)?),
        parent => parent,
    };
    delay(Window::Register);
    let taken = registry.take(home.engine()).and_then(|(number, slot)| {
        if parent.is_some_and(|(_, parent)| !parent.hold()) {
            registry.give_back(number);
            return Err(Error::TooManyExperts);
        }
        Ok((number, slot))
    });
    #[cfg(feature = "std")]
    if let Some((number, _)) = parent.filter(|_| request.guarantee != 0) {
        // The child holds the parent's slot now, or there is no parent.
        release(home, number);
    }
    let (number, slot) = taken?;
    let parent_number = parent.map_or(0, |(number, _)| number);
    // A child gets no overdraft if its parent gets none.
    let refuses = above.is_some_and(|(_, parent)| !parent.word().has(OVERDRAFT));
    let flags = if refuses { request.flags & !OVERDRAFT } else { request.flags };
    let generation = slot.open(flags, parent_number, |slot| {
        slot.name().set(request.name);
        #[cfg(feature = "std")]
        if let Some(hosted) = slot.hosted() {
            hosted.told.reset();
            hosted.handed_over.store(0, Relaxed);
        }
        let parent = parent.map(|(_, parent)| NonNull::from(parent.account()));
        // SAFETY: S1: the slot was free, so all was refunded. S2: slots never
        // move, and the parent's account is not opened anew while held (SLOT3).
        unsafe { slot.account().open(request.quota, request.soft_quota, parent) };
    });
    let key = ExpertKey::new(number, generation).ok_or(Error::TooManyExperts)?;
    Ok((key, slot))
}

/// Makes an account between a parent and its next child, which sets aside room of the
/// parent's quota. It has one hold, the caller's.
///
/// # Errors
///
/// As [`register`]; [`Error::QuotaExceeded`] if there is not so much room.
#[cfg(feature = "std")]
fn set_aside<'a, H: Home + 'a>(
    home: H,
    (parent_number, parent): (usize, &SlotOf<H>),
    bytes: usize,
) -> Result<(usize, &'a SlotOf<H>), Error> {
    let registry = home.registry();
    let (number, slot) = registry.take(home.engine())?;
    if !parent.hold() {
        registry.give_back(number);
        return Err(Error::TooManyExperts);
    }
    let mut opened = Ok(());
    slot.linger(parent_number, |slot| {
        let parent = NonNull::from(parent.account());
        // SAFETY: S1: the slot was free, so all was refunded. S2: as in `register`.
        opened = unsafe { slot.account().open_reserve(bytes, parent) };
    });
    if opened.is_err() {
        slot.unhold();
        registry.give_back(number);
        parent.unhold();
        return Err(Error::QuotaExceeded);
    }
    Ok((number, slot))
}

/// Notes that a block of the expert was transferred. A transfer to the host counts as a
/// result that was returned on purpose.
pub(crate) fn transferred<H: Home>(slot: &SlotOf<H>, to: ExpertKey) {
    #[cfg(feature = "std")]
    if let Some(hosted) = slot.hosted().filter(|_| to == HOST_KEY) {
        hosted.handed_over.fetch_add(1, Relaxed);
    }
    #[cfg(not(feature = "std"))]
    let _ = (slot, to);
}

/// An expert that this thread, and no other, is ending.
pub(crate) struct Closing<'a, H: Home + 'a> {
    home: H,
    key: ExpertKey,
    slot: &'a SlotOf<H>,
    reclaimed: Cell<Reclaimed>,
    /// Its key is invalid, and its memory was taken back.
    is_over: Cell<bool>,
    #[cfg(feature = "std")]
    started: std::time::Instant,
    /// The report of the end.
    #[cfg(feature = "std")]
    event: Option<Event<CopiedOf<H>>>,
}

/// Ends the expert of `key`, with all steps.
///
/// # Safety
///
/// - S1 nothing will use or free the expert's bound and raw blocks, and no
///   other thread is in an allocating or freeing call for them, except by way
///   of a [`Visit`](crate::expert::visit::Visit).
/// - S2 for [`Fate::Reclaim`] the same is true of its ambient blocks, at the
///   latest when the last clean-up has returned.
///
/// # Errors
///
/// [`Error::InvalidKey`] if the expert has ended, or another thread ends it, or its word
/// lacks the flag `required`.
pub(crate) unsafe fn finish<'a, H: Home + 'a>(
    home: H,
    key: ExpertKey,
    slot: &'a SlotOf<H>,
    required: usize,
    fate: Fate,
) -> Result<Reclaimed, Error> {
    let closing = Closing::begin(home, key, slot, required)?;
    let complete = || {
        // SAFETY: S1 and S2.
        unsafe { closing.complete(fate) }
    };
    Ok(if slot.cleanups().is_empty() { complete() } else { home.as_host(complete) })
}

impl<'a, H: Home + 'a> Closing<'a, H> {
    /// Makes this thread the one that ends the expert. From here on it gets no
    /// memory and no new clean-ups: visitors that saw it before have left.
    ///
    /// # Errors
    ///
    /// As [`finish`].
    pub(crate) fn begin(
        home: H,
        key: ExpertKey,
        slot: &'a SlotOf<H>,
        required: usize,
    ) -> Result<Self, Error> {
        #[cfg(feature = "std")]
        let started = std::time::Instant::now();
        let before = slot.begin_closing(key, required).ok_or(Error::InvalidKey)?;
        delay(Window::Seal);
        #[cfg(feature = "std")]
        look::look(home, key, slot);
        slot.account().seal();
        stop::wake(home, key, slot);
        let closing = Self {
            home,
            key,
            slot,
            reclaimed: Cell::new(Reclaimed::default()),
            is_over: Cell::new(false),
            #[cfg(feature = "std")]
            started,
            // The name is read now, because it is gone when the report is complete.
            #[cfg(feature = "std")]
            event: if home.is_observed() {
                look::event(home, key, EventKind::Stopped)
            } else {
                None
            },
        };
        closing.wait_for_visitors(before);
        Ok(closing)
    }

    /// Does all remaining steps. The caller has made the host current, so no quota makes a
    /// clean-up fail. The key can still free.
    ///
    /// A clean-up may leave this call by `longjmp`. Then it is called once more and does
    /// the rest, so no value here may need to be dropped.
    ///
    /// # Safety
    ///
    /// As [`finish`].
    pub(crate) unsafe fn complete(&self, fate: Fate) -> Reclaimed {
        self.clean_up();
        if !self.is_over.replace(true) {
            let word = self.shut();
            // SAFETY: S1 and S2; `shut` has waited for the visitors.
            unsafe { self.take_memory(word, fate) };
            self.release();
        }
        self.reclaimed.get()
    }

    fn count(&self, count: impl FnOnce(&mut Reclaimed)) {
        let mut reclaimed = self.reclaimed.get();
        count(&mut reclaimed);
        self.reclaimed.set(reclaimed);
    }

    fn clean_up(&self) {
        let cleanups = self.slot.cleanups();
        while !self.is_over.get() && !cleanups.is_empty() {
            self.count(Reclaimed::count_cleanup);
            if cleanups.run_next(self.home.engine()) == Some(true) {
                self.count(Reclaimed::count_return);
            }
        }
    }

    /// Makes the key invalid, and waits for visitors that came in before.
    fn shut(&self) -> Word {
        let before = self.slot.shut();
        delay(Window::Shut);
        self.wait_for_visitors(before);
        before
    }

    fn wait_for_visitors(&self, word: Word) {
        // Most experts were never reached by their key alone and have no visitors:
        // the wait would cost more than all other steps.
        if word.has(KEYED) {
            self.home.engine().drain(self.key);
        }
    }

    /// Takes the memory back, or gives it to the host.
    ///
    /// # Safety
    ///
    /// As [`finish`]; and no visitor is left.
    unsafe fn take_memory(&self, word: Word, fate: Fate) {
        let engine = self.home.engine();
        let who = who::<H>(self.slot, self.key, word.has(OVERDRAFT));
        for kind in [Kind::Bound, Kind::Raw] {
            // SAFETY: S1.
            let taken = unsafe { engine.reclaim(who, kind) };
            self.count(|reclaimed| reclaimed.count_reclaimed(taken));
        }
        match fate {
            Fate::Adopt => {
                let taken = engine.adopt(who, engine.host());
                self.count(|reclaimed| reclaimed.count_adopted(taken));
            }
            Fate::Reclaim => {
                // SAFETY: S2.
                let taken = unsafe { engine.reclaim(who, Kind::Ambient) };
                self.count(|reclaimed| reclaimed.count_reclaimed(taken));
            }
        }
        delay(Window::CloseOwner);
        engine.close(who);
        #[cfg(feature = "std")]
        if let Some(hosted) = self.slot.hosted() {
            hosted.tasks.clear();
            let handed_over = hosted.handed_over.load(Relaxed);
            self.count(|reclaimed| reclaimed.count_handed_over(handed_over));
        }
    }

    /// Releases the slot, and those of ended parents that lingered for it; then tells
    /// the observer.
    fn release(&self) {
        release(self.home, self.key.slot().unwrap_or(0));
        #[cfg(feature = "std")]
        {
            self.count(|reclaimed| reclaimed.elapsed = self.started.elapsed());
            if let Some(mut event) = self.event {
                event.kind = EventKind::Ended(self.reclaimed.get());
                self.home.tell(&event);
            }
        }
    }
}

/// Gives up a hold on slot `number`, and on the slots above that lingered for it.
fn release<H: Home>(home: H, mut number: usize) {
    let registry = home.registry();
    while number != 0 {
        let slot = registry.place(number);
        let parent = slot.link();
        delay(Window::ReleaseSlot);
        if !slot.unhold() {
            break;
        }
        debug_assert_eq!(slot.account().charged(), 0, "ACCOUNT2: an ended expert is still charged");
        #[cfg(feature = "std")]
        slot.account().close_reserve();
        registry.give_back(number);
        number = parent;
    }
}

/// The engine's view of an expert that is borrowed, and so cannot end.
#[inline]
pub(crate) fn borrowed<'a, H: Home + 'a>(
    slot: &'a SlotOf<H>,
    key: ExpertKey,
) -> Who<'a, OwnerOf<H>> {
    // A borrowed expert is only asked for bound and raw blocks, for which overdrafts do not
    // exist.
    who::<H>(slot, key, false)
}
