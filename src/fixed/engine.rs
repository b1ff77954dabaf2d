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
use super::lock::SpinLock;
use super::owner::Owner;
use super::requests::{Request, State};
use super::store::Mark;
use crate::account::Account;
use crate::engine::{Engine, HOST_KEY, Kind, Taken, Usage, Who};
use crate::error::Error;
use crate::key::ExpertKey;

/// What raw blocks are aligned to, in bytes.
const RAW_ALIGN: usize = 16;

/// A heap in memory that it is given, in bounded time, behind the lock `R`.
pub struct FixedEngine<R = SpinLock> {
    state: Mutex<R, State>,
    account: Account,
    owner: Owner,
}

impl<R: RawMutex> FixedEngine<R> {
    /// A heap without memory: every request is refused.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            state: Mutex::const_new(R::INIT, State::new()),
            account: Account::new(),
            owner: Owner::NEW,
        }
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
        unsafe { self.lock().store.add_region(start, len) }
    }

    /// The state, while nobody else has it.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, R, State> {
        self.state.lock()
    }

    /// The host, as an owner.
    #[inline]
    pub(super) fn who(&self) -> Who<'_, Owner> {
        Who { key: HOST_KEY, account: &self.account, owner: &self.owner, overdraft: true }
    }

    /// Frees a live block.
    #[inline]
    fn free(&self, address: NonNull<u8>) {
        let mut state = self.lock();
        // SAFETY: the callers pass the payload of a block of this heap, and
        // hold its lock.
        let block = unsafe { Block::of_payload(address.addr().get()) };
        // A block that is not live was freed before: leave it.
        if !block.is_free() {
            state.free(self.who(), block);
        }
    }

    /// Resizes a live block; see [`Engine::reallocate`]. Neither size is 0.
    fn resize(
        &self,
        request: Request<'_>,
        from: NonNull<u8>,
        kept: usize,
    ) -> Result<NonNull<u8>, Error> {
        let mut state = self.lock();
        // SAFETY: as in `free`.
        let block = unsafe { Block::of_payload(from.addr().get()) };
        if let Some(done) = state.resize(request, block) {
            return done.map(Block::payload);
        }
        let spare = request.who.account.has_room(block_size(request.asked).unwrap_or(usize::MAX));
        if !spare || state.find(request).is_none() {
            return state.relocate(request, block, kept).map(Block::payload);
        }
        let to = state.allocate(request)?.payload();
        drop(state);
        // SAFETY: both blocks are the caller's, live, and at least this long.
        unsafe { from.copy_to_nonoverlapping(to, kept) };
        self.free(from);
        Ok(to)
    }

    /// Makes a bound block of `asked` bytes a raw one (E3).
    fn publish(&self, payload: NonNull<u8>, asked: usize) {
        let mut state = self.lock();
        // SAFETY: as in `free`.
        let block = unsafe { Block::of_payload(payload.addr().get()) };
        state.set_kind(block, Kind::Raw, asked);
    }

    /// Makes a raw block a bound one (E3); its payload and the size asked for.
    fn withdraw(&self, key: ExpertKey, address: usize) -> Result<(NonNull<u8>, usize), Error> {
        let mut state = self.lock();
        let block = state.raw(key, address)?;
        let asked = asked_for(block);
        state.set_kind(block, Kind::Bound, asked);
        Ok((block.payload(), asked))
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

impl<'h, R: RawMutex + Send + Sync> Engine for &'h FixedEngine<R> {
    type Owner = Owner;

    const NEW: Owner = Owner::NEW;

    fn host<'a>(self) -> Who<'a, Owner>
    where
        Self: 'a,
    {
        self.who()
    }

    fn table(self, layout: Layout) -> Option<NonNull<u8>> {
        let asked = layout.size();
        let mut state = self.lock();
        let fit = state.store.find(block_size(asked)?, layout.align())?;
        let mark = Mark { tag: Tag::ENGINE, kind: Kind::Bound, asked };
        let table = state.store.take(fit, mark).payload();
        drop(state);
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
        let payload = self.lock().allocate(Request { who, kind, asked, align })?.payload();
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
        let state = self.lock();
        state.owners.key(state.store.around(address.addr())?.label().tag())
    }

    fn raw_allocate(self, who: Who<'_, Owner>, size: usize) -> Result<NonNull<u8>, Error> {
        let request = Request { who, kind: Kind::Bound, asked: size, align: RAW_ALIGN };
        let payload = self.lock().allocate(request)?.payload();
        // SAFETY: a new block of at least this size.
        unsafe { fill_with_zeros(payload, 0, size) };
        self.publish(payload, size);
        Ok(payload)
    }

    fn raw_size(self, key: ExpertKey, address: *const u8) -> Result<usize, Error> {
        self.lock().raw(key, address.addr()).map(asked_for)
    }

    fn raw_free(self, key: ExpertKey, address: *mut u8) -> Result<(), Error> {
        let mut state = self.lock();
        let block = state.raw(key, address.addr())?;
        state.free(self.who(), block);
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
        let mut state = self.lock();
        let block = state.raw(from.key, address.addr())?;
        state.transfer(block, from, to)?;
        Ok(block.payload())
    }

    /// Nothing to wait for: calls come in with a borrowed expert only, and
    /// the borrow has ended when an expert does.
    fn drain(self, _: ExpertKey) {}

    fn usage(self, who: Who<'_, Owner>) -> Usage {
        let _state = self.lock();
        who.owner.usage()
    }

    unsafe fn reclaim(self, who: Who<'_, Owner>, kind: Kind) -> Taken {
        self.lock().reclaim(who, kind)
    }

    fn adopt(self, from: Who<'_, Owner>, to: Who<'_, Owner>) -> Taken {
        self.lock().adopt(from, to, self.who())
    }

    fn close(self, who: Who<'_, Owner>) {
        self.lock().owners.close(who);
    }
}

const _: () = {
    assert!(RAW_ALIGN >= GRANULE);
};
