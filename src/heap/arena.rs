//! The arena: all chunks of the process, and runs of slices out of them.
//!
//! One lock, taken once for each span begun or ended (64 KiB or more), never
//! for a block. Free slices that still have physical pages are handed out
//! before fresh ones; those that nobody wanted for a whole interval are purged.
//!
//! Invariants
//!
//! - ARENA1 a chunk that is not huge is on the list iff it has a free slice.
//! - ARENA2 `used` and `dirty` are the slices that spans have and the dirty ones, over all
//!   chunks; when slices come back, those that came before are at most [`MOST_DIRTY`]
//!   and a quarter of `used`.

use core::cell::Cell;

use crate::heap::base::geometry::{SLICE, SLICES};
use crate::heap::base::paths::{self, Path};
use crate::heap::bitmap::SliceSet;
pub use crate::heap::chunk::Chunk;
use crate::heap::growth::CHUNKS;
use crate::heap::kept::Kept;
use crate::heap::span::Span;
use crate::lock::Lock;
use crate::source;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// Slices unused for one to two of these go back to the system.
const PURGE_INTERVAL_MILLIS: u64 = 500;
/// The clock is read once for so many runs taken or given.
const RUNS_PER_LOOK: u32 = 64;
/// How many free slices may have physical pages, beside a quarter of those in use.
const MOST_DIRTY: usize = (16 << 20) / SLICE;
/// In so many chunks, those that slices came back to last, physical pages are
/// looked for; beyond that the search would cost more than fresh pages do.
const DIRTY_LOOKS: usize = 16;
/// At most so many slices are purged at a time, so that no call takes long.
const SLICES_PER_TICK: usize = 256;

/// The arena, while its lock is held.
pub struct Arena {
    /// Chunks with free slices (ARENA1), those that slices came back to last first.
    first: Cell<Option<&'static Chunk>>,
    /// Huge mappings without a block (see `huge`).
    pub(super) kept: Kept,
    /// Chunks in no list and not in the map, which could not be unmapped.
    pub(super) stranded: Cell<Option<&'static Chunk>>,
    /// Slices that spans have, and free ones that may have physical pages (ARENA2).
    used: Cell<usize>,
    pub(super) dirty: Cell<usize>,
    runs: Cell<u32>,
    last_tick: Cell<u64>,
}

// SAFETY: chunk records may be used by any thread, under the lock.
unsafe impl Send for Arena {}

pub(super) static ARENA: Lock<Arena> = Lock::new(Arena {
    first: Cell::new(None),
    kept: Kept::new(),
    stranded: Cell::new(None),
    used: Cell::new(0),
    dirty: Cell::new(0),
    runs: Cell::new(0),
    last_tick: Cell::new(0),
});

/// A statistic: orders nothing.
static PURGED_SLICES: AtomicUsize = AtomicUsize::new(0);
/// Intervals that have ended. A hint: orders nothing.
static TICKS: AtomicUsize = AtomicUsize::new(0);

/// A run of slices that a span can begin in.
pub struct Run {
    pub chunk: &'static Chunk,
    /// The number of the first slice.
    pub first: usize,
    pub slices: usize,
    /// Whether it reads as zero.
    pub fresh: bool,
}

impl Run {
    /// The header of the first slice.
    pub fn header(&self) -> &'static Span {
        self.chunk.header(self.first)
    }

    /// Gives the run back untouched; it is nobody's.
    pub fn give_back(&self) {
        let arena = ARENA.lock();
        let mut free = SliceSet::EMPTY;
        free.insert(self.first, self.slices);
        self.chunk.set_start(self.first, false);
        let dirty = if self.fresh { SliceSet::EMPTY } else { free };
        arena.change(self.chunk, |chunk| chunk.give(&free, &dirty));
        arena.list_first(self.chunk);
    }

    /// The address of the first slice.
    pub fn start(&self) -> usize {
        self.chunk.base() + self.first * SLICE
    }
}

/// Chunks mapped now, huge ones included.
pub fn chunks() -> usize {
    CHUNKS.load(Relaxed)
}

/// Slices purged so far.
pub fn purged_slices() -> usize {
    PURGED_SLICES.load(Relaxed)
}

/// How many intervals have ended so far.
pub fn ticks() -> usize {
    TICKS.load(Relaxed)
}

/// Reads the clock, for one who takes and gives nothing.
pub fn look_at_clock() {
    ARENA.lock().read_clock();
}

/// Takes `count < SLICES` slices in a row, the first at a multiple of `align`
/// slices; the run's start is noted in its chunk. `None` where memory ends.
pub fn take(count: usize, align: usize) -> Option<Run> {
    debug_assert!(count > 0 && count < SLICES && align < SLICES);
    let arena = ARENA.lock();
    arena.look_at_clock();
    let (chunk, first) = match arena.find(count, align) {
        Some(found) => found,
        None => {
            let chunk = arena.grow(count, align)?;
            (chunk, chunk.find_free(count, align)?)
        }
    };
    let fresh = arena.change(chunk, |chunk| chunk.take(first, count));
    if chunk.free.get().is_empty() {
        arena.unlist(chunk);
    }
    chunk.set_start(first, true);
    Some(Run { chunk, first, slices: count, fresh })
}

/// Runs `f` with the arena, its lock taken once.
pub fn with<T>(f: impl FnOnce(&Arena) -> T) -> T {
    f(&ARENA.lock())
}

/// Gives the tail of a span's run back: `from` of its `count` slices on.
pub fn give_tail(chunk: &'static Chunk, first: usize, from: usize, count: usize) {
    let arena = ARENA.lock();
    let mut tail = SliceSet::EMPTY;
    tail.insert(first + from, count - from);
    arena.change(chunk, |chunk| chunk.give(&tail, &tail));
    arena.list_first(chunk);
}

/// Lengthens a span's run in place from `count` slices to `wanted`. Returns
/// whether what is new reads as zero; `None` where there is no room.
pub fn extend(chunk: &'static Chunk, first: usize, count: usize, wanted: usize) -> Option<bool> {
    let arena = ARENA.lock();
    if first + wanted > SLICES || !chunk.free.get().has_all(first + count, wanted - count) {
        return None;
    }
    let fresh = arena.change(chunk, |chunk| chunk.take(first + count, wanted - count));
    if chunk.free.get().is_empty() {
        arena.unlist(chunk);
    }
    Some(fresh)
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

/// Runs while no other thread is in the arena: for `fork`.
#[cfg(unix)]
pub fn lock_forever() {
    ARENA.lock_forever();
}

/// Undoes [`lock_forever`].
///
/// # Safety
///
/// - S1 as for `tables::unlock`.
#[cfg(unix)]
pub unsafe fn unlock() {
    // SAFETY: S1.
    unsafe { ARENA.force_unlock() };
}

/// Calls `f` with each chunk that has free slices, under the lock.
#[cfg(feature = "testing")]
pub fn for_each_listed(mut f: impl FnMut(&'static Chunk)) {
    ARENA.lock().chunks().for_each(&mut f);
}

/// Calls `f` with each huge chunk that is kept without a block, and returns the
/// sum of their lengths as counted, under the lock.
#[cfg(feature = "testing")]
pub fn for_each_kept(mut f: impl FnMut(&'static Chunk)) -> usize {
    let arena = ARENA.lock();
    arena.kept.chunks().for_each(&mut f);
    arena.kept.bytes()
}

/// How many chunks could not be unmapped and are of no use.
#[cfg(feature = "testing")]
pub fn stranded() -> usize {
    let arena = ARENA.lock();
    core::iter::successors(arena.stranded.get(), |chunk| chunk.next.get()).count()
}

fn note_purged(slices: usize) {
    if slices > 0 {
        paths::entered(Path::Purged);
    }
    PURGED_SLICES.fetch_add(slices, Relaxed);
}

/// Slices on their way back: those of one chunk at a time.
pub struct Returned<'a> {
    arena: &'a Arena,
    chunk: Option<&'static Chunk>,
    free: SliceSet,
    dirty: SliceSet,
}

impl Returned<'_> {
    /// Gives the slices of an ended span back; `touched` bytes of it from the
    /// start may have physical pages.
    pub fn give(&mut self, chunk: &'static Chunk, first: usize, count: usize, touched: usize) {
        if !self.chunk.is_some_and(|now| core::ptr::eq(now, chunk)) {
            self.flush();
            self.chunk = Some(chunk);
        }
        chunk.set_start(first, false);
        self.free.insert(first, count);
        self.dirty.insert(first, touched.div_ceil(SLICE).min(count));
    }

    /// As [`Arena::give_huge`].
    pub fn give_huge(&mut self, chunk: &'static Chunk) {
        self.arena.give_huge(chunk);
    }

    /// The chunk of what was given last, if it holds `address`.
    pub fn chunk_of(&self, address: usize) -> Option<&'static Chunk> {
        self.chunk.filter(|chunk| chunk.holds(address))
    }

    fn flush(&mut self) {
        let Some(chunk) = self.chunk.take() else { return };
        self.arena.change(chunk, |chunk| chunk.give(&self.free, &self.dirty));
        (self.free, self.dirty) = (SliceSet::EMPTY, SliceSet::EMPTY);
        self.arena.list_first(chunk);
        self.arena.look_at_clock();
    }
}

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Arena {
    /// Takes ended spans back: one, or many at once. What came back before is within the
    /// bound from then on (ARENA2).
    pub fn take_back(&self) -> Returned<'_> {
        if self.dirty.get() > self.most_dirty() {
            self.purge_excess();
        }
        let (free, dirty) = (SliceSet::EMPTY, SliceSet::EMPTY);
        Returned { arena: self, chunk: None, free, dirty }
    }

    /// How many free slices may have physical pages.
    fn most_dirty(&self) -> usize {
        MOST_DIRTY + self.used.get() / 4
    }

    /// Gives back the pages of so many free slices that no more than three quarters of
    /// the bound have some; those last that came back last. A program that allocates and
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

    /// Gives the pages of the slices in `which`, a part of what is dirty, back.
    fn purge(&self, chunk: &'static Chunk, which: SliceSet) {
        if !which.is_empty() {
            note_purged(self.change(chunk, |chunk| chunk.purge(which)));
        }
    }

    /// Runs `f`, which changes what is free or dirty of a chunk, and counts that.
    fn change<T>(&self, chunk: &'static Chunk, f: impl FnOnce(&'static Chunk) -> T) -> T {
        let (free, dirty) = (chunk.free.get().len(), chunk.dirty.get().len());
        let done = f(chunk);
        let (now_free, now_dirty) = (chunk.free.get().len(), chunk.dirty.get().len());
        self.used.set(self.used.get().wrapping_add(free).wrapping_sub(now_free));
        self.dirty.set(self.dirty.get().wrapping_add(now_dirty).wrapping_sub(dirty));
        done
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = &'static Chunk> {
        // The next one is read before the caller can unlist this one.
        let mut next = self.first.get();
        core::iter::from_fn(move || {
            let chunk = next?;
            next = chunk.next.get();
            Some(chunk)
        })
    }

    /// A run of free slices: among those with physical pages first.
    fn find(&self, count: usize, align: usize) -> Option<(&'static Chunk, usize)> {
        let dirty = |chunk: &'static Chunk| Some((chunk, chunk.find_dirty(count, align)?));
        let any = |chunk: &'static Chunk| Some((chunk, chunk.find_free(count, align)?));
        let candidates = || self.chunks().filter(|chunk| chunk.longest.get() >= count);
        candidates().take(DIRTY_LOOKS).find_map(dirty).or_else(|| candidates().find_map(any))
    }

    pub(super) fn list(&self, chunk: &'static Chunk) {
        let first = self.first.replace(Some(chunk));
        chunk.prev.set(None);
        chunk.next.set(first);
        if let Some(first) = first {
            first.prev.set(Some(chunk));
        }
        chunk.is_listed.set(true);
    }

    /// Makes `chunk`, which slices came back to, the first of the list.
    fn list_first(&self, chunk: &'static Chunk) {
        if self.first.get().is_some_and(|first| core::ptr::eq(first, chunk)) {
            return;
        }
        if chunk.is_listed.get() {
            self.unlist(chunk);
        }
        self.list(chunk);
    }

    pub(super) fn unlist(&self, chunk: &'static Chunk) {
        let (prev, next) = (chunk.prev.take(), chunk.next.take());
        match prev {
            Some(prev) => prev.next.set(next),
            None => self.first.set(next),
        }
        if let Some(next) = next {
            next.prev.set(prev);
        }
        chunk.is_listed.set(false);
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
        // A mapping at a time: what it still has takes a while to give back.
        if self.release_old() || self.release_empty(1, 1) {
            return false;
        }
        self.chunks().for_each(|chunk| chunk.aged.set(chunk.dirty.get()));
        self.kept.age();
        true
    }
}
