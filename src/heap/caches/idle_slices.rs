//! How many unused slices a thread keeps: its limit, and its patience (see
//! [`idle`](super::idle)).

use core::cell::Cell;

use crate::heap::pages::purging;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// The slices that each thread may keep: 1 MiB. For each slice that is used again it may
/// keep one more, and after each interval half as many more.
pub const LEAST: usize = 16;

/// The slices that all threads together may keep beyond that: 4 MiB.
const EXTRA: usize = 64;

/// Slices beyond [`LEAST`] that threads may keep now (IDLE4). Orders nothing.
static GRANTED: AtomicUsize = AtomicUsize::new(0);

/// How many spare spans in a row may be given up unused before a thread keeps none.
const PATIENCE: u32 = 8;

/// Once the patience is used up, one of this many is kept.
const TRIES: u32 = 16;

/// The clock is read once for this many kept spans.
const KEPT_PER_LOOK: u32 = 64;

/// The spans that a thread keeps, in all its caches. The thread's alone.
pub struct IdleSlices {
    slices: Cell<usize>,
    /// How many more than [`LEAST`] may be kept.
    extra: Cell<usize>,
    /// How many spans were kept so far.
    kept: Cell<u32>,
    /// How many more spare spans may be given up unused before none is kept.
    patience: Cell<u32>,
    /// Large blocks freed while the patience was at its end.
    unkept: Cell<u32>,
    /// The arena's count of intervals when all spans were given up last.
    ticks: Cell<usize>,
}

impl IdleSlices {
    /// Nothing is kept.
    pub const fn new() -> Self {
        Self {
            slices: Cell::new(0),
            extra: Cell::new(0),
            kept: Cell::new(0),
            patience: Cell::new(PATIENCE),
            unkept: Cell::new(0),
            ticks: Cell::new(0),
        }
    }

    /// The most slices that may be kept (IDLE3).
    pub fn limit(&self) -> usize {
        LEAST + self.extra.get()
    }

    /// Notes that `slices` kept slices are used again.
    pub fn reused(&self, slices: usize) {
        if self.extra.get() < EXTRA {
            let grant = |now: usize| Some(EXTRA.min(now + slices)).filter(|&new| new > now);
            if let Ok(before) = GRANTED.fetch_update(Relaxed, Relaxed, grant) {
                self.extra.set(self.extra.get() + EXTRA.min(before + slices) - before);
            }
        }
    }

    /// Lowers the limit to [`LEAST`] and `extra` more.
    fn lower(&self, extra: usize) {
        GRANTED.fetch_sub(self.extra.replace(extra) - extra, Relaxed);
    }

    /// Gives the slices that this thread may keep beyond [`LEAST`] to other threads.
    pub fn give_extra(&self) {
        self.lower(0);
    }

    /// Notes that no other thread is left that may keep slices, for `fork`.
    #[cfg(unix)]
    pub fn be_only(mine: Option<&Self>) {
        GRANTED.store(mine.map_or(0, |mine| mine.extra.get()), Relaxed);
    }

    /// How many slices are kept (IDLE2).
    pub fn slices(&self) -> usize {
        self.slices.get()
    }

    /// Notes that `slices` more slices are kept.
    pub fn add(&self, slices: usize) {
        self.slices.set(self.slices.get() + slices);
    }

    /// Notes that `slices` fewer slices are kept.
    pub fn remove(&self, slices: usize) {
        self.slices.set(self.slices.get() - slices);
    }

    /// Whether spare spans are worth keeping now.
    pub fn is_patient(&self) -> bool {
        if self.patience.get() > 0 {
            return true;
        }
        self.unkept.set(self.unkept.get().wrapping_add(1));
        self.unkept.get() % TRIES == 0
    }

    /// Notes that a spare span was used again, so spare spans are worth keeping.
    pub fn renew_patience(&self) {
        self.patience.set(PATIENCE);
    }

    /// Notes that spare spans are given up unused.
    pub fn lose_patience(&self) {
        self.patience.set(self.patience.get().saturating_sub(1));
    }

    /// Whether the arena's interval has ended since this was last true; if so, the limit
    /// becomes lower.
    pub fn is_over(&self) -> bool {
        let kept = self.kept.get().wrapping_add(1);
        self.kept.set(kept);
        if kept % KEPT_PER_LOOK == 0 {
            purging::look_at_clock();
        }
        let now = purging::ticks();
        let is_over = self.ticks.replace(now) != now;
        if is_over {
            self.lower(self.extra.get() / 2);
        }
        is_over
    }
}
