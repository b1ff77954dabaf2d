//! A chunk: one mapping, with sets of its slices that are free, are dirty, or begin a span.
//! The record lives in the tables; the mapping's slice 0 has the headers.
//!
//! Invariants
//!
//! - CHUNK1 a slice is in `free` iff blocks may lie in it and no span has it; the slices
//!   of headers and tag tables never are.
//! - CHUNK2 `dirty` is a part of `free`: free slices that may have physical pages.
//!   The other free slices read as zero.
//! - CHUNK3 `aged` is a part of `dirty`: the slices that were dirty at the last tick.
//! - CHUNK4 a slice is in `starts` iff a span begins there.
//! - CHUNK5 `bytes` is at most `reserved`, and less only for a huge chunk. The others have
//!   [`CHUNK`](crate::heap::base::geometry::CHUNK) bytes, or less if the system had no
//!   more.
//! - CHUNK6 no slice beyond the mapping is in `free`.

use core::cell::Cell;
use core::ptr::NonNull;

use super::address;
use super::bitmap::SliceSet;
use crate::heap::base::geometry::{BLOCK_SLICES, FIRST_SLICE, SLICE, SLICES, TABLE};
use crate::heap::base::list::{Chained, Links, List};
use crate::heap::base::tables::{Linked, Pool, Pooled};
use crate::source;
use crate::sync::{AtomicBool, AtomicUsize, Ordering::Relaxed};

const START_WORDS: usize = SLICES.div_ceil(usize::BITS as usize);

/// How many slices have their tag tables in one slice.
const GROUP: usize = SLICE / TABLE;

/// The number of the slice's group, from 0.
fn group_of(slice: usize) -> usize {
    (slice - FIRST_SLICE) / GROUP
}

/// A chunk's record. The `Cell`s belong to the holder of the arena's lock.
pub struct Chunk {
    /// The mapping; 0 bytes when the record is unused.
    base: AtomicUsize,
    bytes: AtomicUsize,
    /// Whether it has one block only, in a mapping of its own.
    is_huge: AtomicBool,
    /// The bytes of addresses that are reserved for the mapping, up to which it may grow.
    reserved: Cell<usize>,
    pub(super) free: Cell<SliceSet>,
    pub(super) dirty: Cell<SliceSet>,
    pub(super) aged: Cell<SliceSet>,
    /// Look-ups of addresses read it without the lock (CHUNK4).
    starts: [AtomicUsize; START_WORDS],
    /// No run of free slices is longer than this.
    pub(super) longest: Cell<usize>,
    /// The links on the arena's list of chunks with free slices, or on a list of chunks
    /// without a span.
    links: Links<Chunk>,
    pub(super) is_listed: Cell<bool>,
    /// Whether a tagged span has ever begun here.
    has_tags: AtomicBool,
    next_unused: Cell<Option<&'static Chunk>>,
}

// SAFETY: the Cells are used under the arena's lock only.
unsafe impl Sync for Chunk {}

/// A list of chunks. A chunk is on at most one list.
pub type ChunkList = List<Chunk, ()>;

impl Chained<()> for Chunk {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

/// The pool of records of chunks that are not mapped any more.
pub static RECORDS: Pool<Chunk> = Pool::new();

impl Pooled for Chunk {
    /// A record for no mapping.
    fn new() -> Self {
        Self {
            base: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            is_huge: AtomicBool::new(false),
            reserved: Cell::new(0),
            free: Cell::new(SliceSet::EMPTY),
            dirty: Cell::new(SliceSet::EMPTY),
            aged: Cell::new(SliceSet::EMPTY),
            starts: [const { AtomicUsize::new(0) }; START_WORDS],
            longest: Cell::new(0),
            links: Links::new(),
            is_listed: Cell::new(false),
            has_tags: AtomicBool::new(false),
            next_unused: Cell::new(None),
        }
    }
}

impl Linked for Chunk {
    fn next_unused(&self) -> &Cell<Option<&'static Self>> {
        &self.next_unused
    }
}

impl Chunk {
    /// Takes over a fresh mapping, which may grow to `reserved` bytes, for one huge block
    /// or for many blocks. In the second case all its slices for blocks are free.
    pub fn open(&self, mapping: NonNull<u8>, bytes: usize, reserved: usize, is_huge: bool) {
        // The only place where a chunk's provenance is exposed (see `address`).
        self.base.store(mapping.as_ptr().expose_provenance(), Relaxed);
        self.bytes.store(bytes, Relaxed);
        self.is_huge.store(is_huge, Relaxed);
        self.reserved.set(reserved);
        let mut free = SliceSet::EMPTY;
        if !is_huge {
            free.insert(FIRST_SLICE, self.end_slice() - FIRST_SLICE);
        }
        self.free.set(free);
        self.dirty.set(SliceSet::EMPTY);
        self.aged.set(SliceSet::EMPTY);
        self.starts.iter().for_each(|word| word.store(0, Relaxed));
        self.longest.set(free.len());
    }

    /// The address of the mapping.
    pub fn base(&self) -> usize {
        self.base.load(Relaxed)
    }

    /// The length of the mapping.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// The longest length that the mapping may have; the caller holds the arena's lock.
    pub fn reserved(&self) -> usize {
        self.reserved.get()
    }

    /// Sets the length of the mapping of a huge block.
    pub fn set_bytes(&self, bytes: usize) {
        debug_assert!(self.is_huge() && bytes <= self.reserved());
        self.bytes.store(bytes, Relaxed);
    }

    /// Whether the mapping holds `address`.
    pub fn holds(&self, address: usize) -> bool {
        address.wrapping_sub(self.base()) < self.bytes()
    }

    /// Whether it has one block only, in a mapping of its own.
    pub fn is_huge(&self) -> bool {
        self.is_huge.load(Relaxed)
    }

    /// How many slices it has, including those of headers and tag tables. It is not called
    /// for a huge chunk.
    pub fn slices(&self) -> usize {
        self.bytes() / SLICE
    }

    /// The first slice behind those for blocks. It is not called for a huge chunk.
    pub fn end_slice(&self) -> usize {
        self.slices().min(FIRST_SLICE + BLOCK_SLICES)
    }

    /// Whether no span is in it.
    pub fn is_empty(&self) -> bool {
        !self.is_huge() && self.free.get().len() == self.end_slice() - FIRST_SLICE
    }

    /// The start of `count` free slices in a row, at a multiple of `align`, that
    /// may have physical pages.
    pub fn find_dirty(&self, count: usize, align: usize) -> Option<usize> {
        self.dirty.get().find_run(count, align, &self.free.get())
    }

    /// The start of any `count` free slices in a row, at a multiple of `align`; if there
    /// are none, that is noted for later searches.
    pub fn find_free(&self, count: usize, align: usize) -> Option<usize> {
        let free = self.free.get();
        let found = free.find_run(count, align, &free);
        if found.is_none() && align == 1 {
            self.longest.set(count - 1);
        }
        found
    }

    /// Takes `count` free slices from `start` for a span. Returns whether all
    /// of them read as zero.
    pub fn take(&self, start: usize, count: usize) -> bool {
        debug_assert!(self.free.get().has_all(start, count));
        let is_fresh = edit(&self.dirty, |dirty| {
            let is_fresh = !dirty.has_any(start, count);
            dirty.remove(start, count);
            is_fresh
        });
        edit(&self.free, |free| free.remove(start, count));
        edit(&self.aged, |aged| aged.remove(start, count));
        is_fresh
    }

    /// Frees the slices in `free`; those in `dirty`, a part of it, may have
    /// physical pages.
    pub fn give(&self, free: &SliceSet, dirty: &SliceSet) {
        debug_assert!(self.free.get().and(free).is_empty());
        edit(&self.dirty, |all| all.add(dirty));
        edit(&self.free, |all| all.add(free));
        // The first search that this bound misleads corrects it.
        self.longest.set(SLICES);
    }

    /// Notes that a span begins at `slice`, or no longer does (CHUNK4).
    pub fn set_start(&self, slice: usize, begins: bool) {
        let bits = usize::BITS as usize;
        let (word, mask) = (&self.starts[slice / bits], 1 << (slice % bits));
        let others = word.load(Relaxed) & !mask;
        // No other thread writes in between, because this thread holds the arena's lock.
        word.store(if begins { others | mask } else { others }, Relaxed);
    }

    /// The last slice at or before `slice` at which a span begins.
    pub fn start_before(&self, slice: usize) -> Option<usize> {
        let bits = usize::BITS as usize;
        let mut place = slice / bits;
        let mut word = self.starts[place].load(Relaxed) & (usize::MAX >> (bits - 1 - slice % bits));
        while word == 0 {
            place = place.checked_sub(1)?;
            word = self.starts[place].load(Relaxed);
        }
        Some(place * bits + bits - 1 - word.leading_zeros() as usize)
    }

    /// The slices at which spans begin, in order; under the arena's lock (CHUNK4).
    #[cfg(unix)]
    pub fn starts(&self) -> impl Iterator<Item = usize> {
        let bits = usize::BITS as usize;
        self.starts.iter().enumerate().flat_map(move |(place, word)| {
            let mut left = word.load(Relaxed);
            core::iter::from_fn(move || {
                let slice = place * bits + left.trailing_zeros() as usize;
                let is_one = left != 0;
                left &= left.wrapping_sub(1);
                is_one.then_some(slice)
            })
        })
    }

    /// Gives the physical pages of the slices in `which`, a part of `dirty`, back to the
    /// system. Returns how many slices it purged; the others stay dirty, and must age anew
    /// before they are tried again.
    pub fn purge(&self, which: SliceSet) -> usize {
        let mut dirty = self.dirty.get();
        let mut purged = 0;
        for (start, count) in which.runs() {
            // SAFETY: slices of this chunk; it is mapped.
            let memory = unsafe { address::block_at(self.base() + start * SLICE) };
            // SAFETY: free slices: inside one mapping, unused, 64 KiB aligned.
            if unsafe { source::purge(memory, count * SLICE) } {
                dirty.remove(start, count);
                purged += count;
            }
        }
        self.dirty.set(dirty);
        self.purge_tags(&which);
        edit(&self.aged, |aged| which.runs().for_each(|(start, count)| aged.remove(start, count)));
        purged
    }

    /// Notes that a tagged span begins in the chunk.
    pub fn set_tagged(&self) {
        self.has_tags.store(true, Relaxed);
    }

    /// Gives back the physical pages of tag tables, after the slices in `purged` were
    /// purged. It purges each slice of tables for which all slices are free and have no
    /// pages. All tags there are 0 (TAG2), as they read then.
    fn purge_tags(&self, purged: &SliceSet) {
        if !self.has_tags.load(Relaxed) {
            return;
        }
        let (free, dirty) = (self.free.get(), self.dirty.get());
        let mut groups = SliceSet::EMPTY;
        for (start, count) in purged.runs() {
            let [first, last] = [start, start + count - 1].map(group_of);
            for group in first..=last {
                let slices = FIRST_SLICE + group * GROUP;
                let count = GROUP.min(self.end_slice() - slices);
                if free.has_all(slices, count) && !dirty.has_any(slices, count) {
                    groups.insert(1 + group, 1);
                }
            }
        }
        for (start, count) in groups.runs() {
            // SAFETY: tables of this chunk, behind slice 0; it is mapped.
            let memory = unsafe { address::block_at(self.base() + start * SLICE) };
            // SAFETY: inside one mapping, 64 KiB aligned; no tag there is in use.
            unsafe { source::purge(memory, count * SLICE) };
        }
    }

    /// Gives the physical pages of a huge chunk from `start` on back to the system. `start`
    /// is a multiple of a slice, behind the block if there is one. Returns whether they
    /// read as zero afterwards.
    pub fn purge_behind(&self, start: usize) -> bool {
        // SAFETY: inside the chunk, which is mapped.
        let memory = unsafe { address::block_at(start) };
        // SAFETY: inside one mapping, 64 KiB aligned, as its length is; it has
        // one block at most, and that ends before `start`.
        unsafe { source::purge(memory, self.base() + self.bytes() - start) }
    }
}

/// For the walker.
#[cfg(feature = "testing")]
impl Chunk {
    /// The free slices.
    pub fn free(&self) -> SliceSet {
        self.free.get()
    }

    /// The free slices that may have physical pages.
    pub fn dirty(&self) -> SliceSet {
        self.dirty.get()
    }

    /// The slices that were dirty at the last tick.
    pub fn aged(&self) -> SliceSet {
        self.aged.get()
    }

    /// The bound of the longest run.
    pub fn longest(&self) -> usize {
        self.longest.get()
    }

    /// Whether it is on the arena's list.
    pub fn is_listed(&self) -> bool {
        self.is_listed.get()
    }

    /// The chunk before it on the arena's list.
    pub fn prev(&self) -> Option<&'static Self> {
        self.links.prev()
    }
}

/// Changes a set in place, because it is eight words long.
fn edit<T>(set: &Cell<SliceSet>, change: impl FnOnce(&mut SliceSet) -> T) -> T {
    // SAFETY: the sets belong to the holder of the arena's lock, and `change`,
    // one of those above, looks at no other reference to this one.
    change(unsafe { &mut *set.as_ptr() })
}
