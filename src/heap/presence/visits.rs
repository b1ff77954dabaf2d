//! Visits: a thread pins memory or an expert that it looks at without owning it, and a
//! thread that wants to take either away looks for visitors.
//!
//! The protocol is that of [`pins`](super::pins); here are its two sides, for
//! all threads.

use super::pins::{PinnedWord, Pins};
use super::present::{Presence, others};
use crate::key::ExpertKey;
use crate::sync::{AtomicUsize, Ordering, Ordering::Relaxed, fence};
use crate::wait::Backoff;

/// The number of pins of threads for which no record could be made.
static PINS_WITHOUT_RECORD: AtomicUsize = AtomicUsize::new(0);

/// A visit: while it lives, no chunk is released, and the expert of its key is not
/// reclaimed (PRESENT2). It stays on its thread.
pub struct Pin {
    /// `None` for a thread without a record.
    taken: Option<(&'static Pins, PinnedWord)>,
    not_send: core::marker::PhantomData<*const ()>,
}

impl Pin {
    /// Pins `word`, a key or [`ANYTHING`](super::pins::ANYTHING), for this thread, whose
    /// presence is `mine`.
    #[inline]
    pub fn new(mine: &'static Presence, word: usize) -> Self {
        let taken = Some((mine.pins(), mine.pins().pin(word)));
        Self { taken, not_send: core::marker::PhantomData }
    }

    /// As [`new`](Self::new), for a thread for which no record could be made.
    #[cold]
    #[inline(never)]
    pub fn without_record() -> Self {
        PINS_WITHOUT_RECORD.fetch_add(1, Relaxed);
        // SeqCst: as in `Pins::pin`.
        fence(Ordering::SeqCst);
        Self { taken: None, not_send: core::marker::PhantomData }
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        match self.taken {
            Some((pins, taken)) => pins.unpin(taken),
            // Release: the work under the pin (the Acquires below).
            None => {
                PINS_WITHOUT_RECORD.fetch_sub(1, Ordering::Release);
            }
        }
    }
}

/// Whether no other thread is pinned. A thread that pins later sees the caller's earlier
/// changes.
pub fn nobody_else_is_pinned() -> bool {
    fence(Ordering::SeqCst);
    PINS_WITHOUT_RECORD.load(Ordering::Acquire) == 0
        && others().all(|other| !other.pins().are_any())
}

/// Waits for all pins of `key` that other threads have now. A thread that pins later sees
/// the caller's earlier changes, and is not waited for.
pub fn drain(key: ExpertKey) {
    fence(Ordering::SeqCst);
    let mut backoff = Backoff::new();
    while PINS_WITHOUT_RECORD.load(Ordering::Acquire) != 0 {
        backoff.pause();
    }
    for other in others() {
        let seen = other.pins().seen();
        crate::sync::delay(crate::sync::Window::DrainPins);
        let mut backoff = Backoff::new();
        while !other.pins().are_past(key.into_raw(), seen) {
            backoff.pause();
        }
    }
}

/// Removes the pins of all other threads, in the child of a `fork`, which has no other
/// threads.
#[cfg(unix)]
pub fn unpin_others() {
    // A record without a pin is not written: that would copy the page for the
    // child.
    others().filter(|other| other.pins().are_any()).for_each(|other| other.pins().clear());
    PINS_WITHOUT_RECORD.store(0, Relaxed);
}
