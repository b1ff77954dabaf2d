//! Thread caches: the spans from which one thread allocates for one heap.
//!
//! For each size class a *bin*, the list that the fast path pops, and a *queue*
//! of spans that fill it. Allocating touches the bin alone: neither the span
//! nor the owner is looked at, because the cache is the owner's. Freeing
//! touches the span alone, so what a bin is filled with lies close together.
//!
//! ```text
//!  bin <- current span      available: spans with enough free blocks, oldest first
//!                           waiting:   spans with too few
//! ```
//!
//! Invariants
//!
//! - CACHE1 the blocks in a bin are of the queue's current span.
//! - CACHE2 `|bin| == limit - allocated`, unless a second free broke the list
//!   (then the bin is lost when that is noticed, and empty).
//! - CACHE3 only the cache's thread uses the bins and queues, until the heap is
//!   reclaimed or the thread hands the cache over.
//! - CACHE4 a cache is alive iff it is on its heap's list; the heap's lock decides.

use core::cell::Cell;
use core::ptr::{self, NonNull};

use crate::heap::base::number::Number;
use crate::heap::base::paths::{self, Path};
use crate::heap::base::refused;
use crate::heap::base::size_class::{CLASSES, Place};
use crate::heap::base::tables::{Linked, Pooled};
use crate::heap::owners::heap::{HOST, Heap};
use crate::heap::owners::ledger::Line;
use crate::heap::owners::lists::Lists;
use crate::heap::pages::address::prefetch;
use crate::heap::spans::free_block::FreeList;
use crate::heap::spans::list::SpanList;
use crate::heap::spans::span::{NEVER, Span, State};
use crate::heap::thread::Thread;
use crate::sync::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed};

/// The list that the fast path pops.
#[repr(C)]
pub struct Bin {
    head: Cell<FreeList>,
    /// Blocks ever taken from this bin. Written by the thread alone, without a
    /// locked instruction; read by whoever takes statistics.
    allocated: AtomicUsize,
}

const _: () = assert!(size_of::<Bin>() == Place::BIN);

impl Bin {
    /// The list.
    #[inline(always)]
    pub fn list(&self) -> FreeList {
        self.head.get()
    }

    /// Puts a list of `count` blocks of the current span of `queue`, which is the bin's,
    /// into the empty bin.
    #[inline(always)]
    pub fn fill(&self, queue: &Queue, list: FreeList, count: u32) {
        self.head.set(list);
        let limit = self.allocated.load(Relaxed).wrapping_add(count as usize);
        queue.limit.store(limit, Relaxed);
    }
}

/// See [`Cache::is_tight`].
const TIGHT: u8 = 64;

/// A bit for each class.
const ALL_CLASSES: u64 = (1 << CLASSES) - 1;

/// By what growth is counted, in bytes.
const GROWTH_UNIT: usize = 512;

/// A class that has grown by so many bytes, of an owner that is no longer small, has
/// spans of its own.
const GROWN: usize = 16 << 10;

/// The spans behind a bin.
pub struct Queue {
    pub current: Cell<Option<&'static Span>>,
    pub available: SpanList,
    pub waiting: SpanList,
    /// Spans without a block in use (see `idle`).
    pub idle: SpanList,
    /// See CACHE2.
    limit: AtomicUsize,
}

const _: () = assert!(size_of::<Queue>() % Place::BIN == 0);

/// What has become of a cache. Changed under its heap's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// In use.
    Alive = 0,
    /// Its heap was reclaimed, and the spans are gone, or the record is unused.
    Dead = 1,
    /// Its heap was adopted by the host, and so were its spans.
    Adopted = 2,
}

/// An owner, as seated in a thread.
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
    /// How many carvings the quota has to grant until it counts as roomy again
    /// after a refusal. Until then a single free block is enough for a span to
    /// be looked at, and no span is kept empty.
    tight: Cell<u8>,
    /// Whether another thread may have freed blocks of its spans since they
    /// were last looked through. A hint.
    is_freed_into: AtomicBool,
    /// The key that a handle knows it by: of bound blocks' owner, else 0.
    id: Cell<usize>,
    /// Whose blocks are allocated here; `None` where they are the host's.
    seat: Cell<Option<Seat>>,
    /// The classes that are served from spans of this cache, a bit each.
    served: Cell<u64>,
    /// By how much each class has grown, in units of [`GROWTH_UNIT`].
    growth: [Cell<u8>; CLASSES],
    thread: AtomicPtr<Thread>,
    /// Spans of large blocks that were freed (see `idle`).
    pub spares: SpanList,
    /// Slices of all idle and spare spans.
    idle_slices: Cell<usize>,
    /// Large blocks allocated in spare spans. Written as `Bin::allocated` is.
    large_allocated: AtomicUsize,
    /// Neighbours on the heap's list; under its lock.
    pub heap_next: Cell<Option<&'static Cache>>,
    pub heap_prev: Cell<Option<&'static Cache>>,
    /// Neighbours on the thread's list.
    pub thread_next: Cell<Option<&'static Cache>>,
    pub thread_prev: Cell<Option<&'static Cache>>,
    /// The next in the thread's inbox.
    pub inbox_next: Cell<Option<&'static Cache>>,
    next_unused: Cell<Option<&'static Cache>>,
}

// SAFETY: CACHE3: one thread at a time uses the Cells.
unsafe impl Sync for Cache {}

/// The cache of a thread that has none yet: every bin is empty, so the first
/// allocation takes the slow path. Never written.
pub static EMPTY: Cache = Cache::empty();

impl Cache {
    const fn empty() -> Self {
        Self {
            bins: [const { Bin { head: Cell::new(FreeList::EMPTY), allocated: AtomicUsize::new(0) } };
                CLASSES],
            queues: [const { Queue::new() }; CLASSES],
            heap: AtomicPtr::new((&raw const HOST).cast_mut()),
            used_classes: [const { AtomicU32::new(0) }; 2],
            fate: AtomicU8::new(Fate::Alive as u8),
            tight: Cell::new(0),
            is_freed_into: AtomicBool::new(false),
            id: Cell::new(0),
            seat: Cell::new(None),
            served: Cell::new(ALL_CLASSES),
            growth: [const { Cell::new(0) }; CLASSES],
            thread: AtomicPtr::new(ptr::null_mut()),
            spares: SpanList::new(),
            idle_slices: Cell::new(0),
            large_allocated: AtomicUsize::new(0),
            heap_next: Cell::new(None),
            heap_prev: Cell::new(None),
            thread_next: Cell::new(None),
            thread_prev: Cell::new(None),
            inbox_next: Cell::new(None),
            next_unused: Cell::new(None),
        }
    }

    /// Begins to use an empty record for `heap` in `thread`.
    pub fn open(&self, thread: &'static Thread, heap: &'static Heap) {
        self.thread.store(ptr::from_ref(thread).cast_mut(), Relaxed);
        self.served.set(ALL_CLASSES);
        self.fate.store(Fate::Alive as u8, Relaxed);
        self.tight.set(0);
        self.set_freed_into(false);
        self.set_heap(heap);
    }

    /// Empties the record, its spans taken over by somebody.
    pub fn close(&self) {
        self.id.set(0);
        self.seat.set(None);
        self.growth.iter().for_each(|units| units.set(0));
        // Spans of large blocks may still name this record. Clear `thread`, so that
        // `owns()` is false even for the previous owner.
        self.thread.store(ptr::null_mut(), Relaxed);
        self.set_fate(Fate::Dead);
        self.spares.clear();
        self.idle_slices.set(0);
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

    /// The key of the owner, where this is the cache of its bound blocks; else 0.
    #[inline(always)]
    pub fn id(&self) -> usize {
        self.id.get()
    }

    /// The owner that is seated here; `None` where the blocks are the host's.
    #[inline(always)]
    pub fn seat(&self) -> Option<Seat> {
        self.seat.get()
    }

    /// Whose blocks are allocated here; `None` where they are the host's.
    pub fn number(&self) -> Option<Number> {
        self.seat.get().map(|seat| seat.number)
    }

    /// The thread's line for [`number`](Self::number).
    pub fn line(&self) -> Option<&'static Line> {
        self.seat.get().map(|seat| seat.line)
    }

    /// Makes this the cache, or the desk, of an owner: no class is served from spans of
    /// its own so far. `id` is its key, for bound blocks, or 0.
    pub fn serve(&self, number: Number, line: &'static Line, common: &'static Self, id: usize) {
        self.seat.set(Some(Seat { line, common, number }));
        self.served.set(0);
        self.id.set(id);
    }

    /// Makes this the desk of nobody.
    pub fn serve_nobody(&self) {
        self.id.set(0);
        self.seat.set(None);
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

    /// Whether all classes are served, of an owner.
    pub fn is_busy(&self) -> bool {
        self.served.get() == ALL_CLASSES && self.seat.get().is_some()
    }

    /// Notes that the owner was charged `bytes` more for `class`; whether that class has
    /// grown enough to be served from now on.
    pub fn grow(&self, class: usize, bytes: usize) -> bool {
        let units = usize::from(self.growth[class].get()) + bytes.div_ceil(GROWTH_UNIT);
        self.growth[class].set(units.min(usize::from(u8::MAX)) as u8);
        let has_grown = units * GROWTH_UNIT >= GROWN;
        // Never all of them: only a busy owner has that.
        if has_grown && self.served.get() | 1 << class != ALL_CLASSES {
            self.served.set(self.served.get() | 1 << class);
        }
        has_grown
    }

    /// The cache's thread.
    pub fn thread(&self) -> Option<&'static Thread> {
        // SAFETY: null or a record, which is never freed.
        unsafe { self.thread.load(Relaxed).as_ref() }
    }

    pub fn fate(&self) -> Fate {
        match self.fate.load(Relaxed) {
            0 => Fate::Alive,
            1 => Fate::Dead,
            _ => Fate::Adopted,
        }
    }

    pub fn set_fate(&self, fate: Fate) {
        self.fate.store(fate as u8, Relaxed);
    }

    /// The heap that the cache allocates for.
    pub fn heap(&self) -> &'static Heap {
        // SAFETY: heap records are never freed.
        unsafe { &*self.heap.load(Relaxed) }
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

    /// Notes that the quota has refused.
    pub fn set_tight(&self) {
        self.tight.set(TIGHT);
    }

    /// Notes that the quota has granted something.
    pub fn ease(&self) {
        self.tight.set(self.tight.get().saturating_sub(1));
    }

    /// Whether another thread may have freed into the cache's spans lately.
    pub fn is_freed_into(&self) -> bool {
        self.is_freed_into.load(Relaxed)
    }

    /// Notes whether another thread may have freed into the cache's spans.
    pub fn set_freed_into(&self, freed: bool) {
        self.is_freed_into.store(freed, Relaxed);
    }

    /// How many free blocks make a span worth a visit: an eighth, so that what
    /// waits is at most an eighth of the memory; one where the quota is tight.
    pub fn enough(&self, span: &Span) -> u32 {
        if self.is_tight() { 1 } else { (span.carved() / 8).max(1) }
    }

    /// The bin at `place`, and the queue that fills it.
    #[inline(always)]
    pub fn bin_and_queue(&self, place: Place) -> (&Bin, &Queue) {
        let bins = (&raw const self.bins).cast::<Bin>();
        // SAFETY: a place is that of a class, and those are below CLASSES.
        let bin = unsafe { bins.byte_add(place.offset()) };
        let queues = (&raw const self.queues).cast::<Queue>();
        // SAFETY: as above; queues are so many times as far apart as bins.
        let queue = unsafe { queues.byte_add(place.offset() * (size_of::<Queue>() / Place::BIN)) };
        // SAFETY: as above: one of this cache's bins.
        let bin = unsafe { &*bin };
        // SAFETY: as above: one of this cache's queues.
        (bin, unsafe { &*queue })
    }

    pub fn queue(&self, class: usize) -> &Queue {
        &self.queues[class]
    }

    /// Takes a block of `class` from its bin; `None` where that is empty. The
    /// fast path of every allocation.
    ///
    /// A block without its guard was freed twice and has been handed out since:
    /// it is not handed out again, and the slow path drops the bin.
    #[inline(always)]
    pub fn pop(&self, place: Place) -> Option<NonNull<u8>> {
        debug_assert!(place.class() < CLASSES);
        let bins = (&raw const self.bins).cast::<Bin>();
        // SAFETY: a place is that of a class, and those are below CLASSES.
        let bin = unsafe { bins.byte_add(place.offset()) };
        // SAFETY: as above: one of this cache's bins.
        let bin = unsafe { &*bin };
        let (block, next) = bin.head.get().pop()?;
        bin.head.set(next);
        // The next call will read its link.
        prefetch(next.as_ptr());
        bin.allocated.store(bin.allocated.load(Relaxed).wrapping_add(1), Relaxed);
        Some(block)
    }

    /// Drops the list of a bin that `pop` refuses: one of its blocks is in use,
    /// and what its link says is not to be trusted. What is lost counts as in
    /// use until its owner ends.
    pub fn lose_bin(&self, class: usize) {
        if !self.bins[class].head.take().is_empty() {
            paths::entered(Path::GuardMissed);
            refused::refuse();
            self.set_limit(class, 0);
        }
    }

    fn set_limit(&self, class: usize, count: usize) {
        let limit = self.bins[class].allocated.load(Relaxed).wrapping_add(count);
        self.queues[class].limit.store(limit, Relaxed);
    }

    /// Puts a list of `count` blocks of the current span into the empty bin.
    pub fn fill(&self, class: usize, list: FreeList, count: u32) {
        let bin = &self.bins[class];
        debug_assert!(bin.head.get().is_empty());
        bin.head.set(list);
        self.set_limit(class, count as usize);
    }

    /// The list in the bin.
    pub fn bin(&self, class: usize) -> FreeList {
        self.bins[class].head.get()
    }

    /// How many blocks the bin holds (CACHE2).
    pub fn bin_count(&self, class: usize) -> usize {
        let allocated = self.bins[class].allocated.load(Relaxed);
        self.queues[class].limit.load(Relaxed).wrapping_sub(allocated)
    }

    /// How many blocks were ever taken from the bins, and of spare spans.
    pub fn allocations(&self) -> u64 {
        let of_class = |class: usize| self.bins[class].allocated.load(Relaxed) as u64;
        let large = self.large_allocated.load(Relaxed) as u64;
        large + self.used_classes().map(of_class).sum::<u64>()
    }

    /// Counts a large block that took a spare span.
    pub fn count_large(&self) {
        self.large_allocated.store(self.large_allocated.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Slices of all idle and spare spans (IDLE2).
    pub fn idle_slices(&self) -> usize {
        self.idle_slices.get()
    }

    pub fn set_idle_slices(&self, slices: usize) {
        self.idle_slices.set(slices);
    }

    /// Puts what the bin holds back on the local list of the current span.
    pub fn empty_bin(&self, class: usize) {
        let list = self.bins[class].head.take();
        if list.is_empty() {
            return;
        }
        let count = self.bin_count(class);
        let Some(span) = self.queues[class].current.get() else {
            return self.set_limit(class, 0);
        };
        span.moving(|| {
            self.set_limit(class, 0);
            span.take_back(list, count as u32);
        });
    }

    /// Makes `span` current and sets the one before aside.
    pub fn make_current(&'static self, class: usize, span: &'static Span) {
        self.set_current_aside(class);
        span.set_state(State::Current);
        self.watch(span, span.local_count());
        self.queues[class].current.set(Some(span));
        self.use_class(class);
    }

    /// Notes that the current span has `local` blocks on its local list. Where
    /// the quota is tight, it is looked at when it may have become empty.
    pub fn watch(&self, span: &Span, local: u32) {
        span.set_wait(local, self.watched(span, local));
    }

    /// How many more frees [`watch`](Self::watch) waits for.
    #[inline(always)]
    pub fn watched(&self, span: &Span, local: u32) -> u32 {
        if self.is_tight() { self.used_of_current(span, local) } else { NEVER }
    }

    #[cold]
    fn used_of_current(&self, span: &Span, local: u32) -> u32 {
        let free = local + span.leftover_count() + self.bin_count(span.class()) as u32;
        span.carved().saturating_sub(free).max(1)
    }

    /// Whether no block of the current span is in use.
    pub fn is_empty(&self, span: &Span) -> bool {
        span.outstanding() as usize == self.bin_count(span.class())
    }

    /// Takes a span out of its queue, wherever in it it is.
    pub fn dequeue(&self, span: &'static Span) {
        let queue = self.queue(span.class());
        match span.state() {
            State::Available => queue.available.remove(span),
            State::Waiting => queue.waiting.remove(span),
            State::Idle => {
                queue.idle.remove(span);
                self.note_gone(span);
            }
            _ => queue.current.set(None),
        }
    }

    /// Puts the current span, whose bin is empty, on the list it belongs on.
    pub fn set_current_aside(&'static self, class: usize) {
        if let Some(span) = self.queues[class].current.take() {
            self.enlist(span);
        }
    }

    /// Puts `span` on the available or the waiting list. Whoever frees its
    /// blocks brings it back (see [`noticed`](crate::heap::local::noticed)).
    pub fn enlist(&'static self, span: &'static Span) {
        let queue = &self.queues[span.class()];
        self.use_class(span.class());
        let (local, enough) = (span.local_count(), self.enough(span));
        if span.own_free() >= enough
            || !span.leftover().is_empty()
            || span.carved() < span.capacity()
        {
            let outstanding = span.carved().saturating_sub(span.own_free());
            span.set_state(State::Available);
            span.set_wait(local, if outstanding == 0 { NEVER } else { outstanding });
            queue.available.push_back(span);
        } else {
            span.set_state(State::Waiting);
            span.set_wait(local, enough - local);
            queue.waiting.push_back(span);
        }
    }
}

impl Queue {
    const fn new() -> Self {
        Self {
            current: Cell::new(None),
            available: SpanList::new(),
            waiting: SpanList::new(),
            idle: SpanList::new(),
            limit: AtomicUsize::new(0),
        }
    }

    /// All spans of the queue.
    pub fn spans(&self) -> impl Iterator<Item = &'static Span> {
        let lists = [&self.available, &self.waiting, &self.idle];
        self.current.get().into_iter().chain(lists.into_iter().flat_map(SpanList::iter))
    }
}

fn record_of(cache: Option<&'static Cache>) -> *mut Cache {
    cache.map_or(ptr::null(), ptr::from_ref).cast_mut()
}

/// The caches of a heap.
impl Lists {
    /// All caches of the heap.
    pub fn caches(&self) -> impl Iterator<Item = &'static Cache> {
        // SAFETY: null or a cache (`add_cache`), which is never freed.
        let mut next = unsafe { self.first_cache().cast::<Cache>().as_ref() };
        core::iter::from_fn(move || {
            let cache = next?;
            next = cache.heap_next.get();
            Some(cache)
        })
    }

    /// Puts `cache` on the list.
    pub fn add_cache(&self, cache: &'static Cache) {
        // SAFETY: as in `caches`.
        let first = unsafe { self.first_cache().cast::<Cache>().as_ref() };
        self.set_first_cache(record_of(Some(cache)).cast());
        cache.heap_prev.set(None);
        cache.heap_next.set(first);
        if let Some(first) = first {
            first.heap_prev.set(Some(cache));
        }
    }

    /// Takes `cache` off the list.
    pub fn remove_cache(&self, cache: &'static Cache) {
        let (prev, next) = (cache.heap_prev.take(), cache.heap_next.take());
        match prev {
            Some(prev) => prev.heap_next.set(next),
            None => self.set_first_cache(record_of(next).cast()),
        }
        if let Some(next) = next {
            next.heap_prev.set(prev);
        }
    }
}

/// Which cache a span is in.
impl Span {
    /// The cache that the span is in. To others than its thread, one that it was
    /// in lately.
    pub fn cache(&self) -> Option<&'static Cache> {
        // SAFETY: null or a cache (`set_cache`), which is never freed.
        unsafe { self.cache_record().cast::<Cache>().as_ref() }
    }

    /// Gives the span to `cache`, or to none.
    pub fn set_cache(&self, cache: Option<&'static Cache>) {
        self.set_cache_record(record_of(cache).cast());
    }

    /// How many of its blocks are in the bin that it fills.
    pub fn in_bin(&self) -> u32 {
        match (self.state(), self.cache()) {
            (State::Current, Some(cache)) => cache.bin_count(self.class()) as u32,
            _ => 0,
        }
    }
}

impl Pooled for Cache {
    fn new() -> Self {
        Self::empty()
    }
}

impl Linked for Cache {
    fn next_unused(&self) -> &Cell<Option<&'static Self>> {
        &self.next_unused
    }
}
