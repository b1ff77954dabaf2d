//! The registry: all slots by number, and the free ones.
//!
//! Slots lie in segments, each twice as large as the one before (four times on 64-bit
//! targets, where fewer segments keep heaps small). So a slot is found from its number by a
//! bit scan, and never moves. Taking a slot takes one compare-exchange, giving it back
//! another, and looking one up takes a load.
//!
//! ```text
//!  segments  [0]-> slots 1..=4   [1]-> 5..=20   [2]-> 21..=84   ...
//!  free      | changes (high half) | slot (low half) | -> link -> link -> 0
//! ```
//!
//! Slot 0 is the host's and is not here, because the engine keeps the host's state.
//!
//! Invariants
//!
//! - REGISTRY1 slots `1..=carved` lie in segments that exist, zero-filled when made.
//! - REGISTRY2 a slot is in the free list iff it was taken, has no holds (SLOT3) and
//!   is not retired; the high half of `free` grows with each removal, so a
//!   removal that was overtaken by others fails.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::engine::Engine;
use crate::error::Error;
use crate::expert::name::Name;
use crate::expert::slot::Slot;
#[cfg(any(test, all(feature = "testing", feature = "std")))]
use crate::key::ExpertKey;
use crate::key::MAX_SLOTS;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::{AtomicPtr, AtomicUsize, Half, Window, delay};

/// Slots in the first segment: enough for a small system.
const FIRST: usize = 4;

/// Log2 of how many times larger each segment is than the one before.
const STEP: u32 = if Half::BITS == 16 { 1 } else { 2 };

/// Enough for [`MAX_SLOTS`].
const SEGMENTS: usize = if Half::BITS == 16 { 15 } else { 16 };

const SLOT: usize = Half::MAX as usize;

const _: () = assert!(slots_before(SEGMENTS) >= MAX_SLOTS);

/// How many slots the first `segments` segments have.
const fn slots_before(segments: usize) -> usize {
    FIRST * ((1 << (STEP as usize * segments)) - 1) / ((1 << STEP) - 1)
}

/// All slots of one heap.
pub struct Registry<O, N: Name> {
    segments: [AtomicPtr<Slot<O, N>>; SEGMENTS],
    carved: AtomicUsize,
    free: AtomicUsize,
}

/// [`slots_before`] of each segment, as a table that saves a division. It has one entry
/// more than there are segments, so no number needs a check.
const BEFORE: [usize; SEGMENTS + 1] = {
    let mut before = [0; SEGMENTS + 1];
    let mut segment = 0;
    while segment <= SEGMENTS {
        before[segment] = slots_before(segment);
        segment += 1;
    }
    before
};

/// The place of a slot: segment, index in it.
#[inline]
fn locate(slot: usize) -> (usize, usize) {
    let position = slot - 1;
    let segment = ((position * ((1 << STEP) - 1)) / FIRST + 1).ilog2() / STEP;
    let segment = (segment as usize).min(SEGMENTS);
    (segment, position - BEFORE[segment])
}

impl<O, N: Name> Registry<O, N> {
    /// A registry without slots, and without memory.
    #[cfg(not(loom))]
    #[allow(clippy::new_without_default, reason = "it is for statics")]
    pub const fn new() -> Self {
        Self {
            segments: [const { AtomicPtr::new(core::ptr::null_mut()) }; SEGMENTS],
            carved: AtomicUsize::new(0),
            free: AtomicUsize::new(0),
        }
    }

    /// The slot of a key, whether or not the key is still valid; `None` where
    /// there never was such a slot.
    #[cfg(any(test, all(feature = "testing", feature = "std")))]
    pub(crate) fn slot_of(&self, key: ExpertKey) -> Option<&Slot<O, N>> {
        let slot = key.slot().filter(|&slot| slot != 0 && slot <= self.carved())?;
        self.reachable(slot)
    }

    /// The numbers of all slots that were ever taken.
    pub(crate) fn numbers(&self) -> core::ops::RangeInclusive<usize> {
        1..=self.carved()
    }

    /// Slot `slot`, if it was ever taken.
    pub(crate) fn reachable(&self, slot: usize) -> Option<&Slot<O, N>> {
        let found = self.place(slot);
        // SLOT1: a generation other than 0 tells that the body is written. (A
        // retired slot reads as 0 again, and is never used.)
        (found.word().generation() != 0).then_some(found)
    }

    /// Slot `slot`, if its segment exists and the slot was ever taken: for an
    /// engine that has found the number in a block's header.
    #[inline]
    pub(crate) fn lookup(&self, slot: usize) -> Option<&Slot<O, N>> {
        self.find(slot).filter(|found| found.word().generation() != 0)
    }

    /// Slot `slot`, if its segment exists. Its word must be checked first: it is 0 for a
    /// slot that was never taken, whose body is not written.
    #[inline(always)]
    pub(crate) fn find(&self, slot: usize) -> Option<&Slot<O, N>> {
        if slot == 0 {
            return None;
        }
        let (segment, place) = locate(slot);
        // Acquire: pairs with the Release in `ensure_segment`.
        let start = NonNull::new(self.segments.get(segment)?.load(Acquire))?;
        // SAFETY: REGISTRY1: the segment exists and has this place.
        let found = unsafe { start.add(place) };
        // SAFETY: REGISTRY1: zero-filled when made, which is a slot; it never moves, and
        // only its atomics and cells change.
        Some(unsafe { found.as_ref() })
    }

    /// A free slot and its number: one that was given back, or a new one.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyExperts`], or [`Error::OutOfMemory`] if there is no memory for its
    /// table.
    pub(crate) fn take<E>(&self, engine: E) -> Result<(usize, &Slot<O, N>), Error>
    where
        E: Engine<Owner = O>,
    {
        match self.pop() {
            Some(free) => Ok(free),
            None => self.carve(engine),
        }
    }

    /// Gives back a slot that has no holds, unless it is retired.
    pub(crate) fn give_back(&self, slot: usize) {
        let given = self.place(slot);
        if given.is_retired() {
            return;
        }
        let push = |head: usize| {
            given.set_link(head & SLOT);
            Some(head & !SLOT | slot)
        };
        // Release: publishes the link, and everything that was done with the slot, to
        // the thread that removes it.
        self.free.fetch_update(Release, Relaxed, push).ok();
    }

    fn pop(&self) -> Option<(usize, &Slot<O, N>)> {
        // Acquire: pairs with the Release in `give_back`.
        let mut head = self.free.load(Acquire);
        loop {
            let slot = head & SLOT;
            if slot == 0 {
                return None;
            }
            let found = self.place(slot);
            // The link may be a parent by now, but then `free` has changed (REGISTRY2).
            let changes = (head & !SLOT).wrapping_add(SLOT + 1);
            let next = changes | found.link();
            delay(Window::SlotPop);
            match self.free.compare_exchange_weak(head, next, Acquire, Acquire) {
                Ok(_) => return Some((slot, found)),
                Err(now) => head = now,
            }
        }
    }

    #[cold]
    fn carve<E>(&self, engine: E) -> Result<(usize, &Slot<O, N>), Error>
    where
        E: Engine<Owner = O>,
    {
        loop {
            let carved = self.carved();
            let slot = carved + 1;
            if slot >= E::SLOTS {
                return Err(Error::TooManyExperts);
            }
            self.ensure_segment(engine, locate(slot).0)?;
            delay(Window::SlotCarve);
            // Release: publishes the segment (REGISTRY1) to `carved`.
            if self.carved.compare_exchange(carved, slot, AcqRel, Relaxed).is_ok() {
                let found = self.place(slot);
                // SAFETY: S1: fresh from the table (REGISTRY1), and no one else was given
                // this number.
                unsafe { found.write_body(E::NEW) };
                return Ok((slot, found));
            }
        }
    }

    /// Makes a missing segment. If several threads do so at the same time, all tables
    /// except one are lost. There is no lock, because an interrupt handler could wait for
    /// the code that it interrupted. The loss is small, because there are few segments.
    fn ensure_segment<E: Engine>(&self, engine: E, segment: usize) -> Result<(), Error> {
        let place = self.segments.get(segment).ok_or(Error::TooManyExperts)?;
        if !place.load(Acquire).is_null() {
            return Ok(());
        }
        let layout = Layout::array::<Slot<O, N>>(FIRST << (STEP as usize * segment));
        let table = layout.ok().and_then(|layout| engine.table(layout));
        let table = table.ok_or(Error::OutOfMemory)?.cast().as_ptr();
        let null = core::ptr::null_mut();
        // Release: publishes the zeroes in the table to `place`.
        place.compare_exchange(null, table, Release, Relaxed).ok();
        Ok(())
    }

    fn carved(&self) -> usize {
        // Acquire: pairs with the Release in `carve`.
        self.carved.load(Acquire)
    }

    /// Slot `slot`, which is one of `1..=carved` and was taken.
    pub(crate) fn place(&self, slot: usize) -> &Slot<O, N> {
        let (segment, place) = locate(slot);
        debug_assert!(segment < SEGMENTS, "REGISTRY1");
        // SAFETY: slots are below `MAX_SLOTS`, for which there are segments enough.
        let start = unsafe { self.segments.get_unchecked(segment) }.load(Acquire);
        debug_assert!(!start.is_null() && slot <= self.carved.load(Relaxed), "REGISTRY1");
        // SAFETY: REGISTRY1: the segment exists and has this place.
        let found = unsafe { start.add(place) };
        // SAFETY: REGISTRY1: zero-filled when made, which is a slot; it never moves, and
        // only its atomics and cells change.
        unsafe { &*found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::HOST_KEY;
    use crate::expert::mock::{MockHome, MockOwner};
    use crate::expert::owned_name::OwnedName;
    use crate::key::LAST_GENERATION;

    type Slots = Registry<MockOwner, OwnedName>;

    fn open(slots: &Slots, home: MockHome) -> (ExpertKey, usize) {
        let (slot, found) = slots.take(home).unwrap();
        let generation = found.open(0, 0, |_| ());
        (ExpertKey::new(slot, generation).unwrap(), slot)
    }

    fn end(slots: &Slots, key: ExpertKey) {
        let slot = slots.slot_of(key).unwrap();
        slot.begin_closing(key, 0).unwrap();
        slot.shut();
        assert!(slot.unhold());
        slots.give_back(key.slot().unwrap());
    }

    #[test]
    fn segments_follow_each_other_without_a_gap() {
        let mut expected = (0, 0);
        for slot in 1..=100_000 {
            assert_eq!(locate(slot), expected, "slot {slot}");
            expected.1 += 1;
            if expected.1 == FIRST << (STEP as usize * expected.0) {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(locate(MAX_SLOTS).0 < SEGMENTS);
    }

    #[test]
    fn slots_are_recycled_with_a_new_key() {
        let home = MockHome::new();
        let slots = Slots::new();
        let (first, slot) = open(&slots, home);
        assert_eq!((first.slot(), first.generation()), (Some(1), 1));
        end(&slots, first);
        let (second, again) = open(&slots, home);
        assert_eq!(slot, again, "ids that are never recycled run out");
        assert_ne!(first, second);
        assert!(!slots.slot_of(first).unwrap().word().is_of(first));
        assert!(slots.slot_of(second).unwrap().word().is_of(second));
        assert_eq!(slots.numbers(), 1..=1);
    }

    #[test]
    fn a_slot_retires_before_its_generation_wraps() {
        let home = MockHome::new();
        let slots = Slots::new();
        let (key, slot) = open(&slots, home);
        end(&slots, key);
        slots.reachable(slot).unwrap().skip_to_generation(LAST_GENERATION - 1);
        let (last, _) = open(&slots, home);
        assert_eq!(last.generation(), LAST_GENERATION);
        end(&slots, last);
        let (other, elsewhere) = open(&slots, home);
        assert_ne!(elsewhere, slot);
        assert!(slots.slot_of(last).is_none());
        assert!(slots.slot_of(key).is_none());
        assert_eq!(other.generation(), 1);
    }

    #[test]
    fn forged_keys_find_nothing() {
        let home = MockHome::new();
        let slots = Slots::new();
        assert!(slots.slot_of(HOST_KEY).is_none());
        let (key, slot) = open(&slots, home);
        for forged in [ExpertKey::new(slot, 0), ExpertKey::new(slot, 2), ExpertKey::new(slot, 3)] {
            let found = slots.slot_of(forged.unwrap()).unwrap();
            assert!(!found.word().is_of(forged.unwrap()));
        }
        for word in [1, 1 << Half::BITS, usize::MAX, key.into_raw() + 1] {
            assert!(slots.slot_of(ExpertKey::from_raw(word).unwrap()).is_none());
        }
    }

    #[test]
    fn threads_never_share_a_slot() {
        let home = MockHome::new();
        let slots = Slots::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let keys = [open(&slots, home).0, open(&slots, home).0];
                        assert_ne!(keys[0].slot(), keys[1].slot());
                        keys.into_iter().for_each(|key| end(&slots, key));
                    }
                });
            }
        });
        assert!(*slots.numbers().end() <= 8);
    }
}
