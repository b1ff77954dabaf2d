//! Heap records: all that belongs to one owner and kind, wherever its spans
//! and whichever threads' caches they are in. The tag of a block is its span's
//! heap record, and that record's key.
//!
//! Records live in the tables and are recycled, never freed, so a stale
//! reference to one can always be followed and found to be stale. A record is recycled
//! for heaps of the same kind only, so of a block's heap its kind can be told whatever
//! has become of the record.
//!
//! Two records are static: the host's, and the *common* one, whose spans hold blocks
//! of all owners that have no spans to themselves (see `common`).
//!
//! Invariants
//!
//! - HEAP1 every span in use is on the list of one record, and names it (SPAN5).
//! - HEAP2 every live cache is on the list of the record it names.
//! - HEAP3 a bit of `abandoned_classes` is set iff that class's list of abandoned
//!   spans is not empty.
//! - HEAP4 the account was charged the sum of `charged` over the spans.
//! - HEAP5 `lists` is used by the holder of the record's stripe alone.
//!
//! Lock order: an expert's heap (one only: see `stripes`), then the host's, then the
//! arena, then the tables.

use core::cell::Cell;
use core::ptr;

use crate::account::Account;
use crate::engine::{HOST_KEY, Kind};
use crate::error::Error;
use crate::heap::base::geometry::SLICE;
use crate::heap::base::number::Number;
use crate::heap::base::paths::{self, Path};
use crate::heap::base::refused;
use crate::heap::base::size_class::CLASSES;
use crate::heap::base::tables::{Linked, Pool};
use crate::heap::cache::Cache;
use crate::heap::idle;
use crate::heap::pages::arena;
use crate::heap::pages::runs;
use crate::heap::pages::runs::Returned;
use crate::heap::spans::list::SpanList;
use crate::heap::spans::span;
use crate::heap::spans::span::{Span, State};
use crate::heap::stripes::{self, Stripe};
use crate::key::ExpertKey;
use crate::sync::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering, Ordering::Relaxed};

/// The lists of a heap, under its lock (HEAP5).
pub struct Lists {
    spans: Cell<Option<&'static Span>>,
    /// Where a sweep goes on.
    cursor: Cell<Option<&'static Span>>,
    caches: Cell<Option<&'static Cache>>,
    pub abandoned: [SpanList; CLASSES],
    /// Blocks handed out by caches that are gone, and large blocks.
    allocations: Cell<u64>,
    /// Blocks that came from elsewhere by adoption.
    adopted: Cell<u64>,
}

/// A heap record. See the module.
pub struct Heap {
    key: AtomicUsize,
    kind: Kind,
    /// The owner's number; 0 for the static ones.
    number: AtomicU32,
    account: AtomicPtr<Account>,
    overdraft: AtomicBool,
    pub abandoned_classes: [AtomicBool; CLASSES],
    lists: Lists,
    /// The lock of `lists` (HEAP5).
    stripe: &'static Stripe,
    /// The next of all records ever made.
    next_made: AtomicPtr<Heap>,
    next_unused: Cell<Option<&'static Heap>>,
}

// SAFETY: the Cells of `lists` are used under a lock (HEAP5), and so is the other.
unsafe impl Sync for Heap {}
// SAFETY: as above.
unsafe impl Send for Heap {}

/// The host's account: everything that belongs to no expert.
pub static HOST_ACCOUNT: Account = Account::new();

/// The host's ambient heap.
pub static HOST: Heap =
    Heap::new_static(Kind::Ambient, &HOST_ACCOUNT, &stripes::HOST, ptr::null_mut());

/// What common spans take, whoever is charged for the blocks in them.
pub static COMMON_ACCOUNT: Account = Account::new();

/// The heap of the common spans.
pub static COMMON: Heap = Heap::new_static(
    Kind::Ambient,
    &COMMON_ACCOUNT,
    &stripes::COMMON,
    (&raw const HOST).cast_mut(),
);

static MADE: AtomicPtr<Heap> = AtomicPtr::new((&raw const COMMON).cast_mut());
static POOLS: [Pool<Heap>; 3] = [const { Pool::new() }; 3];

impl Linked for Heap {
    fn next_unused(&self) -> &Cell<Option<&'static Self>> {
        &self.next_unused
    }
}

impl Lists {
    const fn new() -> Self {
        Self {
            spans: Cell::new(None),
            cursor: Cell::new(None),
            caches: Cell::new(None),
            abandoned: [const { SpanList::new() }; CLASSES],
            allocations: Cell::new(0),
            adopted: Cell::new(0),
        }
    }

    /// All spans of the heap.
    pub fn spans(&self) -> impl Iterator<Item = &'static Span> {
        let mut next = self.spans.get();
        core::iter::from_fn(move || {
            let span = next?;
            next = span.heap_next.get();
            Some(span)
        })
    }

    /// All caches of the heap.
    pub fn caches(&self) -> impl Iterator<Item = &'static Cache> {
        let mut next = self.caches.get();
        core::iter::from_fn(move || {
            let cache = next?;
            next = cache.heap_next.get();
            Some(cache)
        })
    }

    pub fn add_span(&self, span: &'static Span) {
        let first = self.spans.replace(Some(span));
        span.heap_prev.set(None);
        span.heap_next.set(first);
        if let Some(first) = first {
            first.heap_prev.set(Some(span));
        }
    }

    /// Begins a walk over the spans that gives up the lock now and then.
    pub fn begin_walk(&self) {
        self.cursor.set(self.spans.get());
    }

    /// The next span of the walk. What was added since it began is not among them.
    pub fn walk_on(&self) -> Option<&'static Span> {
        let span = self.cursor.get()?;
        self.cursor.set(span.heap_next.get());
        Some(span)
    }

    pub fn remove_span(&self, span: &'static Span) {
        if self.cursor.get().is_some_and(|next| ptr::eq(next, span)) {
            self.cursor.set(span.heap_next.get());
        }
        let (prev, next) = (span.heap_prev.take(), span.heap_next.take());
        match prev {
            Some(prev) => prev.heap_next.set(next),
            None => self.spans.set(next),
        }
        if let Some(next) = next {
            next.heap_prev.set(prev);
        }
    }

    pub fn add_cache(&self, cache: &'static Cache) {
        let first = self.caches.replace(Some(cache));
        cache.heap_prev.set(None);
        cache.heap_next.set(first);
        if let Some(first) = first {
            first.heap_prev.set(Some(cache));
        }
    }

    pub fn remove_cache(&self, cache: &'static Cache) {
        let (prev, next) = (cache.heap_prev.take(), cache.heap_next.take());
        match prev {
            Some(prev) => prev.heap_next.set(next),
            None => self.caches.set(next),
        }
        if let Some(next) = next {
            next.heap_prev.set(prev);
        }
    }

    /// Blocks handed out by caches that are gone, and large blocks. Modulo
    /// 2^64: what adopted caches had allocated before is taken off.
    pub fn allocations(&self) -> u64 {
        self.allocations.get()
    }

    pub fn count_allocations(&self, blocks: u64) {
        self.allocations.set(self.allocations.get().wrapping_add(blocks));
    }

    /// Blocks that came from elsewhere by adoption.
    pub fn adopted(&self) -> u64 {
        self.adopted.get()
    }

    pub fn count_adopted(&self, blocks: u64) {
        self.adopted.set(self.adopted.get() + blocks);
    }

    /// Forgets all spans, none of them abandoned, all caches and all counts.
    pub fn clear(&self) {
        self.spans.set(None);
        self.cursor.set(None);
        self.caches.set(None);
        debug_assert!(self.abandoned.iter().all(SpanList::is_empty));
        self.allocations.set(0);
        self.adopted.set(0);
    }
}

impl Heap {
    const fn new_static(
        kind: Kind,
        account: &'static Account,
        stripe: &'static Stripe,
        next_made: *mut Self,
    ) -> Self {
        Self {
            key: AtomicUsize::new(HOST_KEY.into_raw()),
            kind,
            number: AtomicU32::new(0),
            account: AtomicPtr::new(ptr::from_ref(account).cast_mut()),
            overdraft: AtomicBool::new(false),
            abandoned_classes: [const { AtomicBool::new(false) }; CLASSES],
            lists: Lists::new(),
            stripe,
            next_made: AtomicPtr::new(next_made),
            next_unused: Cell::new(None),
        }
    }

    /// Opens a heap for `number`, whose owner has `key` and `account`. `None` where there
    /// is no memory.
    pub fn open(
        number: Number,
        key: ExpertKey,
        account: &Account,
        overdraft: bool,
    ) -> Option<&'static Self> {
        let kind = number.kind();
        let fresh = || Self::new_static(kind, &HOST_ACCOUNT, stripes::next(), ptr::null_mut());
        let heap = POOLS[kind as usize].take_or(fresh, |heap: &'static Self| {
            let made = ptr::from_ref(heap).cast_mut();
            let link = |next| {
                heap.next_made.store(next, Relaxed);
                Some(made)
            };
            // Records are only ever added. Release: the record (the Acquire in `made`).
            MADE.fetch_update(Ordering::Release, Relaxed, link).ok();
        })?;
        // Release: what became of the spans of the owner before.
        heap.number.store(number.into_raw(), Ordering::Release);
        heap.account.store(ptr::from_ref(account).cast_mut(), Relaxed);
        heap.overdraft.store(overdraft, Relaxed);
        // Release: the above, to those who find the key.
        heap.key.store(key.into_raw(), Ordering::Release);
        Some(heap)
    }

    /// Closes a heap that was never used, or was reclaimed or adopted; the record
    /// is kept.
    pub fn close(&'static self) {
        self.key.store(0, Relaxed);
        self.account.store(ptr::null_mut(), Relaxed);
        POOLS[self.kind as usize].give(self);
    }

    /// All records ever made, used or not.
    #[cfg(feature = "testing")]
    pub fn made() -> impl Iterator<Item = &'static Self> {
        // Acquire: the records (the Release in `open`).
        // SAFETY: null or a record, which is never freed.
        let first = unsafe { MADE.load(Ordering::Acquire).as_ref() };
        core::iter::successors(first, |heap| {
            // SAFETY: as above.
            unsafe { heap.next_made.load(Relaxed).as_ref() }
        })
    }

    /// The owner that the blocks are tagged with; `None` if the record is
    /// unused.
    pub fn key(&self) -> Option<ExpertKey> {
        // Acquire: the rest of the record (the Release in `open`).
        ExpertKey::from_raw(self.key.load(Ordering::Acquire))
    }

    /// Takes the owner's key off a heap whose blocks the host has adopted. Under
    /// the lock: whoever would add a block for that owner looks there first.
    pub fn disown(&self) {
        self.key.store(0, Relaxed);
    }

    /// Whether the heap is still that of `key`. Under the lock.
    pub fn is_of(&self, key: ExpertKey) -> bool {
        self.key() == Some(key)
    }

    /// The number of the owner; `None` of the host's heap and the common one.
    pub fn number(&self) -> Option<Number> {
        // Acquire: that an owner before has lost its spans (the Release in `open`).
        Number::from_raw(self.number.load(Ordering::Acquire))
    }

    /// Whether its spans are tagged: the common ones, and those of raw blocks.
    pub fn is_tagged(&self) -> bool {
        self.kind == Kind::Raw || ptr::eq(self, &raw const COMMON)
    }

    pub fn is_host(&self) -> bool {
        self.key() == Some(HOST_KEY)
    }

    /// The account, while the heap is open.
    pub fn account(&self) -> &Account {
        // SAFETY: null, or an account that stays in place while the heap is
        // open (the contract of `Who`).
        let account = unsafe { self.account.load(Relaxed).as_ref() };
        account.unwrap_or(&HOST_ACCOUNT)
    }

    /// Runs `f` with the heap's lists, alone.
    pub fn with<T>(&self, f: impl FnOnce(&Lists) -> T) -> T {
        self.stripe.hold(|| f(&self.lists))
    }

    /// Whether an abandoned span of `class` may be had.
    pub fn has_abandoned(&self, class: usize) -> bool {
        // Relaxed: a hint; the lock orders what follows.
        self.abandoned_classes[class].load(Relaxed)
    }

    /// Puts `span`, which no thread owns any more, on its list (HEAP3).
    pub fn add_abandoned(&self, lists: &Lists, span: &'static Span) {
        span.set_state(State::Abandoned);
        lists.abandoned[span.class()].push_back(span);
        self.abandoned_classes[span.class()].store(true, Relaxed);
    }

    /// Takes `span` off the abandoned list (HEAP3).
    pub fn remove_abandoned(&self, lists: &Lists, span: &'static Span) {
        let list = &lists.abandoned[span.class()];
        list.remove(span);
        self.abandoned_classes[span.class()].store(!list.is_empty(), Relaxed);
    }

    /// Charges the owner `bytes` more for `span`, or nothing (HEAP4, SPAN4).
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`], not yet counted as a refusal.
    pub fn charge(&self, span: &Span, bytes: usize) -> Result<(), Error> {
        self.account().charge(bytes).map_err(|_| Error::QuotaExceeded)?;
        span.set_charged(span.charged() + bytes);
        Ok(())
    }

    /// What follows when the quota has no room for `bytes` more for `span`:
    /// an overdraft where that is allowed, a counted refusal where not.
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`].
    pub fn charge_beyond(&self, span: &Span, bytes: usize) -> Result<(), Error> {
        if !self.may_overdraw() {
            return Err(self.refused());
        }
        paths::entered(Path::Overdrawn);
        self.account().overdraw(bytes);
        span.set_charged(span.charged() + bytes);
        Ok(())
    }

    /// Whether the owner has room for `bytes` more, or may be granted them.
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`], a counted refusal.
    pub fn admit(&self, bytes: usize) -> Result<(), Error> {
        let is_granted = self.account().has_room(bytes) || self.may_overdraw();
        if is_granted { Ok(()) } else { Err(self.refused()) }
    }

    /// A panicking thread is not refused: that would end the process, or hang it.
    fn may_overdraw(&self) -> bool {
        self.kind == Kind::Ambient && (self.overdraft.load(Relaxed) || std::thread::panicking())
    }

    fn refused(&self) -> Error {
        paths::entered(Path::Refused);
        self.account().count_refusal();
        Error::QuotaExceeded
    }

    /// Refunds what `span` was charged, beyond `keep` bytes.
    pub fn refund(&self, span: &Span, keep: usize) {
        self.account().refund(span.charged() - keep);
        span.set_charged(keep);
    }

    /// Begins a span of `class` for this heap.
    ///
    /// `cache` is whose span it will be. `None` where the host has adopted
    /// that cache meanwhile, and so this heap is not its owner's any more.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`].
    pub fn begin_span(
        &'static self,
        class: usize,
        cache: &Cache,
    ) -> Result<Option<&'static Span>, Error> {
        let slices = crate::heap::base::size_class::slices(class);
        let take = || runs::take(slices, 1);
        let run = take().or_else(|| idle::relieve().then(take)?).ok_or(Error::OutOfMemory)?;
        let span = span::header_in(run.chunk, run.first);
        let size = crate::heap::base::size_class::size_of(class);
        span.begin(class as u8, State::Current, size, run.start(), slices as u32, run.fresh);
        if self.is_tagged() {
            span.set_tagged();
            run.chunk.set_tagged();
        }
        for back in 1..slices {
            span::header_in(run.chunk, run.first + back).set_back(back as u16);
        }
        span.set_heap(self);
        let is_open = self.with(|lists| {
            let is_open = ptr::eq(self, cache.heap());
            if is_open {
                lists.add_span(span);
            }
            is_open
        });
        if !is_open {
            paths::entered(Path::HeapMoved);
            release_slices(span);
        }
        Ok(is_open.then_some(span))
    }

    /// Ends a span without blocks in use that is on no cache's list: its
    /// charge and its slices go back. Under the heap's lock. Returns false, and
    /// counts a refused free, where a block is in use after all, because
    /// another one was freed twice.
    pub fn end_span(&self, lists: &Lists, span: &'static Span) -> bool {
        span.remote.see_pushed();
        if !span.is_large() && !span.is_all_free() {
            refused::refuse();
            return false;
        }
        lists.remove_span(span);
        self.refund(span, 0);
        release_slices(span);
        true
    }

    /// Keeps records from being made: for `fork`.
    #[cfg(unix)]
    pub fn lock_making() {
        POOLS.iter().for_each(Pool::lock_forever);
    }

    /// Undoes [`lock_making`](Self::lock_making).
    ///
    /// # Safety
    ///
    /// - S1 as for `tables::unlock`.
    #[cfg(unix)]
    pub unsafe fn unlock_making() {
        for pool in &POOLS {
            // SAFETY: S1.
            unsafe { pool.unlock() };
        }
    }
}

/// Whose the blocks of a span are.
impl Span {
    /// The heap that owns the span's blocks; `None` if it is no span.
    pub fn heap(&self) -> Option<&'static Heap> {
        // SAFETY: null or a heap (`set_heap`); records are never freed, only recycled.
        unsafe { self.heap_record(Relaxed).cast::<Heap>().as_ref() }
    }

    /// As [`heap`](Self::heap), for one who does not own a block of the span: what
    /// was written before the tag is seen.
    pub fn heap_seen(&self) -> Option<&'static Heap> {
        // Acquire: the header (the Release in `set_heap_record`).
        // SAFETY: as above.
        unsafe { self.heap_record(Ordering::Acquire).cast::<Heap>().as_ref() }
    }

    /// Runs `f` with the span's heap and its lists, alone: the span is not
    /// adopted meanwhile. `None` where the span has no heap.
    pub fn with_heap<T>(&self, f: impl Fn(&'static Heap, &Lists) -> T) -> Option<T> {
        loop {
            let heap = self.heap()?;
            let done = heap.with(|lists| {
                let same = self.heap().is_some_and(|now| ptr::eq(now, heap));
                same.then(|| f(heap, lists))
            });
            if done.is_some() {
                return done;
            }
        }
    }

    /// Tags the span. Under the heap's lock.
    pub fn set_heap(&self, heap: &'static Heap) {
        self.set_heap_record(ptr::from_ref(heap).cast_mut().cast());
    }

    /// Whether blocks of many owners lie in the span.
    pub fn is_common(&self) -> bool {
        self.heap().is_some_and(|heap| ptr::eq(heap, &raw const COMMON))
    }
}

/// Gives the slices of `span` back to its chunk, or its mapping to the system.
pub fn release_slices(span: &'static Span) {
    arena::with(|arena| release_slices_in(&mut arena.take_back(), span));
}

/// As [`release_slices`], where the arena is locked and more may follow.
pub fn release_slices_in(returned: &mut Returned<'_>, span: &'static Span) {
    let (state, slices, start) = (span.state(), span.slices(), span.start());
    let chunk = returned.chunk_of(start).or_else(|| crate::heap::pages::chunk_map::find(start));
    debug_assert!(chunk.is_some(), "a span in use is in a live chunk");
    let Some(chunk) = chunk else { return };
    // What was dirty before and not carved still is (CHUNK2).
    let touched = if !span.is_fresh() {
        slices * SLICE
    } else if span.is_large() {
        span.block_size()
    } else {
        span.carved() as usize * span.block_size()
    };
    span.end();
    if state == State::Huge {
        returned.give_huge(chunk);
    } else {
        returned.give(chunk, crate::heap::pages::address::slice_of(start), slices, touched);
    }
}
