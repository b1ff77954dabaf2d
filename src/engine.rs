//! The trait between the two engines (where memory comes from) and the expert
//! layer (whose it is). An engine knows keys only as tags and accounts only as
//! something to charge; it knows no names, states or clean-ups.

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
    /// That of the expert of `key`, charged to `account`. No valid key where
    /// the account is not open (see [`Account::marks`]).
    #[inline(always)]
    pub fn new(key: ExpertKey, account: &Account) -> Self {
        Self::of_word(key.into_raw(), account)
    }

    /// As [`new`](Self::new), of a word that may be no key at all: then this is none
    /// either.
    #[inline(always)]
    pub fn of_word(word: usize, account: &Account) -> Self {
        Self(word ^ account.marks())
    }

    /// As a word, to be compared with that of a key.
    #[inline(always)]
    pub fn word(self) -> usize {
        self.0
    }
}

/// Which of an owner's heaps a block is in. They differ in which code may still
/// refer to their blocks when the owner ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Blocks of the global allocator in a scope: any code may refer to them.
    Ambient = 0,
    /// Blocks of handles: no safe code refers to them once the expert is gone.
    Bound = 1,
    /// Blocks of the raw calls: raw pointers; the exact size is kept.
    Raw = 2,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Ambient, Self::Bound, Self::Raw];
}

/// The owner of a request: all that an engine may know of an expert.
pub struct Who<'a, O> {
    /// The tag that the blocks carry.
    pub key: ExpertKey,
    /// The account that is charged. Stays in place while `owner` is open.
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

/// What an engine can do at once for a call that comes by a key alone, where all that it
/// takes is at hand. These calls are made so often that they are written apart.
///
/// Looks at the key come by parameters. One that finds the key valid behind the pin of the
/// key and a fence has found it before the end of its expert, which then waits for the pin.
#[cfg(feature = "capi")]
pub trait AtOnce: Engine {
    /// As [`Engine::raw_allocate`] for the expert of `key`, which is pinned meanwhile as by
    /// `Home::pin`; `owner` looks whether it may be given memory, and gives its part.
    /// `None` says nothing, and nothing was done.
    fn raw_allocate_by_key<'o>(
        self,
        key: ExpertKey,
        size: usize,
        owner: impl FnOnce() -> Option<&'o Self::Owner>,
    ) -> Option<NonNull<u8>>
    where
        Self::Owner: 'o;

    /// As [`Engine::raw_free`] of a block of `key`, which is pinned meanwhile as by
    /// `Home::pin`; just now it was found valid with this `owner`, and `is_still` looks
    /// whether it is. `false` says nothing, and nothing was done.
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

    /// Owners have slots below this.
    const SLOTS: usize = MAX_SLOTS;

    /// The host: the owner of blocks that belong to no expert. Its key is
    /// [`HOST_KEY`], its account has no quota, and it is never closed.
    fn host<'a>(self) -> Who<'a, Self::Owner>
    where
        Self: 'a;

    /// Memory for the expert layer's tables: zero-filled, aligned as asked,
    /// never given back, charged to nobody. `None` where there is no more.
    fn table(self, layout: Layout) -> Option<NonNull<u8>>;

    /// A bound block for the expert of `pass`, if one can be had at once;
    /// `None` says nothing: ask [`allocate`](Self::allocate).
    #[inline(always)]
    fn allocate_at_once(self, pass: Pass, layout: Layout) -> Option<NonNull<u8>> {
        let _ = (pass, layout);
        None
    }

    /// As [`allocate_at_once`](Self::allocate_at_once), of blocks that lie ready only, so
    /// that a caller whose other ways end with a jump needs no stack.
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

    /// Gives a block back to its owner, whoever calls and in whatever scope.
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
    /// A size that is not larger, with an alignment that is not either, never
    /// fails: `shrink_to_fit` aborts the process otherwise, and an expert may
    /// be at its quota. The block then stays where it is, or moves to where there
    /// is room. (A huge block of the host engine that was aligned beyond a slice, and
    /// no longer has to be, must move, which may fail.)
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

    /// As [`raw_allocate`](Self::raw_allocate), but the content may be anything.
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

    /// The size asked for of `key`'s live raw block at `address`. Trusts
    /// nothing: any address may be passed.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPointer`] where no live raw block starts there,
    /// [`Error::AccessDenied`] where it is another owner's.
    fn raw_size(self, key: ExpertKey, address: *const u8) -> Result<usize, Error>;

    /// Frees `key`'s live raw block at `address`. Trusts nothing; of two
    /// threads that free the same block one gets an error.
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

    /// Waits until no other thread is inside a call that came in by `key`
    /// alone, without borrowing the expert (the C calls). New such calls see
    /// the expert's state, which the caller has changed before.
    fn drain(self, key: ExpertKey);

    /// The blocks of `who` now. Exact while no other thread allocates or frees.
    fn usage(self, who: Who<'_, Self::Owner>) -> Usage;

    /// Takes back every block of one kind that `who` owns, and refunds it.
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

    /// Gives back what `who` was charged for and does not use, as far as that can be told.
    fn trim(self, who: Who<'_, Self::Owner>) {
        let _ = who;
    }

    /// Ends an owner whose heaps are empty after
    /// [`reclaim`](Self::reclaim) and [`adopt`](Self::adopt): afterwards it is
    /// as [`NEW`](Self::NEW), and entries in the caches of threads no longer match it.
    fn close(self, who: Who<'_, Self::Owner>);
}
