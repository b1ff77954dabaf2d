//! What is kept for an owner number: its *entry*.
//!
//! An expert has a number for each kind of blocks that it has, given out when it
//! allocates the first one. Its entry says whose it is, what it was charged, and has the
//! counts of threads that keep none themselves (see `ledger`). The kind is a part of the
//! number, so an entry is of one kind for ever.
//!
//! ```text
//!  unused -> Live -> Dead    (bound, raw; or any by `reclaim_all`: a sweep frees the blocks)
//!              `---> Adopted (ambient: the blocks are the host's)    -> unused
//! ```
//!
//! # Invariants
//!
//! - NUM1 an entry's key is its owner's while it is live, the host's while it is
//!   adopted, and 0 otherwise.
//! - NUM2 `charged` is what the entry's account was charged for blocks in tagged spans:
//!   while it is live, the bytes of its blocks in use and all credit, that of lines and
//!   `returned`; once it is adopted, what was in use then; once it is dead, 0.
//! - NUM3 a number is given out again only when no block and no span bears it, and no thread
//!   has an open line for it. So who holds a block or a line knows whose the number is.
//! - NUM4 state, charge, account and own heap change under the lock of the entry;
//!   key and state are read without.

use core::ptr;

use super::entry_locks;
use super::heap::{HOST_ACCOUNT, Heap};
use super::ledger::LineCounts;
use super::payer::Payer;
use crate::account::Account;
use crate::engine::HOST_KEY;
use crate::error::Error;
use crate::heap::base::number::Number;
use crate::key::ExpertKey;
use crate::lock::Lock;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};

/// The standing of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// Nobody's.
    Unused = 0,
    /// An owner's, or the host's for good.
    Live = 1,
    /// Its owner has ended; its blocks are the host's.
    Adopted = 2,
    /// Its owner has ended; its blocks are to be freed.
    Dead = 3,
}

/// The record of a number. Zero-filled memory is an unused one.
pub struct Entry {
    key: AtomicUsize,
    account: AtomicPtr<Account>,
    /// The heap of the spans that the owner has to itself, once there are any.
    heap: AtomicPtr<Heap>,
    charged: AtomicUsize,
    /// Bytes of blocks that were freed by threads without a line, and not yet
    /// used again. While the entry is unused: the index of the next unused one.
    returned: AtomicUsize,
    /// Counts of threads that have no line for the number, or had.
    allocations: AtomicU64,
    frees: AtomicU64,
    /// Which threads have, or had, a line: a bit for each, by their index modulo 64.
    threads: AtomicU64,
    /// How many lines are open.
    lines: AtomicU32,
    standing: AtomicU8,
    overdraft: AtomicBool,
    /// Whether the owner's own heap has spans, which bear the number too.
    has_heap: AtomicBool,
}

/// How many bytes threads without a line may free before these go back to the
/// account.
const MOST_RETURNED: usize = 8192;

/// Which indices of a kind are unused.
pub struct UnusedIndices {
    /// The first of the list of those that were used before; 0 for none.
    pub first: usize,
    /// How many were ever used, index 0 included.
    pub made: usize,
}

/// See [`UnusedIndices`]. Of each kind; locked under the lock of an entry, or alone.
pub static UNUSED: [Lock<UnusedIndices>; 3] =
    [const { Lock::new(UnusedIndices { first: 0, made: 1 }) }; 3];

/// How many owners have ended so far that threads may have lines for. A hint.
static ENDED: AtomicUsize = AtomicUsize::new(0);

/// How many owners have ended whose numbers something still bears. A hint.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Bytes in blocks of numbers that are dead. A hint.
static DEAD_BYTES: AtomicUsize = AtomicUsize::new(0);

/// How many owners have ended so far.
pub fn ended() -> usize {
    ENDED.load(Relaxed)
}

/// How many owners have ended whose numbers something still bears.
pub fn waiting() -> usize {
    WAITING.load(Relaxed)
}

/// Bytes in blocks that only wait to be freed by a sweep, about.
pub fn dead_bytes() -> usize {
    DEAD_BYTES.load(Relaxed)
}

impl Entry {
    /// Runs `f` while nobody else changes the entry of `number` (NUM4).
    pub fn lock<T>(&self, number: Number, f: impl FnOnce() -> T) -> T {
        let _held = entry_locks::hold(number);
        f()
    }

    /// Begins to use the entry of `number` for the owner of `key`.
    pub fn begin(&self, number: Number, key: ExpertKey, account: &Account, overdraft: bool) {
        self.lock(number, || {
            self.account.store(ptr::from_ref(account).cast_mut(), Relaxed);
            self.returned.store(0, Relaxed);
            self.charged.store(0, Relaxed);
            self.allocations.store(0, Relaxed);
            self.frees.store(0, Relaxed);
            self.threads.store(0, Relaxed);
            self.overdraft.store(overdraft, Relaxed);
            self.standing.store(Standing::Live as u8, Relaxed);
            // Release: the above, to those who find the key.
            self.key.store(key.into_raw(), Release);
        });
    }

    /// While it is unused: the index of the next unused one.
    pub fn next_unused(&self) -> usize {
        self.returned.load(Relaxed)
    }

    /// The owner of the blocks; `None` if they have none (NUM1).
    pub fn key(&self) -> Option<ExpertKey> {
        // Acquire: the rest of the entry (the Release where the key is stored).
        ExpertKey::from_raw(self.key.load(Acquire))
    }

    /// Its standing.
    #[inline]
    pub fn standing(&self) -> Standing {
        match self.standing.load(Relaxed) {
            1 => Standing::Live,
            2 => Standing::Adopted,
            3 => Standing::Dead,
            _ => Standing::Unused,
        }
    }

    /// The account that its blocks are charged to. Under the lock, or by one who knows
    /// that the owner does not end.
    pub fn account(&self) -> &Account {
        // SAFETY: null, or an account that stays in place until the entry ends (the
        // contract of `Who`), under the lock.
        let account = unsafe { self.account.load(Relaxed).as_ref() };
        account.unwrap_or(&HOST_ACCOUNT)
    }

    /// Who pays for the blocks of `number`, of which this is the entry. As for
    /// [`account`](Self::account).
    pub fn payer(&self, number: Number) -> Payer<'_> {
        Payer::new(self.account(), number.kind(), self.overdraft.load(Relaxed))
    }

    /// The owner's own heap, if it has one.
    pub fn heap(&self) -> Option<&'static Heap> {
        // Acquire: the record (the Release in `heap_or_open`).
        // SAFETY: null or a heap record, which is never freed.
        unsafe { self.heap.load(Acquire).as_ref() }
    }

    /// The owner's own heap, opened if need be.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; [`Error::InvalidKey`] where the owner has ended.
    pub fn heap_or_open(&self, number: Number) -> Result<&'static Heap, Error> {
        if let Some(heap) = self.heap() {
            return Ok(heap);
        }
        self.lock(number, || {
            if let Some(heap) = self.heap() {
                return Ok(heap);
            }
            let key = self.key().filter(|_| self.standing() == Standing::Live);
            let key = key.ok_or(Error::InvalidKey)?;
            let overdraft = self.overdraft.load(Relaxed);
            let heap = Heap::open(number, key, self.account(), overdraft);
            let heap = heap.ok_or(Error::OutOfMemory)?;
            self.has_heap.store(true, Relaxed);
            // Release: the record.
            self.heap.store(ptr::from_ref(heap).cast_mut(), Release);
            Ok(heap)
        })
    }

    /// Its charge, in bytes (NUM2).
    pub fn charged(&self) -> usize {
        self.charged.load(Relaxed)
    }

    /// Notes `bytes` more, that the account was charged. Under the lock.
    pub fn add_charge(&self, bytes: usize) {
        self.charged.fetch_add(bytes, Relaxed);
    }

    /// Takes off `bytes` that the account is refunded. Under the lock.
    pub fn remove_charge(&self, bytes: usize) {
        self.charged.fetch_sub(bytes, Relaxed);
    }

    /// Counts a thread's line that is open from now on; false where the owner has ended.
    pub fn open_line(&self, number: Number, thread: usize) -> bool {
        self.lock(number, || {
            let is_live = self.standing() == Standing::Live;
            if is_live {
                self.lines.store(self.lines.load(Relaxed).wrapping_add(1), Relaxed);
                self.threads.fetch_or(1 << (thread % 64), Relaxed);
            }
            is_live
        })
    }

    /// Takes over what a thread's line says, which `close` closes, and lets go of the
    /// number where nothing bears it any more. The credit goes back to the account.
    pub fn close_line(&self, number: Number, close: impl FnOnce() -> LineCounts) {
        self.lock(number, || {
            let line = close();
            self.add(line);
            self.lines.store(self.lines.load(Relaxed).wrapping_sub(1), Relaxed);
            self.give_back(self.take_returned());
            self.let_go(number);
        });
    }

    /// Takes over the counts of an open line. Under the lock.
    pub fn add(&self, line: LineCounts) {
        self.allocations.fetch_add(u64::from(line.allocations), Relaxed);
        // Release: the allocations (the Acquire in `own_frees`).
        self.frees.fetch_add(u64::from(line.frees), Release);
        self.returned.fetch_add(line.credit, Relaxed);
    }

    /// Counts a block of `bytes` that was freed by a thread without an open line.
    pub fn count_free(&self, number: Number, bytes: usize) {
        let returned = self.returned.fetch_add(bytes, Relaxed).wrapping_add(bytes);
        // AcqRel: who counts the last one sees the frees of all others; the
        // allocation is seen by who frees.
        self.frees.fetch_add(1, AcqRel);
        if returned > MOST_RETURNED || self.standing() != Standing::Live {
            self.lock(number, || {
                // Another thread may have let go of the number in between: with its last
                // block counted nothing here is this owner's any more.
                if self.standing() != Standing::Unused {
                    self.give_back(self.take_returned());
                    self.let_go(number);
                }
            });
        }
    }

    /// Counts blocks of a dead number, of `bytes` in all, that a sweep has freed.
    pub fn count_swept(&self, number: Number, blocks: u32, bytes: usize) {
        DEAD_BYTES.fetch_sub(bytes, Relaxed);
        self.lock(number, || {
            self.frees.fetch_add(u64::from(blocks), AcqRel);
            self.let_go(number);
        });
    }

    /// Gives back `bytes` of what was charged, that no block uses. Under the lock.
    pub fn give_back(&self, bytes: usize) {
        // Once the owner has ended, credit is not charged any more. The host's charge
        // for adopted blocks is refunded with the number.
        if self.standing() == Standing::Live {
            self.account().refund(bytes);
            self.remove_charge(bytes);
        }
    }

    /// Counts a block of `bytes`, adopted with another number, as one of the host's own, of
    /// which this is the entry.
    pub fn count_passed(&self, bytes: usize) {
        self.charged.fetch_add(bytes, Relaxed);
        self.allocations.fetch_add(1, Relaxed);
    }

    /// Undoes [`count_passed`](Self::count_passed): somebody has freed the block before.
    pub fn uncount_passed(&self, bytes: usize) {
        self.charged.fetch_sub(bytes, Relaxed);
        self.allocations.fetch_sub(1, Relaxed);
    }

    /// Takes a block of `bytes`, which was adopted with this number and is one of the host's
    /// own now, off what this number counts. The host's charge for it stays.
    pub fn pass_to_host(&self, number: Number, bytes: usize) {
        self.lock(number, || {
            let charged = bytes.min(self.charged());
            self.remove_charge(charged);
            if charged < bytes {
                HOST_ACCOUNT.overdraw(bytes - charged);
            }
            self.frees.fetch_add(1, AcqRel);
            self.let_go(number);
        });
    }

    /// The bytes that threads without a line have freed and that are not used yet:
    /// from now on the caller's credit.
    pub fn take_returned(&self) -> usize {
        if self.returned.load(Relaxed) == 0 { 0 } else { self.returned.swap(0, Relaxed) }
    }

    /// What the entry itself counts, apart from lines. Frees are read first, so that
    /// with lines that are read in that order too there are never more frees than
    /// allocations.
    pub fn own_frees(&self) -> (u64, usize) {
        // Acquire: the allocations before them (the Release where they are counted).
        (self.frees.load(Acquire), self.returned.load(Relaxed))
    }

    /// See [`own_frees`](Self::own_frees).
    pub fn own_allocations(&self) -> u64 {
        self.allocations.load(Relaxed)
    }

    /// How many lines are open.
    #[cfg(feature = "testing")]
    pub fn lines(&self) -> usize {
        self.lines.load(Relaxed) as usize
    }

    /// Which threads may have a line, by their index modulo 64.
    pub fn threads(&self) -> u64 {
        self.threads.load(Relaxed)
    }

    /// Ends the owner: its blocks, of which `live` tells the bytes in use, are the host's
    /// from now on where `adopted`, or wait to be freed. Its account gets everything
    /// back, and the host is charged for what is in use. Returns the owner's own heap,
    /// which nobody finds here any more.
    pub fn end(
        &self,
        number: Number,
        adopted: bool,
        live: impl FnOnce() -> usize,
    ) -> Option<&'static Heap> {
        self.lock(number, || {
            let live = live();
            self.account().refund(self.charged.load(Relaxed));
            let standing = if adopted { Standing::Adopted } else { Standing::Dead };
            self.standing.store(standing as u8, Relaxed);
            if adopted {
                if live > 0 {
                    HOST_ACCOUNT.overdraw(live);
                }
                self.charged.store(live, Relaxed);
                self.account.store((&raw const HOST_ACCOUNT).cast_mut(), Relaxed);
                // Release: the above, to those who find the key.
                self.key.store(HOST_KEY.into_raw(), Release);
            } else {
                self.key.store(0, Release);
                DEAD_BYTES.fetch_add(live, Relaxed);
                self.charged.store(0, Relaxed);
                self.account.store(ptr::null_mut(), Relaxed);
            }
            // An exchange, not a look: a free is counted before it and seen by `let_go`, or
            // after it, and then who counts the free sees the standing (Release), and
            // lets go.
            self.frees.fetch_add(0, AcqRel);
            ENDED.fetch_add(1, Relaxed);
            WAITING.fetch_add(1, Relaxed);
            let heap = self.heap();
            self.heap.store(ptr::null_mut(), Relaxed);
            self.let_go(number);
            heap
        })
    }

    /// Notes that the owner's own heap is closed: no span of it bears the number.
    pub fn close_heap(&self, number: Number) {
        self.lock(number, || {
            self.has_heap.store(false, Relaxed);
            self.let_go(number);
        });
    }

    /// Gives the number to the next owner, if this one has ended, and no block and no
    /// line bears it any more (NUM3). Under the lock.
    fn let_go(&self, number: Number) {
        let standing = self.standing();
        let is_bare = || {
            // Acquire: the allocations that were counted before these frees.
            let frees = self.frees.load(Acquire);
            let is_free = frees == self.allocations.load(Relaxed);
            is_free && self.lines.load(Relaxed) == 0 && !self.has_heap.load(Relaxed)
        };
        if !matches!(standing, Standing::Adopted | Standing::Dead) || !is_bare() {
            return;
        }
        self.account().refund(self.charged.load(Relaxed));
        self.charged.store(0, Relaxed);
        self.account.store(ptr::null_mut(), Relaxed);
        self.key.store(0, Relaxed);
        self.standing.store(Standing::Unused as u8, Relaxed);
        WAITING.fetch_sub(1, Relaxed);
        let mut unused = UNUSED[number.kind_place()].lock();
        self.returned.store(unused.first, Relaxed);
        unused.first = number.index();
    }
}
