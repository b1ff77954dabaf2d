//! The fixed engine: the requests behind a lock, as [`Engine`] wants them.
//!
//! - E1 a block is read and written under the lock only, but for its payload,
//!   which is its owner's from the moment a call returns it.
//! - E2 nothing is called back, and nothing large copied or filled, while the
//!   lock is held; the exception is a block that has to move although the
//!   quota has no room for two of it.
//! - E3 a raw block is a bound one while a call fills or moves it, so that a
//!   pointer that is freed at the wrong time finds no raw block there.

use core::alloc::Layout;
use core::ptr::NonNull;

use lock_api::{Mutex, MutexGuard, RawMutex};

use super::block::Block;
use super::header::{GRANULE, HEADER, Tag, block_size};
use super::owner::{Directory, Owner};
use super::requests::{Request, key_of};
use super::store::{Mark, Store};
use crate::account::Account;
use crate::engine::{Engine, HOST_KEY, Kind, Taken, Usage, Who};
use crate::error::Error;
use crate::key::ExpertKey;
use crate::sync::AtomicUsize;
use crate::sync::Ordering::{Release, SeqCst};

/// What raw blocks are aligned to, in bytes.
const RAW_ALIGN: usize = 16;

/// A heap in memory that it is given, in bounded time, behind the lock `R`,
/// for the host and for those in the directory `D`.
pub struct FixedEngine<R, D> {
    store: Mutex<R, Store>,
    account: Account,
    owner: Owner,
    /// How many pins there are.
    pins: AtomicUsize,
    directory: D,
}

impl<R: RawMutex, D: Directory> FixedEngine<R, D> {
    /// A heap without memory: every request is refused.
    #[must_use]
    pub const fn empty(directory: D) -> Self {
        Self {
            store: Mutex::const_new(R::INIT, Store::new()),
            account: Account::new(),
            owner: Owner::new(),
            pins: AtomicUsize::new(0),
            directory,
        }
    }

    /// Who has which slot.
    #[inline]
    pub fn directory(&self) -> &D {
        &self.directory
    }

    /// Makes `Engine::drain` wait until the result is dropped.
    pub fn pin(&self) -> Pin<'_> {
        // SeqCst: either `drain` sees the pin, or what is read from here on is
        // from after what was written before `drain`.
        self.pins.fetch_add(1, SeqCst);
        Pin(&self.pins)
    }

    /// Gives the heap `len` bytes from `start`. Any number of regions may be
    /// added, at any time, in any order. Returns how many bytes blocks can
    /// use, headers included; 0 where the region is too small for one.
    ///
    /// # Safety
    ///
    /// - S1 the region is memory that may be read and written, and is used by
    ///   nothing else from now on and for as long as the heap is in use.
    pub unsafe fn add_region(&self, start: *mut u8, len: usize) -> usize {
        let Some(start) = NonNull::new(start) else { return 0 };
        // SAFETY: S1.
        unsafe { self.lock().add_region(start, len) }
    }

    /// The blocks, while nobody else has them.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, R, Store> {
        self.store.lock()
    }

    /// The host, as an owner.
    #[inline]
    pub(super) fn who(&self) -> Who<'_, Owner> {
        Who { key: HOST_KEY, account: &self.account, owner: &self.owner, overdraft: true }
    }

    /// Allocates a block, if that is as simple as it mostly is.
    #[inline(always)]
    fn obtain_fast(
        &self,
        who: Who<'_, Owner>,
        kind: Kind,
        asked: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        let mut store = self.lock();
        let block = store.allocate_fast(who, kind, asked, align)?;
        Some(block.payload())
    }

    /// Allocates a block.
    #[inline(never)]
    fn obtain(&self, request: Request<'_>) -> Result<NonNull<u8>, Error> {
        let done = self.lock().allocate_slow(request);
        self.counted(request, done)
    }

    /// Frees a live block.
    #[inline(never)]
    fn free(&self, address: NonNull<u8>) {
        let mut store = self.lock();
        // SAFETY: the callers pass the payload of a block of this heap, and
        // hold its lock.
        let block = unsafe { Block::of_payload(address.addr().get()) };
        // A block that is not live was freed before: leave it.
        if !block.is_free() {
            store.free(self.who(), &self.directory, block);
        }
    }

    /// Resizes a live block; see [`Engine::reallocate`]. Neither size is 0.
    fn resize(
        &self,
        request: Request<'_>,
        from: NonNull<u8>,
        kept: usize,
    ) -> Result<NonNull<u8>, Error> {
        let mut store = self.lock();
        // SAFETY: as in `free`.
        let block = unsafe { Block::of_payload(from.addr().get()) };
        if let Some(done) = store.resize_for(request, block) {
            return self.counted(request, done);
        }
        drop(store);
        let to = if request.who.key == HOST_KEY && request.kind == Kind::Ambient {
            NonNull::new(self.allocate_for_host(request.asked, request.align))
        } else {
            self.lock().allocate_slow(request).ok().map(Block::payload)
        };
        let Some(to) = to else {
            return self.counted(request, self.lock().relocate(request, block, kept));
        };
        // SAFETY: both blocks are the caller's, live, and at least this long.
        unsafe { from.copy_to_nonoverlapping(to, kept) };
        self.free(from);
        Ok(to)
    }

    /// Counts a request that was refused for want of quota.
    fn counted(
        &self,
        request: Request<'_>,
        done: Result<Block, Error>,
    ) -> Result<NonNull<u8>, Error> {
        if done == Err(Error::QuotaExceeded) {
            request.who.account.count_refusal();
        }
        done.map(Block::payload)
    }

    /// Makes a bound block of `asked` bytes a raw one (E3).
    fn publish(&self, payload: NonNull<u8>, asked: usize) {
        let mut store = self.lock();
        // SAFETY: as in `free`.
        let block = unsafe { Block::of_payload(payload.addr().get()) };
        store.set_kind(block, Kind::Raw, asked);
    }

    /// Makes a raw block a bound one (E3); its payload and the size asked for.
    fn withdraw(&self, key: ExpertKey, address: usize) -> Result<(NonNull<u8>, usize), Error> {
        let mut store = self.lock();
        let block = store.raw(&self.directory, key, address)?;
        let asked = asked_for(block);
        store.set_kind(block, Kind::Bound, asked);
        Ok((block.payload(), asked))
    }
}

/// Someone who reaches an expert by its key alone: see
/// [`pin`](FixedEngine::pin).
pub struct Pin<'h>(&'h AtomicUsize);

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        // Release: `drain` sees all that was done under the pin.
        self.0.fetch_sub(1, Release);
    }
}

/// The size that a raw block was asked for with.
fn asked_for(block: Block) -> usize {
    block.size() - HEADER - block.label().slack()
}

/// Fills `new - old` bytes behind the first `old` with 0.
///
/// # Safety
///
/// - S1 `start` may be written for `new` bytes.
unsafe fn fill_with_zeros(start: NonNull<u8>, old: usize, new: usize) {
    if let Some(more) = new.checked_sub(old) {
        // SAFETY: S1, `old <= new`.
        let tail = unsafe { start.add(old) };
        // SAFETY: S1.
        unsafe { tail.write_bytes(0, more) };
    }
}

/// An address of nothing, that [`Engine::deallocate`] is told to ignore.
fn dangling(align: usize) -> NonNull<u8> {
    NonNull::new(core::ptr::without_provenance_mut(align)).unwrap_or(NonNull::dangling())
}

impl<R: RawMutex, D: Directory> FixedEngine<R, D> {
    /// Allocates an ambient block for the host; null where there is no memory.
    #[inline(never)]
    pub fn allocate_for_host(&self, asked: usize, align: usize) -> *mut u8 {
        match self.obtain_fast(self.who(), Kind::Ambient, asked, align) {
            Some(payload) => payload.as_ptr(),
            None => self.allocate_for_host_slow(asked, align),
        }
    }

    #[inline(never)]
    fn allocate_for_host_slow(&self, asked: usize, align: usize) -> *mut u8 {
        let request = Request { who: self.who(), kind: Kind::Ambient, asked, align };
        self.obtain(request).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }
}

impl<R: RawMutex + Send + Sync, D: Directory> Engine for &FixedEngine<R, D> {
    type Owner = Owner;

    const NEW: Owner = Owner::new();

    fn host<'a>(self) -> Who<'a, Owner>
    where
        Self: 'a,
    {
        self.who()
    }

    fn table(self, layout: Layout) -> Option<NonNull<u8>> {
        let asked = layout.size();
        let mut store = self.lock();
        let fit = store.find(block_size(asked)?, layout.align())?;
        let mark = Mark { tag: Tag::ENGINE, kind: Kind::Bound };
        let table = store.take_slow(fit, mark).payload();
        drop(store);
        // SAFETY: a new block of at least this size.
        unsafe { fill_with_zeros(table, 0, asked) };
        Some(table)
    }

    #[inline]
    fn allocate(
        self,
        who: Who<'_, Owner>,
        kind: Kind,
        layout: Layout,
        zeroed: bool,
    ) -> Result<NonNull<u8>, Error> {
        let (asked, align) = (layout.size(), layout.align());
        if asked == 0 {
            return Ok(dangling(align));
        }
        let payload = match self.obtain_fast(who, kind, asked, align) {
            Some(payload) => payload,
            None => self.obtain(Request { who, kind, asked, align })?,
        };
        if zeroed {
            // SAFETY: a new block of at least this size.
            unsafe { fill_with_zeros(payload, 0, asked) };
        }
        Ok(payload)
    }

    #[inline]
    unsafe fn deallocate(self, block: NonNull<u8>, layout: Layout) {
        if layout.size() != 0 {
            self.free(block);
        }
    }

    unsafe fn reallocate(
        self,
        who: Who<'_, Owner>,
        kind: Kind,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        zeroed: bool,
    ) -> Result<NonNull<u8>, Error> {
        let (asked, align) = (new.size(), new.align());
        if old.size() == 0 {
            return self.allocate(who, kind, new, zeroed);
        }
        if asked == 0 {
            self.free(block);
            return Ok(dangling(align));
        }
        let kept = old.size().min(asked);
        let resized = self.resize(Request { who, kind, asked, align }, block, kept)?;
        if zeroed {
            // SAFETY: the block is the caller's, and now of `asked` bytes.
            unsafe { fill_with_zeros(resized, old.size(), asked) };
        }
        Ok(resized)
    }

    fn owner_of(self, address: *const u8) -> Option<ExpertKey> {
        let store = self.lock();
        key_of(&self.directory, store.around(address.addr())?)
    }

    fn raw_allocate(self, who: Who<'_, Owner>, size: usize) -> Result<NonNull<u8>, Error> {
        let request = Request { who, kind: Kind::Bound, asked: size, align: RAW_ALIGN };
        let payload = self.obtain(request)?;
        // SAFETY: a new block of at least this size.
        unsafe { fill_with_zeros(payload, 0, size) };
        self.publish(payload, size);
        Ok(payload)
    }

    fn raw_size(self, key: ExpertKey, address: *const u8) -> Result<usize, Error> {
        self.lock().raw(&self.directory, key, address.addr()).map(asked_for)
    }

    fn raw_free(self, key: ExpertKey, address: *mut u8) -> Result<(), Error> {
        let mut store = self.lock();
        let block = store.raw(&self.directory, key, address.addr())?;
        store.free(self.who(), &self.directory, block);
        Ok(())
    }

    fn raw_reallocate(
        self,
        who: Who<'_, Owner>,
        address: *mut u8,
        size: usize,
    ) -> Result<NonNull<u8>, Error> {
        let (block, old) = self.withdraw(who.key, address.addr())?;
        let request = Request { who, kind: Kind::Bound, asked: size, align: RAW_ALIGN };
        let resized = self.resize(request, block, old.min(size));
        match resized {
            Ok(resized) => {
                // SAFETY: E3, the block is this call's, and now of `size` bytes.
                unsafe { fill_with_zeros(resized, old, size) };
                self.publish(resized, size);
            }
            Err(_) => self.publish(block, old),
        }
        resized
    }

    fn raw_transfer(
        self,
        from: Who<'_, Owner>,
        address: *mut u8,
        to: Who<'_, Owner>,
    ) -> Result<NonNull<u8>, Error> {
        let mut store = self.lock();
        let block = store.raw(&self.directory, from.key, address.addr())?;
        store.transfer(block, from, to)?;
        Ok(block.payload())
    }

    /// Waits for the pins of all keys: there are few, and they are short.
    fn drain(self, _: ExpertKey) {
        while self.pins.load(SeqCst) != 0 {
            core::hint::spin_loop();
        }
    }

    fn usage(self, who: Who<'_, Owner>) -> Usage {
        let _store = self.lock();
        who.owner.usage()
    }

    unsafe fn reclaim(self, who: Who<'_, Owner>, kind: Kind) -> Taken {
        self.lock().reclaim_for(who, kind)
    }

    fn adopt(self, from: Who<'_, Owner>, to: Who<'_, Owner>) -> Taken {
        self.lock().adopt(from, to)
    }

    fn close(self, who: Who<'_, Owner>) {
        let _store = self.lock();
        who.owner.reset();
    }
}

const _: () = {
    assert!(RAW_ALIGN >= GRANULE);
};
