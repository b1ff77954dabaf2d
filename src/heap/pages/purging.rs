//! Where it is decided that free slices go back to the system: those that nobody wanted for
//! a whole interval, and those beyond what may stay dirty.

use super::arena::{ARENA, Arena};
use crate::source;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// Slices unused for one to two of these go back to the system.
const PURGE_INTERVAL_MILLIS: u64 = 500;
/// The clock is read once for so many runs taken or given.
const RUNS_PER_LOOK: u32 = 64;
/// At most so many slices are purged at a time, so that no call takes long.
const SLICES_PER_TICK: usize = 256;

/// Intervals that have ended. A hint: orders nothing.
static TICKS: AtomicUsize = AtomicUsize::new(0);

/// How many intervals have ended so far.
pub fn ticks() -> usize {
    TICKS.load(Relaxed)
}

/// Reads the clock, for one who takes and gives nothing.
pub fn look_at_clock() {
    ARENA.lock().read_clock();
}

/// Gives all free physical memory back to the system, and all empty chunks.
pub fn purge() {
    let arena = ARENA.lock();
    arena.chunks().for_each(|chunk| arena.purge(chunk, chunk.dirty.get()));
    arena.release_all();
}

/// Gives back what was free at the last tick already, and begins the next interval.
pub fn purge_unused() {
    let arena = ARENA.lock();
    arena.chunks().for_each(|chunk| arena.purge(chunk, chunk.aged.get()));
    while arena.release_old() || arena.release_empty(1, 1) {}
    arena.chunks().for_each(|chunk| chunk.aged.set(chunk.dirty.get()));
    arena.kept.age();
    TICKS.fetch_add(1, Relaxed);
}

impl Arena {
    /// Keeps the bound of what is dirty (ARENA2).
    pub fn keep_bound(&self) {
        if self.dirty.get() > self.most_dirty() {
            self.purge_excess();
        }
    }

    /// Gives back the pages of free slices until at most three quarters of the bound
    /// have pages. The slices that came back last go last. A program that allocates and
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

    /// Now and then: purges what has been unused for long.
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

    /// Gives back what was unused for long, a bounded part at a time; when
    /// nothing is left, begins the next interval and returns true.
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
