//! Heap records: a record has all spans of one owner and kind, whichever threads' caches
//! they are in. The tag of a block is its span's heap record, and that record's key.
//!
//! Records live in the tables and are recycled, never freed, so a stale reference to one
//! can always be followed and found to be stale. A record is recycled only for heaps of the
//! same kind, so a stale reference still tells the kind of the blocks.
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
//! Lock order: one expert's heap (see `stripes`), then the host's, then the arena, then the
//! tables.

use core::cell::Cell;
use core::ptr;

use super::lists::Lists;
use super::payer::Payer;
use super::stripes::{self, Stripe};
use crate::account::Account;
use crate::engine::{HOST_KEY, Kind};
use crate::heap::base::number::Number;
use crate::heap::base::size_class::CLASSES;
use crate::heap::base::tables::{Linked, Pool};
use crate::heap::spans::span::{Span, SpanState};
use crate::key::ExpertKey;
use crate::sync::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering, Ordering::Relaxed};

/// A heap record. See the module.
pub struct Heap {
    key: AtomicUsize,
    kind: Kind,
    /// The owner's number; 0 for the static ones.
    number: AtomicU32,
    account: AtomicPtr<Account>,
    overdraft: AtomicBool,
    abandoned_classes: [AtomicBool; CLASSES],
    lists: Lists,
    /// The lock of `lists` (HEAP5).
    stripe: &'static Stripe,
    /// The next record, on the list of all records.
    next_made: AtomicPtr<Heap>,
    next_unused: Cell<Option<&'static Heap>>,
}

// SAFETY: the Cells of `lists` are used under a lock (HEAP5), and so is the other Cell.
unsafe impl Sync for Heap {}
// SAFETY: as above.
unsafe impl Send for Heap {}

/// The host's account: everything that belongs to no expert.
pub static HOST_ACCOUNT: Account = Account::new();

/// The host's ambient heap.
pub static HOST: Heap =
    Heap::new_static(Kind::Ambient, &HOST_ACCOUNT, &stripes::HOST, ptr::null_mut());

/// The memory of common spans, whatever the owners of the blocks in them.
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

    /// Opens a heap for `number`, whose owner has `key` and `account`. `None` if there is
    /// no memory.
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
            // Records are only added, never removed. Release: the record (the Acquire in
            // `made`).
            MADE.fetch_update(Ordering::Release, Relaxed, link).ok();
        })?;
        // Release: the end of the last owner's spans.
        heap.number.store(number.into_raw(), Ordering::Release);
        heap.account.store(ptr::from_ref(account).cast_mut(), Relaxed);
        heap.overdraft.store(overdraft, Relaxed);
        // Release: the above (the Acquire in `key`).
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

    /// All records, used or not.
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

    /// Takes the owner's key off a heap whose blocks the host has adopted. The caller holds
    /// the lock, because a thread that would add a block for that owner reads the key under
    /// it.
    pub fn disown(&self) {
        self.key.store(0, Relaxed);
    }

    /// The number of the owner; `None` for the host's heap and the common one.
    pub fn number(&self) -> Option<Number> {
        // Acquire: the end of the last owner's spans (the Release in `open`).
        Number::from_raw(self.number.load(Ordering::Acquire))
    }

    /// Whether its spans are tagged: the common ones, and those of raw blocks.
    pub fn is_tagged(&self) -> bool {
        self.kind == Kind::Raw || ptr::eq(self, &raw const COMMON)
    }

    pub fn is_host(&self) -> bool {
        self.key() == Some(HOST_KEY)
    }

    /// The payer for its spans.
    pub fn payer(&self) -> Payer<'_> {
        Payer::new(self.account(), self.kind, self.overdraft.load(Relaxed))
    }

    /// The account, while the heap is open.
    pub fn account(&self) -> &Account {
        // SAFETY: null, or an account that stays in place while the heap is
        // open (the contract of `Who`).
        let account = unsafe { self.account.load(Relaxed).as_ref() };
        account.unwrap_or(&HOST_ACCOUNT)
    }

    /// Runs `f` with the heap's lists, under the lock.
    pub fn with<T>(&self, f: impl FnOnce(&Lists) -> T) -> T {
        self.stripe.hold(|| f(&self.lists))
    }

    /// Runs `f` with the heap's lists, under the lock, if the heap is still that of `key`.
    /// Otherwise its owner has ended; then it does nothing, and returns `None`.
    pub fn if_of<T>(&self, key: ExpertKey, f: impl FnOnce(&Lists) -> T) -> Option<T> {
        self.with(|lists| (self.key() == Some(key)).then(|| f(lists)))
    }

    /// Whether there may be an abandoned span of `class`.
    pub fn has_abandoned(&self, class: usize) -> bool {
        // Relaxed: a hint; the lock orders what follows.
        self.abandoned_classes[class].load(Relaxed)
    }

    /// Puts `span`, which no thread owns any more, on its list (HEAP3).
    pub fn add_abandoned(&self, lists: &Lists, span: &'static Span) {
        span.set_state(SpanState::Abandoned);
        lists.abandoned[span.class()].push_back(span);
        self.abandoned_classes[span.class()].store(true, Relaxed);
    }

    /// Takes `span` off the abandoned list (HEAP3).
    pub fn remove_abandoned(&self, lists: &Lists, span: &'static Span) {
        let list = &lists.abandoned[span.class()];
        list.remove(span);
        self.abandoned_classes[span.class()].store(!list.is_empty(), Relaxed);
    }

    /// Keeps records from being made, for `fork`.
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

/// The owner of the blocks of a span.
impl Span {
    /// The heap that owns the span's blocks; `None` if it is no span.
    pub fn heap(&self) -> Option<&'static Heap> {
        // SAFETY: null or a heap (`set_heap`); records are never freed, only recycled.
        unsafe { self.heap_record(Relaxed).cast::<Heap>().as_ref() }
    }

    /// As [`heap`](Self::heap), for a caller that does not own a block of the span; it also
    /// sees all writes before the heap was set.
    pub fn heap_seen(&self) -> Option<&'static Heap> {
        // Acquire: the header (the Release in `set_heap_record`).
        // SAFETY: as above.
        unsafe { self.heap_record(Ordering::Acquire).cast::<Heap>().as_ref() }
    }

    /// Whether `heap` owns the span's blocks.
    pub fn is_in(&self, heap: &Heap) -> bool {
        self.heap().is_some_and(|now| ptr::eq(now, heap))
    }

    /// Runs `f` with the span's heap and its lists, under the lock, so the span is not
    /// adopted meanwhile. `None` if the span has no heap.
    pub fn with_heap<T>(&self, f: impl Fn(&'static Heap, &Lists) -> T) -> Option<T> {
        loop {
            let heap = self.heap()?;
            crate::sync::delay(crate::sync::Window::SpanHeap);
            let done = heap.with(|lists| self.is_in(heap).then(|| f(heap, lists)));
            if done.is_some() {
                return done;
            }
        }
    }

    /// Tags the span. The caller holds the heap's lock.
    pub fn set_heap(&self, heap: &'static Heap) {
        self.set_heap_record(ptr::from_ref(heap).cast_mut().cast());
    }

    /// Whether blocks of many owners lie in the span.
    pub fn is_common(&self) -> bool {
        self.is_in(&COMMON)
    }
}
