//! What the engine keeps of an owner, and how a block's tag leads back there.
//!
//! A tag is the slot of the owner's key, an index into a table of pointers
//! that grows in the heap itself. An owner is entered there when it first
//! allocates and struck out when it is closed.
//!
//! - W1 a table entry is null, or points to an owner of the expert layer that
//!   is open and stays in place until it is closed.
//! - W2 an owner's counts are changed under the engine's lock only; they are
//!   atomic so that they can be, without being exclusive, `Relaxed` because the
//!   lock orders them.
//! - W3 `allocations - frees` is the number of the owner's live blocks, and
//!   `bytes` the sum of their sizes, headers included.

use core::ptr::{self, NonNull};

use super::block::Block;
use super::header::{GRANULE, HEADER, Tag, block_size};
use super::store::{Mark, Store};
use crate::account::Account;
use crate::engine::{HOST_KEY, Kind, Usage, Who};
use crate::error::Error;
use crate::key::ExpertKey;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

/// The engine's part of an expert's slot. The counts of blocks are modulo the
/// size of a word: 2^32 on 32-bit targets.
#[derive(Debug)]
pub struct Owner {
    /// Null for an owner that has not allocated yet.
    account: AtomicPtr<Account>,
    key: AtomicUsize,
    allocations: AtomicUsize,
    frees: AtomicUsize,
    bytes: AtomicUsize,
}

impl Owner {
    /// An owner that owns nothing.
    pub const NEW: Self = Self {
        account: AtomicPtr::new(ptr::null_mut()),
        key: AtomicUsize::new(0),
        allocations: AtomicUsize::new(0),
        frees: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
    };

    /// Counts `blocks` more, of `bytes` together.
    #[inline]
    pub fn gain(&self, blocks: usize, bytes: usize) {
        add(&self.allocations, blocks);
        add(&self.bytes, bytes);
    }

    /// Counts `blocks` fewer, of `bytes` together.
    #[inline]
    pub fn lose(&self, blocks: usize, bytes: usize) {
        add(&self.frees, blocks);
        add(&self.bytes, bytes.wrapping_neg());
    }

    /// Counts `bytes` more (or, modulo the size of a word, fewer) in the same
    /// blocks.
    #[inline]
    pub fn resize(&self, bytes: usize) {
        add(&self.bytes, bytes);
    }

    /// Whether the owner has no live block.
    pub fn is_empty(&self) -> bool {
        self.allocations.load(Relaxed) == self.frees.load(Relaxed)
    }

    /// The counts, as the expert layer wants them.
    pub fn usage(&self) -> Usage {
        let (allocations, frees) = (self.allocations.load(Relaxed), self.frees.load(Relaxed));
        let live_blocks = allocations.wrapping_sub(frees);
        let headers = live_blocks.wrapping_mul(HEADER);
        Usage {
            live_blocks,
            live_bytes: self.bytes.load(Relaxed).wrapping_sub(headers),
            allocations: allocations as u64,
            frees: frees as u64,
        }
    }
}

#[inline]
fn add(count: &AtomicUsize, more: usize) {
    count.store(count.load(Relaxed).wrapping_add(more), Relaxed);
}

/// The table from tags to owners. The host, whose tag is 0, is not in it.
pub struct Owners {
    table: *mut *const Owner,
    len: usize,
}

// SAFETY: the table lies in the heap's own memory and is reached under its
// lock; owners are `Sync`.
unsafe impl Send for Owners {}

impl Owners {
    /// A table of nobody, which takes no memory.
    pub const fn new() -> Self {
        Self { table: ptr::null_mut(), len: 0 }
    }

    /// The tag of `who`, who is entered into the table if new.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] where the table cannot grow,
    /// [`Error::TooManyExperts`] where there are no more tags.
    #[inline]
    pub fn tag(&mut self, store: &mut Store, who: Who<'_, Owner>) -> Result<Tag, Error> {
        let tag = who.key.slot().and_then(Tag::of_slot).ok_or(Error::TooManyExperts)?;
        if tag != Tag::HOST && who.owner.account.load(Relaxed).is_null() {
            self.enter(store, who, tag.slot())?;
        }
        Ok(tag)
    }

    /// The owner with this tag; `None` for the host and for the engine.
    #[inline]
    pub fn get(&self, tag: Tag) -> Option<&Owner> {
        // The host's slot and those that never allocated hold null.
        let index = tag.slot();
        if index >= self.len {
            return None;
        }
        // SAFETY: the table has `len` entries.
        let entry = unsafe { self.table.add(index) };
        // SAFETY: all entries are initialised.
        let owner = unsafe { entry.read() };
        // SAFETY: W1.
        unsafe { owner.as_ref() }
    }

    /// The key and the account of the owner with this tag.
    #[inline]
    pub fn account(&self, tag: Tag) -> Option<(&Owner, &Account)> {
        let owner = self.get(tag)?;
        // SAFETY: the account of an open owner stays in place (`Who::account`).
        let account = unsafe { owner.account.load(Relaxed).as_ref() }?;
        Some((owner, account))
    }

    /// The key that the blocks with this tag belong to.
    pub fn key(&self, tag: Tag) -> Option<ExpertKey> {
        if tag == Tag::HOST {
            return Some(HOST_KEY);
        }
        ExpertKey::from_raw(self.get(tag)?.key.load(Relaxed))
    }

    /// Strikes an owner out, and makes it new.
    pub fn close(&mut self, who: Who<'_, Owner>) {
        let owner = who.owner;
        if owner.account.load(Relaxed).is_null() {
            return;
        }
        if let Some(slot) = who.key.slot().filter(|&slot| slot < self.len) {
            self.set(slot, ptr::null());
        }
        owner.account.store(ptr::null_mut(), Relaxed);
        for count in [&owner.key, &owner.allocations, &owner.frees, &owner.bytes] {
            count.store(0, Relaxed);
        }
    }

    #[cold]
    fn enter(&mut self, store: &mut Store, who: Who<'_, Owner>, slot: usize) -> Result<(), Error> {
        if slot >= self.len {
            self.grow(store, slot + 1)?;
        }
        who.owner.key.store(who.key.into_raw(), Relaxed);
        who.owner.account.store(ptr::from_ref(who.account).cast_mut(), Relaxed);
        self.set(slot, who.owner);
        Ok(())
    }

    /// Moves the table to a block of the engine's with room for twice as many.
    fn grow(&mut self, store: &mut Store, at_least: usize) -> Result<(), Error> {
        const ENTRY: usize = size_of::<*const Owner>();
        let asked = (2 * self.len).max(at_least).max(4) * ENTRY;
        let size = block_size(asked).ok_or(Error::OutOfMemory)?;
        let fit = store.find(size, GRANULE).ok_or(Error::OutOfMemory)?;
        let block = store.take(fit, Mark { tag: Tag::ENGINE, kind: Kind::Bound, asked });
        let table = block.payload().cast::<*const Owner>().as_ptr();
        let len = (block.size() - HEADER) / ENTRY;
        for index in 0..len {
            // SAFETY: the payload has room for `len` entries.
            let entry = unsafe { table.add(index) };
            let owner = self.get_at(index);
            // SAFETY: as above; a payload is aligned to more than a pointer.
            unsafe { entry.write(owner) };
        }
        if let Some(old) = NonNull::new(self.table) {
            // SAFETY: the old table is the payload of a block of this store.
            store.release(unsafe { Block::of_payload(old.addr().get()) });
        }
        (self.table, self.len) = (table, len);
        Ok(())
    }

    /// All owners in the table, for the walker.
    #[cfg(feature = "testing")]
    pub fn iter(&self) -> impl Iterator<Item = &Owner> {
        (0..self.len).filter_map(|index| self.get(Tag::of_slot(index)?))
    }

    fn get_at(&self, index: usize) -> *const Owner {
        Tag::of_slot(index).and_then(|tag| self.get(tag)).map_or(ptr::null(), ptr::from_ref)
    }

    /// Writes an entry of the table.
    fn set(&mut self, index: usize, owner: *const Owner) {
        debug_assert!(index < self.len);
        // SAFETY: the callers have compared with `len`.
        let entry = unsafe { self.table.add(index) };
        // SAFETY: as above.
        unsafe { entry.write(owner) };
    }
}
