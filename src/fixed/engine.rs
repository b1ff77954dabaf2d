//! The heap behind the trait of the expert layer: [`Engine`] for a reference to a heap.

use core::alloc::Layout;
use core::ptr::NonNull;

use lock_api::RawMutex;

use super::header::{TAGS, Tag, block_size};
use super::heap::FixedEngine;
use super::owner::{Directory, Owner};
use super::requests::Request;
use crate::engine::{Engine, Kind, Taken, Usage, Who};
use crate::error::Error;
use crate::key::{ExpertKey, MAX_SLOTS};

/// The alignment of raw blocks, in bytes.
const RAW_ALIGN: usize = 16;

impl<R: RawMutex + Send + Sync, D: Directory> Engine for &FixedEngine<R, D> {
    type Owner = Owner;

    const NEW: Owner = Owner::new();

    const SLOTS: usize = if TAGS < MAX_SLOTS { TAGS } else { MAX_SLOTS };

    fn host<'a>(self) -> Who<'a, Owner>
    where
        Self: 'a,
    {
        self.who()
    }

    fn table(self, layout: Layout) -> Option<NonNull<u8>> {
        let asked = layout.size();
        let mut store = self.lock();
        let found = store.free.find(block_size(asked)?, layout.align())?;
        let mark = store.mark(Tag::ENGINE, Kind::Bound);
        let table = store.take(&found, mark).payload();
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
        store.key_of(&self.directory, store.around(address.addr())?)
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
        let store = self.lock();
        store.raw(&self.directory, key, address.addr()).map(|block| store.asked_for(block))
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
                // SAFETY: LOCKED3, the block is this call's, and now of `size` bytes.
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

    fn drain(self, _: ExpertKey) {
        self.wait_for_pins();
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

/// Fills the `new - old` bytes behind the first `old` with 0.
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

/// An address of no block, which [`Engine::deallocate`] ignores.
fn dangling(align: usize) -> NonNull<u8> {
    NonNull::new(core::ptr::without_provenance_mut(align)).unwrap_or(NonNull::dangling())
}
