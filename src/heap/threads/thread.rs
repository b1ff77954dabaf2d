//! Threads: their caches, the owners that they allocate for, and their lines for owners
//! without a cache.
//!
//! The fast paths read two thread-local words, the token and the current
//! cache; both have values that lead to the slow path until the thread is
//! known. Thread records live in the tables and are recycled, never freed.
//!
//! An owner is *seated* at a cache. This is its own cache, or a *desk*: a cache without
//! spans that serves no class, so each request goes to `common`. A thread has a desk for
//! each kind of blocks, and one for *guests*: owners of blocks that are resized in any
//! scope. A desk remembers its last owner.
//!
//! Invariants
//!
//! - THREAD1 a thread's list has all its caches except the desks; its table has those of
//!   owners, by number; each cache in `recent` is also in the table, and is at its place.
//!   Each entry of `raw_seats` is one of the thread's caches or desks, or the empty cache.
//! - THREAD2 the line that an owner's cache or desk points to is open.
//! - THREAD3 the current cache is the seat of the current scope's owner, or the empty cache;
//!   if that owner has ended, it stays as it was until the thread tends.

pub mod giving_back;
pub mod seats;
pub mod tending;

use core::cell::{Cell, RefCell};
use core::ptr;

use hashbrown::HashMap;

use super::scopes::Scopes;
use crate::engine::HOST_KEY;
use crate::error::Error;
use crate::heap::base::geometry::SLICE_SHIFT;
use crate::heap::base::id_hash::IdHasher;
use crate::heap::base::number::Number;
use crate::heap::base::paths::{self, Path};
use crate::heap::base::slabs::Slabs;
use crate::heap::base::tables::{Linked, Pool, Pooled, TableAllocator};
use crate::heap::caches::cache::{Cache, CacheFate, EMPTY};
use crate::heap::caches::household::Household;
use crate::heap::owners::entry;
use crate::heap::owners::heap::{COMMON, HOST, Heap};
use crate::heap::owners::ledger::Ledger;
use crate::key::ExpertKey;
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, Ordering::Relaxed};

type Table = HashMap<usize, &'static Cache, IdHasher, TableAllocator>;

/// How many caches a thread finds without a search.
const RECENT: usize = 64;

/// For how many slices a thread notes the class of their raw blocks.
const RAW_CLASSES: usize = 64;

/// The number of desks: one for each kind of blocks, and the guests' desk.
const DESKS: usize = 4;

/// A thread looks for lines of ended owners once this many owners have ended.
const ENDED_PER_LOOK: usize = 64;

/// A thread's record. The `Cell`s belong to the thread, or, where PRESENT3 says so, to the
/// holder of its lock.
pub struct Thread {
    home: Household,
    host: Cell<Option<&'static Cache>>,
    common: Cell<Option<&'static Cache>>,
    desks: [Cell<Option<&'static Cache>>; DESKS],
    ledger: Ledger,
    /// How many lines are open.
    lines: Cell<usize>,
    scopes: Scopes,
    table: RefCell<Table>,
    /// The classes of raw blocks: see `raw_class`.
    raw_classes: [Cell<u8>; RAW_CLASSES],
    /// The last seats of owners of raw blocks, found without a search.
    raw_seats: [Cell<&'static Cache>; RECENT],
    /// Some caches of the table, which are found without a search.
    recent: [Cell<Option<&'static Cache>>; RECENT],
    /// How often the common cache was refilled so far.
    refills: Cell<u32>,
    /// Owners for which all classes are served, however small they are.
    busy: Cell<u32>,
    /// The value of `entry::ended` when lines were looked through last.
    seen_ended: Cell<usize>,
    /// The index of this record.
    index: AtomicUsize,
    /// The number of its thread. Never the same twice.
    life: Cell<u64>,
    next_made: AtomicPtr<Thread>,
    next_unused: Cell<Option<&'static Thread>>,
}

// SAFETY: the Cells are used by the record's thread, or under the pool's lock.
unsafe impl Sync for Thread {}

static MADE: AtomicPtr<Thread> = AtomicPtr::new(ptr::null_mut());
static POOL: Pool<Thread> = Pool::new();
static CACHES: Slabs<Cache> = Slabs::new();
/// How many threads there were so far.
static LIVES: AtomicU64 = AtomicU64::new(0);

struct Local {
    thread: Cell<Option<&'static Thread>>,
}

thread_local! {
    // It is const and has no destructor, so it is there until the thread is gone, and the
    // fast paths read it without a check.
    static LOCAL: Local = const {
        Local {
            thread: Cell::new(None),
        }
    };
}

/// This thread's record, if it has one.
#[inline]
pub fn known() -> Option<&'static Thread> {
    LOCAL.with(|local| local.thread.get())
}

/// The place at which a cache of this number is kept when it was found.
fn recent_place(number: Number) -> usize {
    number.index() % RECENT
}

/// Makes a cache of this thread for `heap` of `key`.
fn attach(
    thread: &'static Thread,
    heap: &'static Heap,
    key: ExpertKey,
) -> Result<&'static Cache, Error> {
    crate::sync::delay(crate::sync::Window::Attach);
    let cache = CACHES.take().ok_or(Error::OutOfMemory)?;
    cache.open(&thread.home, heap);
    if heap.if_of(key, |lists| lists.add_cache(cache)).is_none() {
        paths::entered(Path::HeapMoved);
        cache.close();
        CACHES.give(cache);
        return Err(Error::InvalidKey);
    }
    let _held = thread.home.presence().hold();
    thread.home.add(cache);
    Ok(cache)
}

/// Makes a record for this thread, which has none. `None` if there is no memory.
pub fn begin() -> Option<&'static Thread> {
    let thread = POOL.take(|thread| {
        // Records are only added, never removed, under the pool's lock.
        let before = MADE.load(Relaxed);
        // SAFETY: null or a record, which is never freed.
        let index = unsafe { before.as_ref() }.map_or(0, |last| last.index.load(Relaxed) + 1);
        thread.index.store(index, Relaxed);
        thread.next_made.store(before, Relaxed);
        // Release: the record (the Acquire in `made`).
        MADE.store(ptr::from_ref(thread).cast_mut(), Ordering::Release);
        thread.home.presence().enrol();
    })?;
    thread.home.presence().arrive();
    thread.life.set(LIVES.fetch_add(1, Relaxed) + 1);
    thread.seen_ended.set(entry::ended());
    LOCAL.with(|local| local.thread.set(Some(thread)));
    Some(thread)
}

/// All records.
pub fn made() -> impl Iterator<Item = &'static Thread> {
    // Acquire: the records (the Release in `begin`).
    // SAFETY: null or a record, which is never freed.
    let first = unsafe { MADE.load(Ordering::Acquire).as_ref() };
    core::iter::successors(first, |thread| {
        // SAFETY: as above.
        unsafe { thread.next_made.load(Relaxed).as_ref() }
    })
}

impl Thread {
    /// The thread's caches.
    pub fn home(&self) -> &Household {
        &self.home
    }

    /// The thread's lines for owners without a cache.
    #[inline]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The thread's scopes.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// The number of the thread. No two threads have the same.
    pub fn life(&self) -> u64 {
        self.life.get()
    }

    /// Whether the thread may have a line of an entry with these threads.
    pub fn is_among(&self, threads: u64) -> bool {
        threads >> (self.index.load(Relaxed) % 64) & 1 != 0
    }

    /// The cache of an owner's number, if there is one here that is in use.
    #[inline]
    pub fn cache_of(&self, number: Number) -> Option<&'static Cache> {
        let recent = self.recent[recent_place(number)].get();
        let cache = match recent.filter(|cache| cache.number() == Some(number)) {
            Some(cache) => cache,
            None => self.search(number)?,
        };
        // A cache that was reclaimed or adopted waits in the inbox.
        (cache.fate() == CacheFate::Alive).then_some(cache)
    }

    /// The cache of this number, from the table.
    #[cold]
    #[inline(never)]
    fn search(&self, number: Number) -> Option<&'static Cache> {
        let cache = *self.table.borrow().get(&(number.into_raw() as usize))?;
        self.recent[recent_place(number)].set(Some(cache));
        Some(cache)
    }

    /// The thread's cache for the host.
    pub fn host_cache(&'static self) -> Option<&'static Cache> {
        if self.host.get().is_none() {
            self.host.set(attach(self, &HOST, HOST_KEY).ok());
        }
        self.host.get()
    }

    /// The thread's common cache, which is made if there is none.
    pub fn common(&'static self) -> Option<&'static Cache> {
        if self.common.get().is_none() {
            self.common.set(attach(self, &COMMON, HOST_KEY).ok());
        }
        self.common.get()
    }

    /// The thread's common cache, if it has one.
    pub fn common_if_any(&self) -> Option<&'static Cache> {
        self.common.get()
    }

    /// A hint: the class of the raw block that was noted last near `address`, which has
    /// spans of one slice.
    #[cfg(feature = "capi")]
    #[inline(always)]
    pub fn raw_class(&self, address: usize) -> usize {
        usize::from(self.raw_classes[(address >> SLICE_SHIFT) % RAW_CLASSES].get())
    }

    /// Notes that there is a raw block of `class`, which has spans of one slice, at
    /// `address`.
    #[inline(always)]
    pub fn note_raw_class(&self, address: usize, class: usize) {
        self.raw_classes[(address >> SLICE_SHIFT) % RAW_CLASSES].set(class as u8);
    }

    /// The thread's desks at which the owner of `number` is seated.
    fn desks_of(&self, number: Number) -> impl Iterator<Item = &'static Cache> + '_ {
        let desks = self.desks.iter().filter_map(Cell::get);
        desks.filter(move |desk| desk.number() == Some(number))
    }
}

/// The thread's own structures, for the walker, while the thread is quiet.
#[cfg(feature = "testing")]
impl Thread {
    pub fn is_pinned(&self) -> bool {
        self.home.presence().pins().are_any()
    }

    pub fn lookup(&self, number: Number) -> Option<&'static Cache> {
        self.table.borrow().get(&(number.into_raw() as usize)).copied()
    }

    pub fn lookups(&self) -> usize {
        self.table.borrow().len()
    }

    pub fn lines(&self) -> usize {
        self.lines.get()
    }
}

/// Calls `f` with every thread record, until it fails.
///
/// # Errors
///
/// Those of `f`.
#[cfg(feature = "testing")]
pub fn for_each<E>(f: impl FnMut(&'static Thread) -> Result<(), E>) -> Result<(), E> {
    made().try_for_each(f)
}

impl Pooled for Thread {
    fn new() -> Self {
        Self {
            home: Household::new(),
            host: Cell::new(None),
            common: Cell::new(None),
            desks: [const { Cell::new(None) }; DESKS],
            ledger: Ledger::new(),
            lines: Cell::new(0),
            scopes: Scopes::new(),
            table: RefCell::new(HashMap::with_hasher_in(IdHasher, TableAllocator)),
            raw_classes: [const { Cell::new(0) }; RAW_CLASSES],
            raw_seats: [const { Cell::new(&EMPTY) }; RECENT],
            recent: [const { Cell::new(None) }; RECENT],
            refills: Cell::new(0),
            busy: Cell::new(0),
            seen_ended: Cell::new(0),
            index: AtomicUsize::new(0),
            life: Cell::new(0),
            next_made: AtomicPtr::new(ptr::null_mut()),
            next_unused: Cell::new(None),
        }
    }
}

impl Linked for Thread {
    fn next_unused(&self) -> &Cell<Option<&'static Self>> {
        &self.next_unused
    }
}
