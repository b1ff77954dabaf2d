//! Thread caches: the spans from which one thread allocates for one heap.
//!
//! For each size class a cache has a *bin*, the list that the fast path pops, and a *queue*
//! of spans that fill it. Allocating touches the bin alone: neither the span nor the owner
//! is looked at, because the cache is the owner's. Freeing touches the span alone, so the
//! blocks of a bin lie close together.
//!
//! ```text
//!  bin <- current span      available: spans with enough free blocks, oldest first
//!                           waiting:   spans with too few
//! ```
//!
//! Invariants
//!
//! - CACHE1 the blocks in a bin are of the queue's current span.
//! - CACHE2 `|bin| == limit - allocated`, unless a second free broke the list (when that is
//!   noticed, the blocks of the bin are lost, and the bin is empty).
//! - CACHE3 only the cache's thread uses the bins and queues, until the heap is
//!   reclaimed or the thread hands the cache over.
//! - CACHE4 a cache is alive iff it is on its heap's list; the heap's lock decides.

mod named;
mod own;
mod queues;

use core::cell::Cell;
use core::ptr::{self};

use super::bins::{Bin, Queue};
use super::household::Household;
use crate::heap::base::list::{Chained, Links};
use crate::heap::base::number::Number;
use crate::heap::base::size_class::CLASSES;
use crate::heap::base::slabs::Record;
use crate::heap::owners::heap::{HOST, Heap};
use crate::heap::owners::ledger::Line;
use crate::heap::presence::present;
use crate::heap::spans::free_block::FreeList;
use crate::heap::spans::span::Span;
use crate::heap::spans::span::SpanList;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicPtr, AtomicU8, AtomicU32, AtomicUsize};

/// See [`Cache::is_freed_into`].
const FREED_INTO: u8 = 1;
const SINCE: u8 = 2;

/// See [`Cache::is_tight`].
const TIGHT: u8 = 64;

/// A bit for each class.
const ALL_CLASSES: u64 = (1 << CLASSES) - 1;

/// The unit in which growth is counted, in bytes.
const GROWTH_UNIT: usize = 512;

/// If a class of an owner that is no longer small has grown by this many bytes, it gets
/// spans of its own.
const GROWN: usize = 16 << 10;

/// The fate of a cache. It is changed under the heap's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CacheFate {
    /// Its heap was reclaimed, and its spans have ended; or the record is unused. A record
    /// whose pages went back reads as dead, too.
    Dead = 0,
    /// In use.
    Alive = 1,
    /// Its heap was adopted by the host, and so were its spans.
    Adopted = 2,
}

/// An owner that is seated in a thread.
#[derive(Clone, Copy)]
pub struct Seat {
    /// The thread's line for the owner.
    pub line: &'static Line,
    /// The thread's common cache, for the classes that the owner's own does not serve.
    pub common: &'static Cache,
    pub number: Number,
}

/// The cache of one thread for one heap. See the module.
#[repr(C)]
pub struct Cache {
    bins: [Bin; CLASSES],
    queues: [Queue; CLASSES],
    heap: AtomicPtr<Heap>,
    /// The classes whose bins were ever filled, a bit each: a cache that was
    /// hardly used is looked through quickly.
    used_classes: [AtomicU32; 2],
    fate: AtomicU8,
    /// How many carvings the quota must grant after a refusal until it no longer counts as
    /// tight. Until then a single free block is enough for a span to be looked at, and no
    /// span is kept empty.
    tight: Cell<u8>,
    /// Whether another thread may have freed blocks of its spans since the last look-around
    /// ended ([`FREED_INTO`]), or since it began ([`SINCE`]).
    freed_into: AtomicU8,
    /// See COLLECT1.
    pub(super) cursor: Cell<Option<&'static Span>>,
    pub(super) list: Cell<u8>,
    /// The key by which a handle knows the cache: the owner's key for bound blocks,
    /// otherwise 0.
    id: Cell<usize>,
    /// The owner of the blocks that are allocated here; `None` for the host.
    seat: Cell<Option<Seat>>,
    /// The classes that are served from spans of this cache, a bit each.
    served: Cell<u64>,
    /// By how much each class has grown, in units of [`GROWTH_UNIT`].
    growth: [Cell<u8>; CLASSES],
    home: AtomicPtr<Household>,
    /// Spans of large blocks that were freed (see `idle`).
    pub spares: SpanList,
    /// Slices of all idle and spare spans. Changed with the thread's lock (PRESENT3), and read
    /// without it as a hint.
    idle_slices: AtomicUsize,
    /// Large blocks allocated in spare spans. It is written like `Bin::allocated`.
    large_allocated: AtomicUsize,
    /// The links on the heap's list, used under the heap's lock.
    in_heap: Links<Cache>,
    /// The links on the thread's list.
    in_thread: Links<Cache>,
    /// The next cache in the thread's inbox.
    pub inbox_next: Cell<Option<&'static Cache>>,
    next_unused: Cell<Option<&'static Cache>>,
    /// The number in `seat` as a word; 0 for none.
    number: Cell<u32>,
}

/// The kind of the list of a heap's caches.
pub struct InHeap;

/// The kind of the list of a thread's caches.
pub struct InThread;

impl Chained<InHeap> for Cache {
    fn links(&self) -> &Links<Self> {
        &self.in_heap
    }
}

impl Chained<InThread> for Cache {
    fn links(&self) -> &Links<Self> {
        &self.in_thread
    }
}

// SAFETY: CACHE3: one thread at a time uses the Cells.
unsafe impl Sync for Cache {}

/// The cache of a thread that has none yet. Every bin is empty, so the first allocation
/// takes the slow path. Never written.
pub static EMPTY: Cache = Cache::empty();

impl Cache {
    const fn empty() -> Self {
        Self {
            bins: [const { Bin::new() }; CLASSES],
            queues: [const { Queue::new() }; CLASSES],
            heap: AtomicPtr::new((&raw const HOST).cast_mut()),
            used_classes: [const { AtomicU32::new(0) }; 2],
            fate: AtomicU8::new(CacheFate::Alive as u8),
            tight: Cell::new(0),
            freed_into: AtomicU8::new(0),
            cursor: Cell::new(None),
            list: Cell::new(0),
            id: Cell::new(0),
            seat: Cell::new(None),
            served: Cell::new(ALL_CLASSES),
            growth: [const { Cell::new(0) }; CLASSES],
            home: AtomicPtr::new(ptr::null_mut()),
            spares: SpanList::new(),
            idle_slices: AtomicUsize::new(0),
            large_allocated: AtomicUsize::new(0),
            in_heap: Links::new(),
            in_thread: Links::new(),
            inbox_next: Cell::new(None),
            next_unused: Cell::new(None),
            number: Cell::new(0),
        }
    }

    /// Begins to use an empty record for `heap`, in the thread of `home`.
    pub fn open(&self, home: &'static Household, heap: &'static Heap) {
        self.home.store(ptr::from_ref(home).cast_mut(), Relaxed);
        self.served.set(ALL_CLASSES);
        self.fate.store(CacheFate::Alive as u8, Relaxed);
        self.tight.set(0);
        self.set_freed_into(false);
        self.set_heap(heap);
    }

    /// Empties the record, whose spans have a new place.
    pub fn close(&self) {
        self.serve_nobody();
        self.growth.iter().for_each(|units| units.set(0));
        // Spans of large blocks may still refer to this record. Clear `home`, so that
        // `is_mine()` is false even for the previous owner.
        self.home.store(ptr::null_mut(), Relaxed);
        self.set_fate(CacheFate::Dead);
        self.cursor.set(None);
        self.list.set(0);
        self.spares.clear();
        self.idle_slices.store(0, Relaxed);
        self.large_allocated.store(0, Relaxed);
        for class in self.used_classes() {
            self.bins[class].head.set(FreeList::EMPTY);
            self.bins[class].allocated.store(0, Relaxed);
            let queue = &self.queues[class];
            queue.limit.store(0, Relaxed);
            queue.current.set(None);
            queue.available.clear();
            queue.waiting.clear();
            queue.idle.clear();
        }
        self.used_classes.iter().for_each(|word| word.store(0, Relaxed));
    }

    /// The key of the owner, if this is the cache of its bound blocks; otherwise 0.
    #[inline(always)]
    pub fn id(&self) -> usize {
        self.id.get()
    }

    /// The owner that is seated here; `None` for the host.
    #[inline(always)]
    pub fn seat(&self) -> Option<Seat> {
        self.seat.get()
    }

    /// The owner of the blocks that are allocated here; `None` for the host.
    pub fn number(&self) -> Option<Number> {
        self.seat.get().map(|seat| seat.number)
    }

    /// The seat here, if it is that of the owner of `number`.
    #[inline(always)]
    pub fn seat_of(&self, number: Number) -> Option<Seat> {
        if self.number.get() == number.into_raw() { self.seat.get() } else { None }
    }

    /// The thread's line for [`number`](Self::number).
    pub fn line(&self) -> Option<&'static Line> {
        self.seat.get().map(|seat| seat.line)
    }

    /// Makes this the cache, or the desk, of an owner. No class is served from spans of its
    /// own at first. `id` is its key, for bound blocks, or 0.
    pub fn serve(&self, number: Number, line: &'static Line, common: &'static Self, id: usize) {
        self.seat.set(Some(Seat { line, common, number }));
        self.number.set(number.into_raw());
        self.served.set(0);
        self.id.set(id);
    }

    /// Makes this a desk without an owner.
    pub fn serve_nobody(&self) {
        self.id.set(0);
        self.seat.set(None);
        self.number.set(0);
    }

    /// Whether blocks of `class` come from spans of this cache.
    #[inline(always)]
    pub fn serves(&self, class: usize) -> bool {
        debug_assert!(class < CLASSES);
        self.served.get() >> class & 1 != 0
    }

    /// Serves all classes from now on, because the owner is busy.
    pub fn serve_all(&self) {
        self.served.set(ALL_CLASSES);
    }

    /// Whether this is an owner's cache that serves all classes.
    pub fn is_busy(&self) -> bool {
        self.served.get() == ALL_CLASSES && self.seat.get().is_some()
    }

    /// Notes that the owner was charged `bytes` more for `class`. Returns whether that
    /// class has grown enough to be served from now on.
    pub fn grow(&self, class: usize, bytes: usize) -> bool {
        let units = usize::from(self.growth[class].get()) + bytes.div_ceil(GROWTH_UNIT);
        self.growth[class].set(units.min(usize::from(u8::MAX)) as u8);
        let has_grown = units * GROWTH_UNIT >= GROWN;
        // It never serves all classes in this way, because that marks a busy owner.
        if has_grown && self.served.get() | 1 << class != ALL_CLASSES {
            self.served.set(self.served.get() | 1 << class);
        }
        has_grown
    }

    /// The caches of the thread that this cache belongs to.
    pub fn home(&self) -> Option<&'static Household> {
        // SAFETY: null or a part of a record, which is never freed.
        unsafe { self.home.load(Relaxed).as_ref() }
    }

    /// Whether it belongs to this thread.
    pub fn is_mine(&self) -> bool {
        let mine = present::mine();
        mine.is_some_and(|mine| self.home().is_some_and(|home| ptr::eq(home.presence(), mine)))
    }

    pub fn fate(&self) -> CacheFate {
        match self.fate.load(Relaxed) {
            0 => CacheFate::Dead,
            1 => CacheFate::Alive,
            _ => CacheFate::Adopted,
        }
    }

    pub fn set_fate(&self, fate: CacheFate) {
        self.fate.store(fate as u8, Relaxed);
    }

    /// The cache before this one on its heap's list.
    #[cfg(feature = "testing")]
    pub fn before_in_heap(&self) -> Option<&'static Self> {
        self.in_heap.prev()
    }

    /// The heap that the cache allocates for.
    pub fn heap(&self) -> &'static Heap {
        // SAFETY: null, where the pages went back, or a heap record, which is never freed.
        unsafe { self.heap.load(Relaxed).as_ref() }.unwrap_or(&HOST)
    }

    pub fn set_heap(&self, heap: &'static Heap) {
        self.heap.store(ptr::from_ref(heap).cast_mut(), Relaxed);
    }

    /// The classes that may have spans or a history.
    pub fn used_classes(&self) -> impl Iterator<Item = usize> + use<> {
        let [low, high] = [0, 1].map(|word| u64::from(self.used_classes[word].load(Relaxed)));
        let mut left = low | high << 32;
        core::iter::from_fn(move || {
            let class = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (class < CLASSES).then_some(class)
        })
    }

    /// Notes that the class has a span from now on.
    fn use_class(&self, class: usize) {
        let word = &self.used_classes[class / 32];
        // The thread alone writes it.
        word.store(word.load(Relaxed) | 1 << (class % 32), Relaxed);
    }

    /// Whether the quota has refused lately.
    pub fn is_tight(&self) -> bool {
        self.tight.get() > 0
    }

    /// Notes that the quota has refused a request.
    pub fn set_tight(&self) {
        self.tight.set(TIGHT);
    }

    /// Notes that the quota has granted a charge.
    pub fn ease(&self) {
        self.tight.set(self.tight.get().saturating_sub(1));
    }

    /// Whether another thread may have freed into the cache's spans lately.
    pub fn is_freed_into(&self) -> bool {
        self.freed_into.load(Relaxed) != 0
    }

    /// Notes whether another thread may have freed into the cache's spans.
    pub fn set_freed_into(&self, freed: bool) {
        // Release: the earlier push (the Acquire in `begin_look`).
        self.freed_into.store(if freed { FREED_INTO | SINCE } else { 0 }, Release);
    }

    /// A look-around begins.
    pub fn begin_look(&self) {
        // Acquire: the earlier push (the Release in `set_freed_into`).
        self.freed_into.fetch_and(!SINCE, Acquire);
    }

    /// Ends a look-around. If no thread has freed into the cache since it began, there is
    /// nothing to look for.
    pub fn end_look(&self) {
        self.freed_into.compare_exchange(FREED_INTO, 0, Relaxed, Relaxed).ok();
    }

    /// Counts a large block that took a spare span.
    pub fn count_large(&self) {
        self.large_allocated.store(self.large_allocated.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Slices of all idle and spare spans (IDLE2).
    pub fn idle_slices(&self) -> usize {
        self.idle_slices.load(Relaxed)
    }

    pub fn set_idle_slices(&self, slices: usize) {
        self.idle_slices.store(slices, Relaxed);
    }

    /// Counts a span that is not kept idle any more (IDLE2).
    pub fn note_gone(&self, span: &Span) {
        self.set_idle_slices(self.idle_slices() - span.slices());
        self.home().inspect(|home| home.idle().remove(span.slices()));
    }
}

// SAFETY: a seat of zeros has no owner.
const NO_SEAT: Option<Seat> = unsafe { core::mem::MaybeUninit::zeroed().assume_init() };
const _: () = assert!(NO_SEAT.is_none());

// SAFETY: S1: others read only atomics of a cache that is not in use, and no Cell; zero
// means no thread, the host's heap, and dead. Zero is also a valid value of the Cells
// (`NO_SEAT`).
unsafe impl Record for Cache {
    fn begin(&self) {
        // All classes, so that `close` empties them.
        self.used_classes.iter().for_each(|word| word.store(u32::MAX, Relaxed));
        self.close();
    }

    fn next_unused(&self) -> &Cell<Option<&'static Self>> {
        &self.next_unused
    }
}
