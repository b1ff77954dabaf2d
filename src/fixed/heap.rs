//! The heap behind its lock: each function here takes the lock once, or says
//! why it takes it again.
//!
//! - LOCKED1 a block is read and written under the lock only, except for its payload,
//!   which is its owner's from the moment a call returns it.
//! - LOCKED2 while the lock is held, the heap calls nobody back, fills nothing, and
//!   copies no more than [`COPIED_LOCKED`] bytes. The exception is a block that must
//!   move although there is no room for a copy of it.
//! - LOCKED3 a raw block is marked as a bound one while a call fills or moves it, so
//!   that a free by a stale pointer finds no raw block there.

use core::ptr::NonNull;

use lock_api::{Mutex, MutexGuard, RawMutex};

use super::block::Block;
use super::owner::{Directory, Owner};
use super::region::Regions;
use super::requests::{Request, Way};
use super::store::Store;
use crate::account::Account;
use crate::engine::{HOST_KEY, Kind, Who};
use crate::error::Error;
use crate::key::ExpertKey;
use crate::sync::AtomicUsize;
use crate::sync::Ordering::{Relaxed, Release, SeqCst};

/// Whether code size matters more than speed. If not, each way to find a block has code of
/// its own.
const SMALL_CODE: bool = usize::BITS == 32;

/// How many bytes are copied under the lock at most, when a block of the host moves.
/// Taking the lock again costs more than its instructions: it waits until the copied
/// bytes have left the processor's store buffer. On small systems, where the lock is
/// often a critical section, nothing is copied under it.
const COPIED_LOCKED: usize = if usize::BITS > 32 { 16384 } else { 0 };

/// A heap in memory that the program gives it, with calls of bounded time, behind
/// the lock `R`, for the host and the owners of the directory `D`.
pub struct FixedEngine<R, D> {
    store: Mutex<R, Store>,
    account: Account,
    owner: Owner,
    /// The numbers of pins of two kinds, in the low and in the middle bits, and the kind of
    /// new pins in the highest bit.
    pins: AtomicUsize,
    pub(super) directory: D,
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

    /// The owners by their slots.
    #[inline]
    pub fn directory(&self) -> &D {
        &self.directory
    }

    /// Makes `Engine::drain` wait until the result is dropped.
    pub fn pin(&self) -> Pin<'_> {
        // SeqCst: either `drain` sees the pin, or reads from here on see all writes
        // from before `drain`.
        let is_other = self.pins.load(Relaxed) & NEW_PINS != 0;
        let one = if is_other { ONE_PIN[1] } else { ONE_PIN[0] };
        self.pins.fetch_add(one, SeqCst);
        Pin { pins: &self.pins, one }
    }

    /// Waits for all pins that exist now: they are few and short. For each kind, it waits
    /// until there was a moment without pins. New pins are of the other kind meanwhile, so
    /// that a thread that pins again and again does not prolong the wait.
    pub(super) fn wait_for_pins(&self) {
        // No variable indexes the constants, because nothing here may panic.
        self.pins.fetch_or(NEW_PINS, Relaxed);
        self.wait_for_pins_of(ONE_PIN[0]);
        self.pins.fetch_and(!NEW_PINS, Relaxed);
        self.wait_for_pins_of(ONE_PIN[1]);
    }

    fn wait_for_pins_of(&self, one: usize) {
        let of_kind = (ONE_PIN[1] - 1) * one;
        while self.pins.load(SeqCst) & of_kind != 0 {
            #[cfg(feature = "std")]
            std::thread::yield_now();
            core::hint::spin_loop();
        }
    }

    /// Gives the heap `len` bytes from `start`. Any number of regions may be added, at any
    /// time, in any order. Returns how many bytes blocks can use, headers included; 0 if
    /// the region is too small for one.
    ///
    /// # Safety
    ///
    /// - S1 the region is memory that may be read and written, and is used by
    ///   nothing else from now on and for as long as the heap is in use.
    pub unsafe fn add_region(&self, start: *mut u8, len: usize) -> usize {
        let (skipped, len) = Regions::reckonable(start.addr(), len);
        let Some(start) = NonNull::new(start.wrapping_add(skipped)) else { return 0 };
        // SAFETY: S1: a part of the region.
        unsafe { self.lock().add_region(start, len) }
    }

    /// The blocks, under the lock.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, R, Store> {
        self.store.lock()
    }

    /// The blocks, under the lock, and the block of this heap whose payload is at `payload`.
    #[inline]
    fn lock_with(&self, payload: NonNull<u8>) -> (MutexGuard<'_, R, Store>, Block) {
        let store = self.lock();
        // SAFETY: the callers pass the payload of a block of this heap, and `store` holds
        // its lock.
        let block = unsafe { Block::of_payload(payload.addr().get()) };
        (store, block)
    }

    /// The host, as an owner.
    #[inline]
    pub(super) fn who(&self) -> Who<'_, Owner> {
        Who { key: HOST_KEY, account: &self.account, owner: &self.owner, overdraft: true }
    }

    /// Allocates a block in the common case; `None`, with nothing changed, otherwise.
    #[inline(always)]
    pub(super) fn obtain_fast(
        &self,
        who: Who<'_, Owner>,
        kind: Kind,
        asked: usize,
        align: usize,
    ) -> Option<NonNull<u8>> {
        let request = Request { who, kind, asked, align };
        if Way::of(asked, align) != Way::Plain {
            return None;
        }
        self.lock().allocate(Way::Plain, request).map(Block::payload)
    }

    /// Allocates a block.
    #[inline(never)]
    pub(super) fn obtain(&self, request: Request<'_>) -> Result<NonNull<u8>, Error> {
        let mut store = self.lock();
        // The common case was already tried.
        let found = match Way::of(request.asked, request.align) {
            Way::Plain => None,
            way => store.allocate(way, request),
        };
        let done = found.map_or_else(|| store.allocate_slow(request), Ok);
        drop(store);
        self.counted(request, done)
    }

    /// Allocates an ambient block for the host; null if there is no memory.
    #[inline]
    pub fn allocate_for_host(&self, asked: usize, align: usize) -> *mut u8 {
        match Way::of(asked, align) {
            way if SMALL_CODE => self.allocate_for_host_by(way, asked, align),
            Way::Plain => self.allocate_for_host_plain(asked, align),
            Way::Aligned => self.allocate_for_host_aligned(asked, align),
            Way::Close => self.allocate_for_host_close(asked, align),
        }
    }

    #[inline(never)]
    fn allocate_for_host_plain(&self, asked: usize, align: usize) -> *mut u8 {
        self.allocate_for_host_by(Way::Plain, asked, align)
    }

    #[inline(never)]
    fn allocate_for_host_aligned(&self, asked: usize, align: usize) -> *mut u8 {
        self.allocate_for_host_by(Way::Aligned, asked, align)
    }

    #[inline(never)]
    fn allocate_for_host_close(&self, asked: usize, align: usize) -> *mut u8 {
        self.allocate_for_host_by(Way::Close, asked, align)
    }

    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn allocate_for_host_by(&self, way: Way, asked: usize, align: usize) -> *mut u8 {
        let done = self.lock().allocate(way, self.of_host(asked, align));
        match done {
            Some(block) => block.payload().as_ptr(),
            None => self.allocate_for_host_slow(asked, align),
        }
    }

    #[inline(never)]
    fn allocate_for_host_slow(&self, asked: usize, align: usize) -> *mut u8 {
        let done = self.lock().allocate_slow(self.of_host(asked, align));
        done.map_or(core::ptr::null_mut(), |block| block.payload().as_ptr())
    }

    /// A request of the host's.
    #[inline(always)]
    fn of_host(&self, asked: usize, align: usize) -> Request<'_> {
        Request { who: self.who(), kind: Kind::Ambient, asked, align }
    }

    /// Resizes a live ambient block of the host from `old` bytes, at a multiple of `align`,
    /// to `asked` bytes. Neither size is 0. Returns null, with nothing changed, if there is
    /// no memory.
    #[inline(never)]
    pub fn resize_for_host(
        &self,
        from: NonNull<u8>,
        old: usize,
        align: usize,
        asked: usize,
    ) -> *mut u8 {
        let (mut store, block) = self.lock_with(from);
        let Some(room) = store.resize_for_host(self.who(), block, asked, align) else {
            return self.move_for_host(store, from, old.min(asked), align, asked);
        };
        if room == block {
            return room.payload().as_ptr();
        }
        let kept = old.min(asked);
        if COPIED_LOCKED == 0 || kept > COPIED_LOCKED {
            drop(store);
            return self.move_to(from, room.payload(), kept).as_ptr();
        }
        // SAFETY: both blocks are the caller's, live, and at least this long.
        unsafe { from.copy_to_nonoverlapping(room.payload(), kept) };
        store.free(self.who(), &self.directory, block);
        room.payload().as_ptr()
    }

    /// As [`resize_for_host`](Self::resize_for_host), for a block that must move and whose
    /// new place takes a search.
    #[inline(never)]
    fn move_for_host(
        &self,
        mut store: MutexGuard<'_, R, Store>,
        from: NonNull<u8>,
        kept: usize,
        align: usize,
        asked: usize,
    ) -> *mut u8 {
        let request = self.of_host(asked, align);
        let room = match Way::of(asked, align) {
            Way::Plain => None,
            // The block is not cut from the end, because a block that grew will grow again.
            _ => store.allocate(Way::Close, request),
        };
        let room = room.or_else(|| store.allocate_slow(request).ok());
        drop(store);
        match room {
            Some(room) => self.move_to(from, room.payload(), kept).as_ptr(),
            None => {
                let moved = self.relocate(request, from, kept);
                moved.map_or(core::ptr::null_mut(), NonNull::as_ptr)
            }
        }
    }

    /// Moves `kept` bytes of content from one live block of the caller's to
    /// another, and frees the first.
    fn move_to(&self, from: NonNull<u8>, to: NonNull<u8>, kept: usize) -> NonNull<u8> {
        // SAFETY: both blocks are the caller's, live, and at least this long.
        unsafe { from.copy_to_nonoverlapping(to, kept) };
        self.free(from);
        to
    }

    /// Moves a live block while the lock is held, because there is no room for two blocks.
    #[inline(never)]
    fn relocate(
        &self,
        request: Request<'_>,
        from: NonNull<u8>,
        kept: usize,
    ) -> Result<NonNull<u8>, Error> {
        let (mut store, block) = self.lock_with(from);
        let done = store.relocate(request, block, kept);
        self.counted(request, done)
    }

    /// Frees a live block.
    #[inline(never)]
    pub fn free(&self, address: NonNull<u8>) {
        let (mut store, block) = self.lock_with(address);
        // A block that is not live was freed before, so it is left alone.
        if !block.is_free() {
            store.free(self.who(), &self.directory, block);
        }
    }

    /// Resizes a live block; see [`Engine::reallocate`]. Neither size is 0.
    pub(super) fn resize(
        &self,
        request: Request<'_>,
        from: NonNull<u8>,
        kept: usize,
    ) -> Result<NonNull<u8>, Error> {
        let (mut store, block) = self.lock_with(from);
        let room = match store.resize_for(request, block) {
            Some(done) => done,
            None => match store.allocate_slow(request) {
                Ok(room) => Ok(room),
                Err(_) => {
                    drop(store);
                    return self.relocate(request, from, kept);
                }
            },
        };
        drop(store);
        let to = self.counted(request, room)?;
        Ok(if to == from { from } else { self.move_to(from, to, kept) })
    }

    /// Counts a request that the quota refused.
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

    /// Makes a bound block of `asked` bytes a raw one (LOCKED3).
    pub(super) fn publish(&self, payload: NonNull<u8>, asked: usize) {
        let (mut store, block) = self.lock_with(payload);
        store.set_kind(block, Kind::Raw, asked);
    }

    /// Makes a raw block a bound one (LOCKED3), and returns its payload and the size asked
    /// for.
    pub(super) fn withdraw(
        &self,
        key: ExpertKey,
        address: usize,
    ) -> Result<(NonNull<u8>, usize), Error> {
        let mut store = self.lock();
        let block = store.raw(&self.directory, key, address)?;
        let asked = store.asked_for(block);
        store.set_kind(block, Kind::Bound, asked);
        Ok((block.payload(), asked))
    }
}

/// Keeps an expert in place that is reached by its key alone: see
/// [`pin`](FixedEngine::pin).
pub struct Pin<'h> {
    pins: &'h AtomicUsize,
    /// The value of one pin of this kind.
    one: usize,
}

/// One pin of either kind.
const ONE_PIN: [usize; 2] = [1, 1 << (usize::BITS / 2 - 1)];

/// The bit that tells which kind new pins are.
const NEW_PINS: usize = 1 << (usize::BITS - 1);

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        // Release: `drain` sees all that was done under the pin.
        self.pins.fetch_sub(self.one, Release);
    }
}
