//! Pins: what a thread keeps in place while it looks at what it does not own.
//!
//! Two words for each thread. A pin is written, and then what it protects is
//! looked at; whoever takes something away first makes it unfindable, and then
//! looks for pins. With a sequentially consistent fence in between on both
//! sides, one of the two sees the other. Checked by a model: see `loom/`.
//!
//! Invariants
//!
//! - P1 while a word is not 0, no chunk is released.
//! - P2 while a word is a key, the expert of that key is not reclaimed.

use crate::sync::{AtomicUsize, Ordering, fence};

/// What a word holds where no key is meant.
pub const ANYTHING: usize = 1;

/// The pins of one thread. Written by that thread, read by all.
#[derive(Debug)]
pub struct Pins([AtomicUsize; 2]);

/// One pin: which word it took, and what that word held before.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    place: usize,
    before: usize,
}

impl Pins {
    /// No pins.
    pub fn new() -> Self {
        Self([AtomicUsize::new(0), AtomicUsize::new(0)])
    }

    /// Pins `word`, a key or [`ANYTHING`]. By the pins' thread.
    #[inline]
    pub fn pin(&self, word: usize) -> Taken {
        // Relaxed: only this thread writes them.
        let first = self.0[0].load(Ordering::Relaxed);
        // A pin inside a pin of the same key, or of anything, is covered by
        // that; one of a second key (a transfer has two) takes the second place.
        let place = usize::from(first > ANYTHING && word > ANYTHING && word != first);
        let before = self.0[place].load(Ordering::Relaxed);
        self.0[place].store(if before > ANYTHING { before } else { word }, Ordering::Relaxed);
        // SeqCst: the pin comes before what is looked at now (the fence of
        // whoever takes it away).
        fence(Ordering::SeqCst);
        Taken { place, before }
    }

    /// Undoes a pin. Later ones were undone before.
    #[inline]
    pub fn unpin(&self, taken: Taken) {
        // Release: what was done under the pin (the Acquires below).
        self.0[taken.place].store(taken.before, Ordering::Release);
    }

    /// Whether anything is pinned. What was made unfindable before a
    /// sequentially consistent fence before this call is not found by pins
    /// that come later.
    pub fn are_any(&self) -> bool {
        self.0.iter().any(|word| word.load(Ordering::Acquire) != 0)
    }

    /// Whether `key` is pinned; as [`are_any`](Self::are_any).
    pub fn have(&self, key: usize) -> bool {
        self.0.iter().any(|word| word.load(Ordering::Acquire) == key)
    }

    /// Takes all pins off: their thread is gone, and did not say so.
    #[cfg(unix)]
    pub fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}
