//! Threads: which caches each has, and which is current.
//!
//! The fast paths read two thread-local words, the token and the current
//! cache; both have values that lead to the slow path until the thread is
//! known. Thread records live in the tables and are recycled, never freed.
//!
//! Invariants
//!
//! - T1 a token tells a living thread from all others; when the thread has
//!   ended, no span and no cache has it any more.
//! - T2 a thread's list of caches and its hash table hold the same caches, the
//!   empty one excepted; what is in `recent` is in the table, at its place.
//! - T3 while the thread has pins, P1 and P2 hold (see `pins.rs`).

use core::cell::{Cell, RefCell};
use core::ptr;

use hashbrown::HashMap;

use super::cache::{Cache, EMPTY, Fate};
use super::id_hash::IdHasher;
use super::idle::IdleSlices;
use super::paths::{self, Path};
use super::pins::Pins;
use super::record::{HOST, Heap};
use super::tables::{Pool, Pooled, TableAllocator};
pub use super::tls::{current, set_current, token};
use super::tls::{found, set_found};
use super::{exit, fork};
use crate::engine::{HOST_KEY, Kind, Pass};
use crate::error::Error;
use crate::key::ExpertKey;
use crate::sync::{AtomicPtr, Ordering, Ordering::Relaxed};

type Table = HashMap<usize, &'static Cache, IdHasher, TableAllocator>;

/// How many caches a thread finds without a search.
const RECENT: usize = 64;

/// A thread's record. The `Cell`s belong to the thread.
pub struct Thread {
    caches: Cell<Option<&'static Cache>>,
    table: RefCell<Table>,
    /// Some of what is in the table, found without a search.
    recent: [Cell<Option<&'static Cache>>; RECENT],
    /// Caches that were reclaimed or adopted behind the thread's back.
    inbox: AtomicPtr<Cache>,
    pins: Pins,
    idle: IdleSlices,
    next_made: AtomicPtr<Thread>,
    next_unused: Cell<Option<&'static Thread>>,
}

// SAFETY: the Cells are used by the record's thread, or under the pool's lock.
unsafe impl Sync for Thread {}

static MADE: AtomicPtr<Thread> = AtomicPtr::new(ptr::null_mut());
static POOL: Pool<Thread> = Pool::new();
static CACHES: Pool<Cache> = Pool::new();
struct Local {
    thread: Cell<Option<&'static Thread>>,
}

thread_local! {
    // Const and without a destructor: the fast paths read it without asking
    // whether it is there, and it is there until the thread is gone.
    static LOCAL: Local = const {
        Local {
            thread: Cell::new(None),
        }
    };
}

/// This thread's record, if it has one.
pub fn known() -> Option<&'static Thread> {
    LOCAL.with(|local| local.thread.get())
}

/// Whether `cache` is one of this thread's.
pub fn owns(cache: &Cache) -> bool {
    let mine = known();
    mine.is_some_and(|mine| cache.thread().is_some_and(|thread| ptr::eq(thread, mine)))
}

/// What a cache is looked up by: the owner and the kind.
#[inline(always)]
pub fn id(key: ExpertKey, kind: Kind) -> usize {
    // Keys are unique, and those of the living differ in their slots; the kind
    // is in the topmost bits, which are the generation's. So no two living
    // caches share an id, and a dead one that does is told by its fate. Bound
    // blocks, which are in the greatest hurry, have the key itself.
    key.into_raw() ^ (kind as usize ^ Kind::Bound as usize) << (usize::BITS - 2)
}

/// This thread's cache for the bound blocks of the expert of `pass`, if it was
/// the last one found and the expert may be given memory.
#[inline(always)]
pub fn passed(pass: Pass) -> Option<&'static Cache> {
    let cache = found();
    // A word that is no valid key is no cache's id, but for the empty cache's,
    // which has no blocks.
    (cache.id() == pass.word()).then_some(cache)
}

/// This thread's cache for the bound blocks of `key`, if it was the last one
/// found.
#[inline(always)]
pub fn remembered(key: ExpertKey) -> Option<&'static Cache> {
    let cache = found();
    // What was found last is for bound blocks, and its id the whole key: no
    // other expert ever has it. Nor has the empty cache a key.
    (cache.id() == key.into_raw()).then_some(cache)
}

/// This thread's cache for `key`, if it has one. Remembers it.
#[inline]
pub fn find(key: ExpertKey, kind: Kind) -> Option<&'static Cache> {
    let thread = known()?;
    let id = id(key, kind);
    let recent = thread.recent[recent_place(id)].get();
    let cache = match recent.filter(|cache| cache.id() == id) {
        Some(cache) => cache,
        None => thread.search(id)?,
    };
    // A cache that was reclaimed or adopted waits in the inbox.
    (cache.fate() == Fate::Alive).then(|| remember(kind, cache))
}

/// Where a cache of this id is kept when it was found: neighbouring slots in
/// neighbouring places, the kinds of one expert apart.
fn recent_place(id: usize) -> usize {
    (id ^ id >> (usize::BITS - 5)) % RECENT
}

/// Remembers a cache for the next call by a handle; ambient ones are current
/// instead.
fn remember(kind: Kind, cache: &'static Cache) -> &'static Cache {
    if kind == Kind::Bound {
        set_found(cache);
    }
    cache
}

/// Makes this thread's cache for `heap` of `key`, which it has none for.
///
/// # Errors
///
/// [`Error::OutOfMemory`]; [`Error::InvalidKey`] where the heap is not that of
/// `key` any more.
pub fn attach(heap: &'static Heap, key: ExpertKey) -> Result<&'static Cache, Error> {
    let thread = this().ok_or(Error::OutOfMemory)?;
    let id = id(key, heap.kind());
    thread.table.borrow_mut().try_reserve(1).map_err(|_| Error::OutOfMemory)?;
    let cache = CACHES.take(|_| ()).ok_or(Error::OutOfMemory)?;
    cache.open(id, thread, heap);
    let is_open = heap.with(|lists| {
        let is_open = heap.is_of(key);
        if is_open {
            lists.add_cache(cache);
        }
        is_open
    });
    if !is_open {
        paths::entered(Path::HeapMoved);
        cache.close();
        CACHES.give(cache);
        return Err(Error::InvalidKey);
    }
    thread.table.borrow_mut().insert(id, cache);
    thread.add(cache);
    remember(heap.kind(), cache);
    Ok(cache)
}

/// This thread's cache for what belongs to the host.
pub fn host_cache() -> Option<&'static Cache> {
    find(HOST_KEY, Kind::Ambient).or_else(|| attach(&HOST, HOST_KEY).ok())
}

/// This thread's record, made and set up for the thread's end if need be.
pub fn this() -> Option<&'static Thread> {
    if let Some(thread) = known() {
        return Some(thread);
    }
    let thread = POOL.take(|thread| {
        // Records are only ever added, under the pool's lock.
        thread.next_made.store(MADE.load(Relaxed), Relaxed);
        // Release: the record (the Acquire in `made`).
        MADE.store(ptr::from_ref(thread).cast_mut(), Ordering::Release);
    })?;
    LOCAL.with(|local| local.thread.set(Some(thread)));
    fork::prepare();
    exit::call_at_thread_end();
    Some(thread)
}

/// All records ever made.
pub fn made() -> impl Iterator<Item = &'static Thread> {
    // Acquire: the records (the Release in `this`).
    // SAFETY: null or a record, which is never freed.
    let first = unsafe { MADE.load(Ordering::Acquire).as_ref() };
    core::iter::successors(first, |thread| {
        // SAFETY: as above.
        unsafe { thread.next_made.load(Relaxed).as_ref() }
    })
}

/// Tells the thread of `cache` that the cache is not its own any more. Under
/// the lock of the cache's heap.
pub fn notify(cache: &'static Cache) {
    if let Some(thread) = cache.thread() {
        thread.send(cache);
    }
}

/// Drops a cache of this thread whose heap was reclaimed.
pub fn drop_dead(cache: &'static Cache) {
    if let Some(thread) = known() {
        paths::entered(Path::CacheDropped);
        thread.drop_cache(cache);
    }
}

/// Sees to what others did to this thread's caches.
#[inline]
pub fn tend() {
    if let Some(thread) = known() {
        // Relaxed: a hint; `open_inbox` orders.
        if !thread.inbox.load(Relaxed).is_null() {
            thread.open_inbox();
        }
    }
}

/// Hands over all that this thread has, and forgets the thread.
pub fn end() {
    let Some(thread) = known() else { return };
    set_current(&EMPTY);
    loop {
        thread.open_inbox();
        let mut cache = thread.caches.get();
        if cache.is_none() {
            break;
        }
        while let Some(this) = cache {
            cache = this.thread_next.get();
            if super::handover::abandon(this) {
                thread.drop_cache(this);
            }
        }
    }
    LOCAL.with(|local| local.thread.set(None));
    POOL.give(thread);
}

impl Thread {
    /// The thread's caches.
    pub fn caches(&self) -> impl Iterator<Item = &'static Cache> + use<> {
        core::iter::successors(self.caches.get(), |cache| cache.thread_next.get())
    }

    /// What the thread has pinned.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// What the thread keeps although no block of it is in use.
    pub fn idle(&self) -> &IdleSlices {
        &self.idle
    }

    /// The cache with this id, from the table.
    #[cold]
    #[inline(never)]
    fn search(&self, id: usize) -> Option<&'static Cache> {
        let cache = *self.table.borrow().get(&id)?;
        self.recent[recent_place(id)].set(Some(cache));
        Some(cache)
    }

    fn send(&self, cache: &'static Cache) {
        let mut first = self.inbox.load(Relaxed);
        loop {
            // SAFETY: null or a cache, which is never freed.
            cache.inbox_next.set(unsafe { first.as_ref() });
            let sent = ptr::from_ref(cache).cast_mut();
            // Release: the link and the cache's fate (the Acquire in `open_inbox`).
            match self.inbox.compare_exchange_weak(first, sent, Ordering::Release, Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    #[cold]
    fn open_inbox(&'static self) {
        // Acquire: what was sent (the Release in `send`).
        // SAFETY: null or a cache, which is never freed.
        let mut next = unsafe { self.inbox.swap(ptr::null_mut(), Ordering::Acquire).as_ref() };
        while let Some(cache) = next {
            next = cache.inbox_next.get();
            if cache.fate() == Fate::Adopted {
                super::handover::merge(cache);
            } else {
                paths::entered(Path::CacheDropped);
            }
            self.drop_cache(cache);
        }
    }

    fn add(&self, cache: &'static Cache) {
        let first = self.caches.replace(Some(cache));
        cache.thread_prev.set(None);
        cache.thread_next.set(first);
        if let Some(first) = first {
            first.thread_prev.set(Some(cache));
        }
    }

    fn remove(&self, cache: &'static Cache) {
        let (prev, next) = (cache.thread_prev.take(), cache.thread_next.take());
        match prev {
            Some(prev) => prev.thread_next.set(next),
            None => self.caches.set(next),
        }
        if let Some(next) = next {
            next.thread_prev.set(prev);
        }
    }

    /// Forgets a cache that has no spans any more.
    fn drop_cache(&self, cache: &'static Cache) {
        self.table.borrow_mut().remove(&cache.id());
        self.recent[recent_place(cache.id())].set(None);
        self.remove(cache);
        if ptr::eq(current(), cache) {
            set_current(&EMPTY);
        }
        if ptr::eq(found(), cache) {
            set_found(&EMPTY);
        }
        // Of a dead cache nothing is kept: its spans are gone.
        self.idle.remove(cache.idle_slices());
        cache.close();
        CACHES.give(cache);
    }
}

/// For the walker: the thread's own structures, while it is quiet.
#[cfg(feature = "testing")]
impl Thread {
    pub fn is_pinned(&self) -> bool {
        self.pins.are_any()
    }

    pub fn lookup(&self, id: usize) -> Option<&'static Cache> {
        self.table.borrow().get(&id).copied()
    }

    pub fn lookups(&self) -> usize {
        self.table.borrow().len()
    }
}

/// Calls `f` with every thread record ever made, until it fails.
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
            caches: Cell::new(None),
            table: RefCell::new(HashMap::with_hasher_in(IdHasher, TableAllocator)),
            recent: [const { Cell::new(None) }; RECENT],
            inbox: AtomicPtr::new(ptr::null_mut()),
            pins: Pins::new(),
            idle: IdleSlices::new(),
            next_made: AtomicPtr::new(ptr::null_mut()),
            next_unused: Cell::new(None),
        }
    }

    fn next_unused(&self) -> &Cell<Option<&'static Self>> {
        &self.next_unused
    }
}

/// The caches of this thread.
pub fn caches() -> impl Iterator<Item = &'static Cache> {
    known().into_iter().flat_map(Thread::caches)
}

/// Gives back what is empty in this thread's caches.
pub fn end_empty_spans() {
    tend();
    caches().for_each(Cache::purge);
}

/// Keeps pools and records as they are: for `fork`.
#[cfg(unix)]
pub fn lock_forever() {
    POOL.lock_forever();
    CACHES.lock_forever();
}

/// Undoes [`lock_forever`].
///
/// # Safety
///
/// - S1 as for `tables::unlock`.
#[cfg(unix)]
pub unsafe fn unlock() {
    // SAFETY: S1.
    unsafe { CACHES.unlock() };
    // SAFETY: S1.
    unsafe { POOL.unlock() };
}
