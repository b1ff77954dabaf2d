//! The trait between the two engines, which provide memory, and the expert layer, which
//! knows the owners. An engine knows keys only as tags and accounts only as something to
//! charge; it knows no names, states or clean-ups.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::account::Account;
use crate::error::Error;
use crate::key::{ExpertKey, MAX_SLOTS};

/// The key of an expert that may be given memory, or a word that is no valid
/// key: both questions in one comparison.
#[derive(Clone, Copy, Debug)]
pub struct Pass(usize);

impl Pass {
    /// The pass of the expert of `key`, which is charged to `account`. It is no valid key
    /// if the account is not open (see [`Account::marks`]).
    #[inline(always)]
    pub fn new(key: ExpertKey, account: &Account) -> Self {
        Self::of_word(key.into_raw(), account)
    }

    /// As [`new`](Self::new), for a word that may be no key; the pass is then no key
    /// either.
    #[inline(always)]
    pub fn of_word(word: usize, account: &Account) -> Self {
        Self(word ^ account.marks())
    }

    /// The pass as a word, which is compared with that of a key.
    #[inline(always)]
    pub fn word(self) -> usize {
        self.0
    }
}

/// The kind of a block, which tells in which of an owner's heaps it is. The kinds differ in
/// the code that may still refer to the blocks when the owner ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Blocks of the global allocator in a scope: any code may refer to them.
    Ambient = 0,
    /// Blocks of handles: no safe code refers to them once the expert has ended.
    Bound = 1,
    /// Blocks of the raw calls: only raw pointers refer to them, and their exact size is
    /// kept.
    Raw = 2,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Ambient, Self::Bound, Self::Raw];
}

/// The owner of a request, with all that an engine may know about an expert.
pub struct Who<'a, O> {
    /// The tag that the blocks carry.
    pub key: ExpertKey,
    /// The account that is charged. It stays in place while `owner` is open.
    pub account: &'a Account,
    /// The engine's own state for this owner.
    pub owner: &'a O,
    /// Whether a request of kind [`Kind::Ambient`] that the quota has no room
    /// for is granted and overdrawn (the default of an expert) or refused.
    pub overdraft: bool,
}

impl<O> Clone for Who<'_, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Who<'_, O> {}

/// The host's own key: slot 0, generation 1.
pub const HOST_KEY: ExpertKey = ExpertKey::new(0, 1).unwrap();

/// The blocks of an owner at the moment, over all of its heaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blocks handed out and not freed.
    pub live_blocks: usize,
    /// Their sizes as handed out (usable bytes, not the bytes asked for).
    pub live_bytes: usize,
    /// Blocks handed out since the owner was opened.
    pub allocations: u64,
    /// Blocks freed since the owner was opened.
    pub frees: u64,
}

/// Blocks and bytes that changed hands in a reclaim or an adoption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many blocks were live.
    pub blocks: usize,
    /// Their usable bytes.
    pub bytes: usize,
}

/// The fast paths of an engine for calls that come by a key alone. Such calls are so
/// frequent that they have paths of their own.
///
/// Checks of the key are passed as closures. If a check finds the key valid after the pin
/// of the key and a fence, then the expert had not ended, and its end waits for the pin.
#[cfg(feature = "capi")]
pub trait AtOnce: Engine {
    /// As [`Engine::raw_allocate`] for the expert of `key`, which is pinned meanwhile as by
    /// `Home::pin`; `owner` checks whether it may be given memory, and returns its part.
    /// After `None`, nothing was done, and the caller takes the slow path.
    fn raw_allocate_by_key<'o>(
        self,
        key: ExpertKey,
        size: usize,
        owner: impl FnOnce() -> Option<&'o Self::Owner>,
    ) -> Option<NonNull<u8>>
    where
        Self::Owner: 'o;

    /// As [`Engine::raw_free`] of a block of `key`, which is pinned meanwhile as by
    /// `Home::pin`; it was just found valid with this `owner`, and `is_still` checks
    /// whether it still is. After `false`, nothing was done, and the caller takes the slow
    /// path.
    fn raw_free_by_key(
        self,
        key: ExpertKey,
        owner: &Self::Owner,
        address: *mut u8,
        is_still: impl FnOnce() -> bool,
    ) -> bool;
}

/// A memory engine, as the expert layer sees it. `Self` is a cheap reference
/// to the engine (zero-sized for the process-wide one).
///
/// No method unwinds, and none calls back into the expert layer.
pub trait Engine: Copy + Send + Sync {
    /// The engine's part of one owner, inside the expert's slot.
    /// A fresh one (`NEW`) owns nothing.
    type Owner: Send + Sync;

    /// An owner that owns nothing.
    const NEW: Self::Owner;

    /// Slots of owners are less than this.
    const SLOTS: usize = MAX_SLOTS;

    /// The host: the owner of blocks that belong to no expert. Its key is
    /// [`HOST_KEY`], its account has no quota, and it is never closed.
    fn host<'a>(self) -> Who<'a, Self::Owner>
    where
        Self: 'a;

    /// Memory for the expert layer's tables: zero-filled, aligned as asked,
    /// never given back, charged to nobody. `None` where there is no more.
    fn table(self, layout: Layout) -> Option<NonNull<u8>>;

    /// A bound block for the expert of `pass`, if one is at hand; after `None`, call
    /// [`allocate`](Self::allocate).
    #[inline(always)]
    fn allocate_at_once(self, pass: Pass, layout: Layout) -> Option<NonNull<u8>> {
        let _ = (pass, layout);
        None
    }

    /// As [`allocate_at_once`](Self::allocate_at_once), but only with blocks that are
    /// ready, so a caller whose other paths end with a jump needs no stack.
    #[cfg(feature = "capi")]
    #[inline(always)]
    fn take_ready(self, pass: Pass, layout: Layout) -> Option<NonNull<u8>> {
        let _ = (pass, layout);
        None
    }

    /// Allocates for `who`. A size of 0 gives a dangling, aligned pointer
    /// that [`deallocate`](Self::deallocate) ignores. `zeroed` fills with 0.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::QuotaExceeded`] (counted as a refusal
    /// of the account).
    fn allocate(
        self,
        who: Who<'_, Self::Owner>,
        kind: Kind,
        layout: Layout,
        zeroed: bool,
    ) -> Result<NonNull<u8>, Error>;

    /// Gives a block back to its owner, in any thread and any scope.
    ///
    /// # Safety
    ///
    /// - S1 `block` came from [`allocate`](Self::allocate) or
    ///   [`reallocate`](Self::reallocate) of this engine with a layout that
    ///   `layout` fits, and is live.
    unsafe fn deallocate(self, block: NonNull<u8>, layout: Layout);

    /// Moves or resizes a block, its content kept up to the smaller size, for
    /// the owner `who` that it already has. `zeroed` fills new bytes with 0.
    ///
    /// # Safety
    ///
    /// - S1 as for [`deallocate`](Self::deallocate), `old` fitting.
    /// - S2 `who` and `kind` are those that the block was allocated for.
    /// - S3 `new.align() == old.align()` or the block may move.
    ///
    /// If neither size nor alignment is larger, the call never fails. Otherwise
    /// `shrink_to_fit` would abort the process when an expert is at its quota. The block
    /// then stays where it is, or moves to where there is room. (A huge block of the host
    /// engine must move if it was aligned beyond a slice and no longer has to be. That may
    /// fail.)
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate); the block is then untouched.
    unsafe fn reallocate(
        self,
        who: Who<'_, Self::Owner>,
        kind: Kind,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        zeroed: bool,
    ) -> Result<NonNull<u8>, Error>;

    /// The owner of the live block that `address` points to or into; `None`
    /// for anything else. Reads no memory that is not the heap's, whatever
    /// the address.
    fn owner_of(self, address: *const u8) -> Option<ExpertKey>;

    /// A raw block: zero-filled, 16-byte aligned, of exactly `size` bytes as
    /// [`raw_size`](Self::raw_size) tells it; unique and freeable even for 0.
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate).
    fn raw_allocate(self, who: Who<'_, Self::Owner>, size: usize) -> Result<NonNull<u8>, Error>;

    /// As [`raw_allocate`](Self::raw_allocate), but with any content.
    ///
    /// # Errors
    ///
    /// As [`raw_allocate`](Self::raw_allocate).
    #[cfg(feature = "capi")]
    fn raw_allocate_uninit(
        self,
        who: Who<'_, Self::Owner>,
        size: usize,
    ) -> Result<NonNull<u8>, Error> {
        self.raw_allocate(who, size)
    }

    /// The size that was asked for of `key`'s live raw block at `address`. Trusts nothing:
    /// any address may be passed.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPointer`] if no live raw block starts there, [`Error::AccessDenied`]
    /// if the block is another owner's.
    fn raw_size(self, key: ExpertKey, address: *const u8) -> Result<usize, Error>;

    /// Frees `key`'s live raw block at `address`. Trusts nothing; if two threads free the
    /// same block, one of them gets an error.
    ///
    /// # Errors
    ///
    /// As [`raw_size`](Self::raw_size).
    fn raw_free(self, key: ExpertKey, address: *mut u8) -> Result<(), Error>;

    /// As [`raw_free`](Self::raw_free), for a caller that has found the owner.
    ///
    /// # Errors
    ///
    /// As [`raw_free`](Self::raw_free).
    fn raw_free_of(self, who: Who<'_, Self::Owner>, address: *mut u8) -> Result<(), Error> {
        self.raw_free(who.key, address)
    }

    /// Resizes `who`'s live raw block at `address`; new bytes are zero.
    ///
    /// # Errors
    ///
    /// As [`raw_size`](Self::raw_size) and [`allocate`](Self::allocate); the
    /// block is then untouched.
    fn raw_reallocate(
        self,
        who: Who<'_, Self::Owner>,
        address: *mut u8,
        size: usize,
    ) -> Result<NonNull<u8>, Error>;

    /// Gives `from`'s live raw block at `address` to `to`, with its charge.
    /// The block may move.
    ///
    /// # Errors
    ///
    /// As [`raw_reallocate`](Self::raw_reallocate).
    fn raw_transfer(
        self,
        from: Who<'_, Self::Owner>,
        address: *mut u8,
        to: Who<'_, Self::Owner>,
    ) -> Result<NonNull<u8>, Error>;

    /// Waits until no other thread is inside a call that came in by `key` alone, without
    /// borrowing the expert (the C calls). New calls of this kind see the expert's state,
    /// which the caller has changed before.
    fn drain(self, key: ExpertKey);

    /// The blocks of `who` at this moment. The figures are exact while no other thread
    /// allocates or frees.
    fn usage(self, who: Who<'_, Self::Owner>) -> Usage;

    /// Takes back every block of one kind that `who` owns, and refunds their charge.
    ///
    /// # Safety
    ///
    /// - S1 nothing will use or free these blocks any more.
    /// - S2 no other thread is inside an allocating or freeing call for them.
    unsafe fn reclaim(self, who: Who<'_, Self::Owner>, kind: Kind) -> Taken;

    /// Gives every ambient block of `from` to `to`: it stays where it is, its
    /// charge moves (overdrawing `to` if need be). Other threads may free or
    /// allocate meanwhile.
    fn adopt(self, from: Who<'_, Self::Owner>, to: Who<'_, Self::Owner>) -> Taken;

    /// Gives back memory that `who` was charged for and does not use, as far as the engine
    /// can tell.
    fn trim(self, who: Who<'_, Self::Owner>) {
        let _ = who;
    }

    /// Ends an owner whose heaps are empty after
    /// [`reclaim`](Self::reclaim) and [`adopt`](Self::adopt): afterwards it is
    /// as [`NEW`](Self::NEW), and entries in the caches of threads no longer match it.
    fn close(self, who: Who<'_, Self::Owner>);
}
