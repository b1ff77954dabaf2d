//! Decides which free slices go back to the system: those that were not used for a whole
//! interval, and those beyond the bound of dirty slices.

use super::arena::{ARENA, Arena};
use crate::source;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// Slices that were unused for one to two intervals of this length go back to the system.
const PURGE_INTERVAL_MILLIS: u64 = 500;
/// The clock is read once for this many runs taken or given back.
const RUNS_PER_LOOK: u32 = 64;
/// At most this many slices are purged at a time, so no call takes long.
const SLICES_PER_TICK: usize = 256;

/// Intervals that have ended. It is a hint and orders nothing.
static TICKS: AtomicUsize = AtomicUsize::new(0);

/// How many intervals have ended so far.
pub fn ticks() -> usize {
    TICKS.load(Relaxed)
}

/// Reads the clock, for a caller that takes or gives no runs.
pub fn look_at_clock() {
    ARENA.lock().read_clock();
}

/// Gives all free physical memory back to the system, and all empty chunks.
pub fn purge() {
    let arena = ARENA.lock();
    arena.chunks().for_each(|chunk| arena.purge(chunk, chunk.dirty.get()));
    arena.release_all();
}

/// Gives back slices that were already free at the last tick, and begins the next interval.
pub fn purge_unused() {
    let arena = ARENA.lock();
    arena.chunks().for_each(|chunk| arena.purge(chunk, chunk.aged.get()));
    while arena.release_old() || arena.release_empty(1, 1) {}
    arena.chunks().for_each(|chunk| chunk.aged.set(chunk.dirty.get()));
    arena.kept.age();
    TICKS.fetch_add(1, Relaxed);
}

impl Arena {
    /// Keeps the bound of dirty slices (ARENA2).
    pub fn keep_bound(&self) {
        if self.dirty.get() > self.most_dirty() {
            self.purge_excess();
        }
    }

    /// Gives back the pages of free slices until at most three quarters of the bound have
    /// pages. The slices that came back last are purged last. A program that allocates and
    /// frees the same again and again stays below the bound, and pays nothing.
    #[cold]
    fn purge_excess(&self) {
        let left = self.most_dirty() / 4 * 3;
        // The first chunk of the list is the one that slices came back to last.
        for chunk in self.chunks().skip(1).chain(self.chunks().take(1)) {
            let excess = self.dirty.get().saturating_sub(left);
            if excess == 0 {
                return;
            }
            self.purge(chunk, chunk.dirty.get().first(excess));
        }
    }

    /// Called for each run that is taken or given back; now and then it purges slices that
    /// were unused for long.
    pub(super) fn look_at_clock(&self) {
        let runs = self.runs.get().wrapping_add(1);
        self.runs.set(runs);
        if runs % RUNS_PER_LOOK == 0 {
            self.read_clock();
        }
    }

    fn read_clock(&self) {
        let now = source::coarse_millis();
        if now.saturating_sub(self.last_tick.get()) >= PURGE_INTERVAL_MILLIS && self.tick() {
            self.last_tick.set(now);
            TICKS.fetch_add(1, Relaxed);
        }
    }

    /// Gives back slices that were unused for long, a bounded number at a time. When none
    /// is left, it begins the next interval and returns true.
    fn tick(&self) -> bool {
        let mut budget = SLICES_PER_TICK;
        for chunk in self.chunks() {
            let aged = chunk.aged.get().first(budget);
            if !aged.is_empty() {
                self.purge(chunk, aged);
                budget -= aged.len();
                if budget == 0 {
                    return false;
                }
            }
        }
        self.release_stranded();
        // One mapping at a time, because giving its pages back takes a while.
        if self.release_old() || self.release_empty(1, 1) {
            return false;
        }
        self.chunks().for_each(|chunk| chunk.aged.set(chunk.dirty.get()));
        self.kept.age();
        true
    }
}
