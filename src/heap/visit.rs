//! Visits: a thread keeps in place what it looks at without owning it, and
//! whoever wants to take it away looks for visitors.
//!
//! The protocol is that of [`pins`](super::pins); here are its two sides, for
//! all threads.

use core::ptr;

use super::pins::{ANYTHING, Pins, Taken};
use super::thread::{Thread, known, made, this};
use crate::key::ExpertKey;
use crate::sync::{AtomicUsize, Ordering, Ordering::Relaxed, fence};
use crate::wait::Backoff;

/// Pins of threads for which no record could be made.
static PINS_WITHOUT_RECORD: AtomicUsize = AtomicUsize::new(0);

/// Keeps, while it lives, chunks from being released, and the expert of its
/// key from being reclaimed (THREAD3). Stays on its thread.
pub struct Pin {
    /// `None` for a thread without a record.
    taken: Option<(&'static Pins, Taken)>,
    not_send: core::marker::PhantomData<*const ()>,
}

/// Pins this thread for a call that came in by `key` alone.
#[inline]
pub fn pin(key: ExpertKey) -> Pin {
    pin_word(key.into_raw())
}

/// Pins this thread for a look at memory that it does not own.
#[inline]
pub fn pin_anything() -> Pin {
    pin_word(ANYTHING)
}

#[inline]
fn pin_word(word: usize) -> Pin {
    let taken = match known() {
        Some(thread) => Some((thread.pins(), thread.pins().pin(word))),
        None => pin_unknown(word),
    };
    Pin { taken, not_send: core::marker::PhantomData }
}

#[cold]
#[inline(never)]
fn pin_unknown(word: usize) -> Option<(&'static Pins, Taken)> {
    if let Some(thread) = this() {
        return Some((thread.pins(), thread.pins().pin(word)));
    }
    PINS_WITHOUT_RECORD.fetch_add(1, Relaxed);
    // SeqCst: as in `Pins::pin`.
    fence(Ordering::SeqCst);
    None
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        match self.taken {
            Some((pins, taken)) => pins.unpin(taken),
            // Release: what was done under the pin (the Acquires below).
            None => {
                PINS_WITHOUT_RECORD.fetch_sub(1, Ordering::Release);
            }
        }
    }
}

/// Whether no other thread is pinned. What the caller changed before, a thread
/// that pins later sees.
pub fn nobody_else_is_pinned() -> bool {
    fence(Ordering::SeqCst);
    let mine = known();
    let is_mine = |thread: &Thread| mine.is_some_and(|mine| ptr::eq(mine, thread));
    PINS_WITHOUT_RECORD.load(Ordering::Acquire) == 0
        && made().all(|thread| !thread.pins().are_any() || is_mine(thread))
}

/// Waits for all pins of `key` that other threads have now. What the caller
/// changed before, a thread that pins later sees, and is not waited for.
pub fn drain(key: ExpertKey) {
    fence(Ordering::SeqCst);
    let mine = known();
    let is_mine = |thread: &Thread| mine.is_some_and(|mine| ptr::eq(mine, thread));
    let mut backoff = Backoff::new();
    while PINS_WITHOUT_RECORD.load(Ordering::Acquire) != 0 {
        backoff.pause();
    }
    for thread in made().filter(|thread| !is_mine(thread)) {
        let seen = thread.pins().seen();
        let mut backoff = Backoff::new();
        while !thread.pins().are_past(key.into_raw(), seen) {
            backoff.pause();
        }
    }
}

/// Takes the pins of all other threads off: for the child of a `fork`, which
/// has no other threads.
#[cfg(unix)]
pub fn unpin_others() {
    let mine = known();
    let others = made().filter(|thread| !mine.is_some_and(|mine| ptr::eq(mine, *thread)));
    // What is not pinned is not written: that would copy the page for the child.
    others.filter(|thread| thread.pins().are_any()).for_each(|thread| thread.pins().clear());
    PINS_WITHOUT_RECORD.store(0, Relaxed);
}
