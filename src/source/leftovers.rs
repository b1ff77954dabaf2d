//! Mappings that the system has not taken back yet.
//!
//! The system needs one more mapping to cut a part out of a mapping, and refuses at its
//! limit. In that case this module notes parts that were mapped on the way to an aligned
//! mapping, and gives them back when the shortage is over. These parts were never used, so
//! they take addresses and no memory.
//!
//! Invariant:
//!
//! - LEFTOVER1 a place is reserved before anything is mapped that may have to go back, so
//!   every leftover has a place.

use core::ptr::{self, NonNull};

use super::{MAPPED_BYTES, take_back};
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, Ordering::Relaxed};

/// How many mappings can wait here.
const PLACES: usize = 32;

/// One of them. Empty, reserved, or a mapping.
struct Place {
    start: AtomicPtr<u8>,
    bytes: AtomicUsize,
}

const EMPTY: *mut u8 = ptr::null_mut();
/// Nothing is mapped at this address.
const RESERVED: *mut u8 = ptr::without_provenance_mut(1);

static ALL: [Place; PLACES] =
    [const { Place { start: AtomicPtr::new(EMPTY), bytes: AtomicUsize::new(0) } }; PLACES];

/// How many mappings wait here. It is a hint and orders nothing.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A place for one mapping (LEFTOVER1).
pub struct Reserved(&'static Place);

impl Reserved {
    /// A place; `None` if all places are taken.
    pub fn new() -> Option<Self> {
        let reserve = |place: &&Place| place.take(EMPTY).is_some();
        ALL.iter().find(reserve).map(Self)
    }

    /// Gives a mapping, or a part of one, back to the system, now or later.
    ///
    /// # Safety
    ///
    /// - S1 `start` and `bytes` are those of a mapping, or of a part of one, that
    ///   nothing refers to.
    pub unsafe fn give_back(self, start: NonNull<u8>, bytes: usize) {
        // SAFETY: S1.
        if unsafe { take_back(start, bytes) } {
            return;
        }
        MAPPED_BYTES.fetch_add(bytes, Relaxed);
        self.0.keep(start.as_ptr(), bytes);
        core::mem::forget(self);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.start.store(EMPTY, Relaxed);
    }
}

impl Place {
    /// Reserves a place if its state is `now`. Returns the state before.
    fn take(&self, now: *mut u8) -> Option<*mut u8> {
        crate::sync::delay(crate::sync::Window::Leftover);
        // Acquire: the length (the Release in `keep`).
        self.start.compare_exchange(now, RESERVED, Ordering::Acquire, Relaxed).ok()
    }

    /// Notes a mapping in a place that the caller has reserved.
    fn keep(&self, start: *mut u8, bytes: usize) {
        self.bytes.store(bytes, Relaxed);
        WAITING.fetch_add(1, Relaxed);
        // Release: the length (the Acquire in `take`).
        self.start.store(start, Ordering::Release);
    }

    /// Gives back the mapping that waits here, if one does and the system takes it.
    fn retry(&self) {
        let start = self.start.load(Relaxed);
        let Some(mapping) = NonNull::new(start).filter(|_| start != RESERVED) else { return };
        if self.take(start).is_none() {
            return;
        }
        let bytes = self.bytes.load(Relaxed);
        WAITING.fetch_sub(1, Relaxed);
        // SAFETY: S1 of `give_back`; the place, and so the mapping, is this thread's.
        if unsafe { take_back(mapping, bytes) } {
            MAPPED_BYTES.fetch_sub(bytes, Relaxed);
            self.start.store(EMPTY, Relaxed);
        } else {
            self.keep(start, bytes);
        }
    }
}

/// Gives back the waiting mappings, as far as the system takes them.
pub fn retry() {
    if WAITING.load(Relaxed) != 0 {
        ALL.iter().for_each(Place::retry);
    }
}

/// How many mappings wait.
#[cfg(feature = "testing")]
pub fn waiting() -> usize {
    WAITING.load(Relaxed)
}
