//! The host engine behind the trait that the expert layer sees.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use super::cache::Fate;
use super::large::Purpose;
use super::record::{HOST, HOST_ACCOUNT, Heap};
use super::size_class::{self, Place};
use super::{blocks, handover, lookup, raw, resize, tables, thread, visit};
use crate::engine::{Engine, HOST_KEY, Kind, Pass, Taken, Usage, Who};
use crate::error::Error;
use crate::key::ExpertKey;
use crate::sync::{AtomicPtr, Ordering};

/// The process-wide engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostEngine;

/// What the engine keeps for an expert: its heaps, opened on first use.
#[derive(Debug)]
pub struct HostOwner {
    heaps: [AtomicPtr<Heap>; 3],
}

impl HostOwner {
    const fn new() -> Self {
        Self { heaps: [const { AtomicPtr::new(ptr::null_mut()) }; 3] }
    }

    fn heap(&self, kind: Kind) -> Option<&'static Heap> {
        // Acquire: the record's fields (the Release in `heap_or_open`).
        // SAFETY: null or a record, which is never freed.
        unsafe { self.heaps[kind as usize].load(Ordering::Acquire).as_ref() }
    }

    /// Takes the heap away, to be closed.
    fn take(&self, kind: Kind) -> Option<&'static Heap> {
        // Most kinds are never opened, and a look is cheaper than an exchange.
        self.heap(kind)?;
        // Acquire: as in `heap`.
        // SAFETY: as in `heap`.
        unsafe { self.heaps[kind as usize].swap(ptr::null_mut(), Ordering::Acquire).as_ref() }
    }
}

static HOST_OWNER: HostOwner = HostOwner {
    heaps: [
        AtomicPtr::new((&raw const HOST).cast_mut()),
        AtomicPtr::new(ptr::null_mut()),
        AtomicPtr::new(ptr::null_mut()),
    ],
};

/// The heap of `kind` of `who`, opened if need be.
fn heap_or_open(who: Who<'_, HostOwner>, kind: Kind) -> Result<&'static Heap, Error> {
    if let Some(heap) = who.owner.heap(kind) {
        return Ok(heap);
    }
    let opened = Heap::open(who, kind).ok_or(Error::OutOfMemory)?;
    let place = &who.owner.heaps[kind as usize];
    let new = ptr::from_ref(opened).cast_mut();
    // Release: the record's fields; Acquire: those of another thread's.
    match place.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(opened),
        Err(_) => {
            opened.close();
            who.owner.heap(kind).ok_or(Error::OutOfMemory)
        }
    }
}

/// What was current in a thread before a scope.
#[derive(Clone, Copy)]
pub struct Entered {
    cache: &'static super::cache::Cache,
    id: usize,
}

/// Makes `who` the owner of what this thread allocates through the global
/// allocator. Where there is no memory for a cache, the owner stays as it was.
pub fn enter(who: Who<'_, HostOwner>) -> Entered {
    let cache = thread::current();
    // Before anything else: the first entry tends, and that may end the cache.
    let before = Entered { cache, id: cache.id() };
    let found = thread::find(who.key, Kind::Ambient);
    if let Some(cache) = found.or_else(|| first_entry(who)) {
        thread::set_current(cache);
    }
    before
}

#[cold]
fn first_entry(who: Who<'_, HostOwner>) -> Option<&'static super::cache::Cache> {
    thread::tend();
    // Tending may have made the host's.
    let found = thread::find(who.key, Kind::Ambient);
    found.or_else(|| thread::attach(heap_or_open(who, Kind::Ambient).ok()?, who.key).ok())
}

/// Makes current what was so before; the host where that has ended meanwhile.
pub fn leave(before: Entered) {
    // Records are never freed: a cache that was given up has another id.
    // One that was reclaimed may still wait in the inbox.
    let is_still =
        before.id == 0 || before.cache.fate() != Fate::Dead && thread::owns(before.cache);
    let is_still = is_still && before.cache.id() == before.id;
    thread::set_current(if is_still { before.cache } else { &super::cache::EMPTY });
}

/// The expert that owns what this thread allocates through the global
/// allocator; `None` for the host.
pub fn current_key() -> Option<ExpertKey> {
    let cache = thread::current();
    // What has ended waits in the inbox; its blocks are the host's.
    let alive = ExpertKey::from_raw(cache.id()).filter(|_| cache.fate() == Fate::Alive)?;
    // An id is the key with the kind's bits changed; once more, and it is the key.
    ExpertKey::from_raw(thread::id(alive, Kind::Ambient)).filter(|&key| key != HOST_KEY)
}

impl Engine for HostEngine {
    type Owner = HostOwner;

    const NEW: HostOwner = HostOwner::new();

    fn host<'a>(self) -> Who<'a, HostOwner> {
        Who { key: HOST_KEY, account: &HOST_ACCOUNT, owner: &HOST_OWNER, overdraft: true }
    }

    fn table(self, layout: Layout) -> Option<NonNull<u8>> {
        tables::allocate_zeroed(layout)
    }

    #[inline(always)]
    fn allocate_at_once(self, pass: Pass, layout: Layout) -> Option<NonNull<u8>> {
        let place = size_class::looked_up(layout)?;
        let cache = thread::passed(pass)?;
        cache.pop(place).or_else(|| reuse(cache, place))
    }

    #[inline]
    fn allocate(
        self,
        who: Who<'_, HostOwner>,
        kind: Kind,
        layout: Layout,
        zeroed: bool,
    ) -> Result<NonNull<u8>, Error> {
        let remembered = if kind == Kind::Bound { thread::remembered(who.key) } else { None };
        match (size_class::looked_up(layout), remembered) {
            (Some(place), Some(cache)) => blocks::allocate_from(cache, place, layout, zeroed),
            _ => allocate_slow(who, kind, layout, zeroed),
        }
    }

    #[inline]
    unsafe fn deallocate(self, block: NonNull<u8>, layout: Layout) {
        if layout.size() != 0 {
            // SAFETY: S1 of the trait is S1 and S2 of `dealloc`.
            unsafe { blocks::dealloc(block.as_ptr(), layout) };
        }
    }

    unsafe fn reallocate(
        self,
        who: Who<'_, HostOwner>,
        kind: Kind,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        zeroed: bool,
    ) -> Result<NonNull<u8>, Error> {
        if old.size() == 0 || new.size() == 0 {
            let fresh = self.allocate(who, kind, new, zeroed)?;
            // SAFETY: S1 of the trait.
            unsafe { self.deallocate(block, old) };
            return Ok(fresh);
        }
        // SAFETY: S1 of the trait; the block's owner is `who` (S2).
        unsafe { resize::resize(block, old, new, zeroed) }
    }

    fn owner_of(self, address: *const u8) -> Option<ExpertKey> {
        lookup::owner_of(address)
    }

    fn raw_allocate(self, who: Who<'_, HostOwner>, size: usize) -> Result<NonNull<u8>, Error> {
        raw::allocate(heap_or_open(who, Kind::Raw)?, size)
    }

    fn raw_size(self, key: ExpertKey, address: *const u8) -> Result<usize, Error> {
        raw::size(key, address)
    }

    fn raw_free(self, key: ExpertKey, address: *mut u8) -> Result<(), Error> {
        raw::free(key, address)
    }

    fn raw_reallocate(
        self,
        who: Who<'_, HostOwner>,
        address: *mut u8,
        size: usize,
    ) -> Result<NonNull<u8>, Error> {
        raw::reallocate(who.key, address, size)
    }

    fn raw_transfer(
        self,
        from: Who<'_, HostOwner>,
        address: *mut u8,
        to: Who<'_, HostOwner>,
    ) -> Result<NonNull<u8>, Error> {
        raw::transfer(from.key, address, heap_or_open(to, Kind::Raw)?)
    }

    fn drain(self, key: ExpertKey) {
        visit::drain(key);
    }

    fn usage(self, who: Who<'_, HostOwner>) -> Usage {
        Kind::ALL.iter().filter_map(|&kind| who.owner.heap(kind)).map(handover::usage).fold(
            Usage::default(),
            |sum, usage| Usage {
                live_blocks: sum.live_blocks + usage.live_blocks,
                live_bytes: sum.live_bytes + usage.live_bytes,
                allocations: sum.allocations + usage.allocations,
                frees: sum.frees + usage.frees,
            },
        )
    }

    unsafe fn reclaim(self, who: Who<'_, HostOwner>, kind: Kind) -> Taken {
        let Some(heap) = who.owner.heap(kind) else { return Taken::default() };
        // SAFETY: S1 and S2 of the trait.
        unsafe { handover::reclaim(heap) }
    }

    fn adopt(self, from: Who<'_, HostOwner>, to: Who<'_, HostOwner>) -> Taken {
        match (from.owner.heap(Kind::Ambient), to.owner.heap(Kind::Ambient)) {
            (Some(old), Some(new)) if !ptr::eq(old, new) => handover::adopt(old, new),
            _ => Taken::default(),
        }
    }

    fn close(self, who: Who<'_, HostOwner>) {
        thread::tend();
        for kind in Kind::ALL {
            if let Some(heap) = who.owner.take(kind) {
                heap.close();
            }
        }
    }
}

/// The most frequent of the slow paths, apart, so that it stays short.
#[cold]
#[inline(never)]
fn reuse(cache: &'static super::cache::Cache, place: Place) -> Option<NonNull<u8>> {
    cache.reuse_current(place.class())
}

#[cold]
#[inline(never)]
fn allocate_slow(
    who: Who<'_, HostOwner>,
    kind: Kind,
    layout: Layout,
    zeroed: bool,
) -> Result<NonNull<u8>, Error> {
    if layout.size() == 0 {
        return Ok(blocks::dangling(layout));
    }
    thread::tend();
    let Some(class) = blocks::class_of(layout) else {
        let heap = heap_or_open(who, kind)?;
        return blocks::allocate_large(heap, who.key, layout, zeroed, Purpose::New);
    };
    match thread::find(who.key, kind) {
        Some(cache) => blocks::allocate_from(cache, Place::of_class(class), layout, zeroed),
        None => {
            let heap = heap_or_open(who, kind)?;
            blocks::allocate_first(heap, who.key, class, layout, zeroed)
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::account::Account;

    #[test]
    fn the_id_of_a_dead_cache_may_come_again() {
        static ACCOUNTS: [Account; 2] = [const { Account::new() }; 2];
        static OWNERS: [HostOwner; 2] = [const { HostOwner::new() }; 2];
        let who = |place: usize, key| Who {
            key,
            account: &ACCOUNTS[place],
            owner: &OWNERS[place],
            overdraft: false,
        };
        let first = ExpertKey::new(77, 1).unwrap();
        let second = ExpertKey::from_raw(thread::id(first, Kind::Raw)).unwrap();
        assert_eq!(thread::id(second, Kind::Bound), thread::id(first, Kind::Raw));
        let (old, new) = (who(0, first), who(1, second));
        let layout = Layout::new::<[u64; 8]>();
        HostEngine.allocate(old, Kind::Raw, layout, false).unwrap();
        // Another thread ends the first: this one's inbox stays shut.
        let end = || {
            // SAFETY: S1, S2: nothing uses the block, and nobody else the owner.
            unsafe { HostEngine.reclaim(old, Kind::Raw) };
            HostEngine.close(old);
        };
        std::thread::scope(|scope| scope.spawn(end).join().unwrap());
        let block = HostEngine.allocate(new, Kind::Bound, layout, false).unwrap();
        assert_eq!(HostEngine.owner_of(block.as_ptr()), Some(second));
        // SAFETY: S1, S2: as above.
        unsafe { HostEngine.reclaim(new, Kind::Bound) };
        HostEngine.close(new);
        assert_eq!((ACCOUNTS[0].charged(), ACCOUNTS[1].charged()), (0, 0));
    }
}
