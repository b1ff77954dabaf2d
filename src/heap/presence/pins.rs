//! Pins: what a thread keeps in place while it looks at what it does not own.
//!
//! Two words for each thread, and how often each came free. A pin is written,
//! and then what it protects is looked at; whoever takes something away first
//! makes it unfindable, and then looks for pins. With a sequentially consistent
//! fence in between on both sides, one of the two sees the other. Checked by a
//! model: see `loom/`.
//!
//! Invariants
//!
//! - PIN1 while a word is not 0, no chunk is released.
//! - PIN2 while a word is a key, the expert of that key is not reclaimed.

#[cfg(any(feature = "capi", loom))]
use crate::sync::fence_behind_exchange;
use crate::sync::{AtomicUsize, Ordering, fence};

/// The value of a word that means no key.
pub const ANYTHING: usize = 1;

/// The pins of one thread. Written by that thread, read by all.
#[derive(Debug)]
pub struct Pins {
    words: [AtomicUsize; 2],
    /// How often each word became 0.
    freed: [AtomicUsize; 2],
}

/// How often the words of a thread's pins had come free when it was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Seen([usize; 2]);

/// One pin: which word it took, and what that word held before.
#[derive(Clone, Copy, Debug)]
pub struct PinnedWord {
    place: usize,
    before: usize,
}

impl Pins {
    /// No pins.
    pub fn new() -> Self {
        let zeros = || [AtomicUsize::new(0), AtomicUsize::new(0)];
        Self { words: zeros(), freed: zeros() }
    }

    /// Pins `word`, a key or [`ANYTHING`]. By the pins' thread.
    #[inline]
    pub fn pin(&self, word: usize) -> PinnedWord {
        // Relaxed: only this thread writes them.
        let first = self.words[0].load(Ordering::Relaxed);
        if first == 0 {
            self.words[0].store(word, Ordering::Relaxed);
            // SeqCst: the pin comes before what is looked at now (the fence of
            // whoever takes it away).
            fence(Ordering::SeqCst);
            return PinnedWord { place: 0, before: 0 };
        }
        // Any pin keeps chunks in place, and has its fence behind it.
        if word == ANYTHING {
            return PinnedWord { place: 0, before: first };
        }
        self.pin_inside(first, word)
    }

    /// Pins `word` where nothing is pinned so far; false otherwise. The caller fences, by
    /// [`fence_behind_exchange`](crate::sync::fence_behind_exchange) or otherwise, before it
    /// trusts what it looks at. By the pins' thread, as all that follows.
    #[cfg(any(feature = "capi", loom))]
    #[inline(always)]
    pub fn pin_first(&self, word: usize) -> bool {
        let is_first = self.words[0].load(Ordering::Relaxed) == 0;
        if is_first {
            self.words[0].store(word, Ordering::Relaxed);
        }
        is_first
    }

    /// As [`pin_first`](Self::pin_first), with the fence: an exchange, which is one.
    #[cfg(any(feature = "capi", loom))]
    #[inline(always)]
    pub fn pin_first_and_fence(&self, word: usize) -> bool {
        let is_first = self.words[0].load(Ordering::Relaxed) == 0;
        if is_first {
            // SeqCst: as in `pin`.
            self.words[0].swap(word, Ordering::SeqCst);
            fence_behind_exchange();
        }
        is_first
    }

    /// Undoes [`pin_first`](Self::pin_first).
    #[cfg(any(feature = "capi", loom))]
    #[inline(always)]
    pub fn unpin_first(&self) {
        self.unpin(PinnedWord { place: 0, before: 0 });
    }

    /// As [`pin`](Self::pin), where the first word holds `first` and `word` is a key.
    #[cold]
    #[inline(never)]
    fn pin_inside(&self, first: usize, word: usize) -> PinnedWord {
        // A pin inside a pin of the same key, or of anything, is covered by
        // that; one of a second key (a transfer has two) takes the second place.
        let place = usize::from(first > ANYTHING && word != first);
        let before = self.words[place].load(Ordering::Relaxed);
        self.words[place].store(if before > ANYTHING { before } else { word }, Ordering::Relaxed);
        // SeqCst: as in `pin`.
        fence(Ordering::SeqCst);
        PinnedWord { place, before }
    }

    /// Undoes a pin. Later ones were undone before.
    #[inline]
    pub fn unpin(&self, taken: PinnedWord) {
        // Release: what was done under the pin (the Acquires below).
        self.words[taken.place % 2].store(taken.before, Ordering::Release);
        if taken.before == 0 {
            let freed = &self.freed[taken.place % 2];
            // Relaxed: only this thread writes it. Release: as above.
            freed.store(freed.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        }
    }

    /// Whether anything is pinned. If something was made unfindable before a
    /// sequentially consistent fence before this call, pins that come later do not
    /// find it.
    pub fn are_any(&self) -> bool {
        self.words.iter().any(|word| word.load(Ordering::Acquire) != 0)
    }

    /// For [`are_past`](Self::are_past), to be called after a sequentially
    /// consistent fence.
    pub fn seen(&self) -> Seen {
        Seen([0, 1].map(|place| self.freed[place].load(Ordering::Acquire)))
    }

    /// Whether all pins of `key` are undone that were there before `seen`; as
    /// [`are_any`](Self::are_any).
    ///
    /// A word with the key in it may be a new pin each time it is looked at, of a
    /// thread that calls again and again; such a pin does not count, and that a
    /// word came free in between tells. Before the fence a word's last pin was
    /// written, and how often the word had come free till then was seen; once more,
    /// and that pin is undone.
    pub fn are_past(&self, key: usize, seen: Seen) -> bool {
        [0, 1].into_iter().all(|place| {
            self.words[place].load(Ordering::Acquire) != key
                || self.freed[place].load(Ordering::Acquire) != seen.0[place]
        })
    }

    /// Takes all pins off, because their thread is gone and has not done so.
    #[cfg(unix)]
    pub fn clear(&self) {
        self.words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}
