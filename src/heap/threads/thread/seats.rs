//! Seats: the cache or the desk of a thread at which the owner of a number is served, with
//! the owner's line. See `thread`.

use core::ptr;

use super::{CACHES, Thread, attach, recent_place};
use crate::engine::{Kind, Pass};
use crate::error::Error;
use crate::heap::base::number::Number;
use crate::heap::caches::cache::{Cache, CacheFate, EMPTY, Seat};
use crate::heap::owners::entry::Standing;
use crate::heap::owners::heap::COMMON;
use crate::heap::owners::ledger::{Line, LineCounts};
use crate::heap::owners::numbers::{self};
use crate::heap::threads::current::{current, found, set_current, set_found};
use crate::key::ExpertKey;
use crate::sync::Ordering::Relaxed;

/// The guests' desk.
const GUESTS: usize = 3;

/// How many owners of a thread are served as busy ones at the same time.
const BUSY_OWNERS: u32 = 16;

/// The length of a window: an owner is busy if it caused many of this many refills of the
/// common cache.
const REFILLS_PER_WINDOW: u32 = 256;

/// The seat in this thread of the owner of `pass` for its bound blocks, if it was found
/// last and may be given memory.
#[inline(always)]
pub fn passed(pass: Pass) -> Option<&'static Cache> {
    let cache = found();
    // A word that is no valid key is the id of no cache except the empty cache,
    // which has no blocks.
    (cache.id() == pass.word()).then_some(cache)
}

/// The seat in this thread of the owner of `key` for its bound blocks, if it was found
/// last.
#[inline(always)]
pub fn remembered(key: ExpertKey) -> Option<&'static Cache> {
    let cache = found();
    // The cache that was found last is for bound blocks, and its id is the whole key, which
    // no other expert ever has. The empty cache has no key either.
    (cache.id() == key.into_raw()).then_some(cache)
}

impl Thread {
    /// Counts a refill of the common cache, and returns the number of its window.
    #[inline]
    pub fn count_refill(&self) -> u8 {
        self.refills.set(self.refills.get().wrapping_add(1));
        self.refill_window()
    }

    /// The number of the window of the last refill of the common cache.
    #[inline]
    pub fn refill_window(&self) -> u8 {
        (self.refills.get() >> REFILLS_PER_WINDOW.ilog2()) as u8
    }

    /// The thread's line for `number`, open.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; [`Error::InvalidKey`] if its owner has ended.
    #[inline]
    pub fn open_line(&self, number: Number) -> Result<&'static Line, Error> {
        match self.ledger.opened(number) {
            Some(line) => Ok(line),
            None => self.open_line_slow(number),
        }
    }

    #[cold]
    #[inline(never)]
    fn open_line_slow(&self, number: Number) -> Result<&'static Line, Error> {
        if !numbers::entry(number).open_line(number, self.index.load(Relaxed)) {
            return Err(Error::InvalidKey);
        }
        let Some(line) = self.ledger.open(number) else {
            let none = LineCounts { allocations: 0, frees: 0, credit: 0 };
            numbers::entry(number).close_line(number, || none);
            return Err(Error::OutOfMemory);
        };
        self.lines.set(self.lines.get() + 1);
        Ok(line)
    }

    /// The seat of the owner of `number`: its cache, or the desk `desk`, at which it sits
    /// from now on. `key` is the owner's key.
    ///
    /// # Errors
    ///
    /// As [`open_line`](Self::open_line).
    #[inline]
    pub fn seat(
        &'static self,
        number: Number,
        key: ExpertKey,
        desk: usize,
    ) -> Result<&'static Cache, Error> {
        let line = self.open_line(number)?;
        let own = if line.has_cache() { self.cache_of(number) } else { None };
        let cache = match own {
            Some(cache) => cache,
            None => self.desk_for(number, line, key, desk)?,
        };
        match number.kind() {
            Kind::Bound => set_found(cache),
            Kind::Raw => self.raw_seats[recent_place(number)].set(cache),
            Kind::Ambient => {}
        }
        Ok(cache)
    }

    /// As [`seat`](Self::seat), for a request that does not depend on the thread's scope.
    ///
    /// # Errors
    ///
    /// As [`open_line`](Self::open_line).
    #[inline]
    pub fn seat_guest(
        &'static self,
        number: Number,
        key: ExpertKey,
    ) -> Result<&'static Cache, Error> {
        // The desk for ambient blocks is that of the current scope's owner.
        let kind = number.kind();
        self.seat(number, key, if kind == Kind::Ambient { GUESTS } else { kind as usize })
    }

    /// The seat in this thread of the owner of `number`, a number of raw blocks, if it is
    /// found without a search. It may be at a cache that was reclaimed, if the owner has
    /// ended.
    #[inline(always)]
    pub fn raw_seat(&self, number: Number) -> Option<(&'static Cache, Seat)> {
        // An owner with a cache of its own sits at no desk.
        let cache = self.raw_seats[recent_place(number)].get();
        Some((cache, cache.seat_of(number)?))
    }

    /// Where the owner of `number`, a number of ambient blocks, is seated in this thread, if
    /// that is found without a search. The owner's line is open then.
    #[inline]
    pub fn ambient_seat(&self, number: Number) -> Option<&'static Cache> {
        let is_its = |seat: &&'static Cache| seat.seat_of(number).is_some();
        // An owner with a cache of its own sits at no desk.
        if let Some(desk) = self.desks[Kind::Ambient as usize].get().filter(is_its) {
            return Some(desk);
        }
        let cache = self.recent[recent_place(number)].get().filter(is_its)?;
        (cache.fate() == CacheFate::Alive).then_some(cache)
    }

    #[inline]
    fn desk_for(
        &'static self,
        number: Number,
        line: &'static Line,
        key: ExpertKey,
        place: usize,
    ) -> Result<&'static Cache, Error> {
        let desk = match self.desks[place].get() {
            Some(desk) => desk,
            None => self.make_desk(place).ok_or(Error::OutOfMemory)?,
        };
        if desk.number() != Some(number) {
            let common = self.common().ok_or(Error::OutOfMemory)?;
            desk.serve(number, line, common, id_of(number, key));
        }
        Ok(desk)
    }

    #[cold]
    fn make_desk(&'static self, place: usize) -> Option<&'static Cache> {
        let desk = CACHES.take()?;
        desk.open(&self.home, &COMMON);
        self.desks[place].set(Some(desk));
        Some(desk)
    }

    /// Gives the owner of `number`, which has no cache here, a cache with spans of its own.
    /// The cache serves no class at first.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; [`Error::InvalidKey`] if the owner has ended.
    pub fn open_cache(
        &'static self,
        number: Number,
        line: &'static Line,
    ) -> Result<&'static Cache, Error> {
        let entry = numbers::entry(number);
        let key = entry.key().filter(|_| entry.standing() == Standing::Live);
        let key = key.ok_or(Error::InvalidKey)?;
        self.table.borrow_mut().try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        let common = self.common().ok_or(Error::OutOfMemory)?;
        let cache = attach(self, entry.heap_or_open(number)?, key)?;
        cache.serve(number, line, common, id_of(number, key));
        line.set_cache(true);
        self.table.borrow_mut().insert(number.into_raw() as usize, cache);
        // The owner moves from the desk to the cache.
        for desk in self.desks_of(number) {
            desk.serve_nobody();
            if ptr::eq(current(), desk) {
                set_current(cache);
            }
            if ptr::eq(found(), desk) {
                set_found(cache);
            }
        }
        Ok(cache)
    }

    /// Makes the seat of the current scope's owner the current cache. By the thread.
    pub fn sit_down(&'static self) {
        let seated = self.scopes.current().and_then(|number| {
            let entry = numbers::entry(number);
            // An owner that has ended has no seat any more, so the thread allocates for the
            // host from here on.
            let key = entry.key().filter(|_| entry.standing() == Standing::Live)?;
            crate::sync::delay(crate::sync::Window::SitDown);
            self.seat(number, key, Kind::Ambient as usize).ok()
        });
        set_current(seated.unwrap_or(&EMPTY));
    }

    /// Whether one more owner may be served as a busy one.
    pub fn may_be_busy(&self) -> bool {
        self.busy.get() < BUSY_OWNERS
    }

    /// Counts an owner that is busy from now on.
    pub fn count_busy(&self) {
        self.busy.set(self.busy.get() + 1);
    }
}

/// The id by which a handle knows an owner's cache.
fn id_of(number: Number, key: ExpertKey) -> usize {
    if number.kind() == Kind::Bound { key.into_raw() } else { 0 }
}
