//! Pins, by which a thread keeps memory and experts in place while it looks at them without
//! owning them.
//!
//! Each thread has two words, and counts how often each became free. A thread writes its
//! pin before it looks at what the pin protects. A thread that takes something away first
//! makes it unfindable, and then looks for pins. With a sequentially consistent fence in
//! between on both sides, one of the two sees the other. A model checks this: see `loom/`.
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

/// The pins of one thread. That thread writes them, and all threads read them.
#[derive(Debug)]
pub struct Pins {
    words: [AtomicUsize; 2],
    /// How often each word became 0.
    freed: [AtomicUsize; 2],
}

/// How often the words of a thread's pins had become free at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Seen([usize; 2]);

/// One pin: the word that it took, and the old value of that word.
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

    /// Pins `word`, a key or [`ANYTHING`]. Only the pins' thread calls this.
    #[inline]
    pub fn pin(&self, word: usize) -> PinnedWord {
        // Relaxed: only this thread writes them.
        let first = self.words[0].load(Ordering::Relaxed);
        if first == 0 {
            self.words[0].store(word, Ordering::Relaxed);
            // SeqCst: the pin comes before the reads that follow (the fence of the thread
            // that takes something away).
            fence(Ordering::SeqCst);
            return PinnedWord { place: 0, before: 0 };
        }
        // Any pin keeps chunks in place, and its fence has already been made.
        if word == ANYTHING {
            return PinnedWord { place: 0, before: first };
        }
        self.pin_inside(first, word)
    }

    /// Pins `word` if nothing is pinned so far; otherwise returns false. The caller fences,
    /// by [`fence_behind_exchange`](crate::sync::fence_behind_exchange) or otherwise, before
    /// it trusts what it reads. Only the pins' thread calls this and the functions below.
    #[cfg(any(feature = "capi", loom))]
    #[inline(always)]
    pub fn pin_first(&self, word: usize) -> bool {
        let is_first = self.words[0].load(Ordering::Relaxed) == 0;
        if is_first {
            self.words[0].store(word, Ordering::Relaxed);
        }
        is_first
    }

    /// As [`pin_first`](Self::pin_first), with an exchange, which is also the fence.
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
        // An outer pin covers this one if it has the same key, or if this one pins
        // anything; a pin of a second key (a transfer has two) takes the second word.
        let place = usize::from(first > ANYTHING && word != first);
        let before = self.words[place].load(Ordering::Relaxed);
        self.words[place].store(if before > ANYTHING { before } else { word }, Ordering::Relaxed);
        // SeqCst: as in `pin`.
        fence(Ordering::SeqCst);
        PinnedWord { place, before }
    }

    /// Undoes a pin. Undoes a pin; later pins were undone before.
    #[inline]
    pub fn unpin(&self, taken: PinnedWord) {
        // Release: the work under the pin (the Acquires below).
        self.words[taken.place % 2].store(taken.before, Ordering::Release);
        if taken.before == 0 {
            let freed = &self.freed[taken.place % 2];
            // Relaxed: only this thread writes it. Release: as above.
            freed.store(freed.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        }
    }

    /// Whether anything is pinned. If the caller made something unfindable, and then made a
    /// sequentially consistent fence, later pins do not find it.
    pub fn are_any(&self) -> bool {
        self.words.iter().any(|word| word.load(Ordering::Acquire) != 0)
    }

    /// The counts for [`are_past`](Self::are_past); call it after a sequentially consistent
    /// fence.
    pub fn seen(&self) -> Seen {
        Seen([0, 1].map(|place| self.freed[place].load(Ordering::Acquire)))
    }

    /// Whether all pins of `key` that were there before `seen` are undone; for the fence
    /// see [`are_any`](Self::are_any).
    ///
    /// A thread that calls again and again may have a new pin with the key each time the
    /// word is read. Such a pin does not count; it is recognised because the word became
    /// free in between. `seen` has the count of each word after the last pin that was
    /// written before the fence. If the count is higher now, that pin is undone.
    pub fn are_past(&self, key: usize, seen: Seen) -> bool {
        [0, 1].into_iter().all(|place| {
            self.words[place].load(Ordering::Acquire) != key
                || self.freed[place].load(Ordering::Acquire) != seen.0[place]
        })
    }

    /// Removes all pins, because their thread is gone and has not done so.
    #[cfg(unix)]
    pub fn clear(&self) {
        self.words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}
