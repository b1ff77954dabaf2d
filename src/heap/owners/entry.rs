//! The record of an owner number: its *entry*.
//!
//! An expert has a number for each kind of its blocks; it gets the number when it allocates
//! the first one. The entry has the number's owner, its charge, and the counts of threads
//! that keep none themselves (see `ledger`). The kind is a part of the number, so an entry
//! is of one kind for ever.
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
//! - NUM2 `charged` is the charge of the entry's account for blocks in tagged spans. While
//!   the entry is live, this is the bytes of its blocks in use and all credit, that of
//!   lines and `returned`; once it is adopted, the bytes that were in use at that moment;
//!   once it is dead, 0.
//! - NUM3 a number is given out again only when no block and no span bears it, and no thread
//!   has an open line for it. So a thread that holds a block or a line knows the owner of
//!   the number.
//! - NUM4 state, charge, account and own heap change under the lock of the entry; key and
//!   state are also read without it.

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
    /// The number of a live owner, or of the host.
    Live = 1,
    /// Its owner has ended; its blocks are the host's.
    Adopted = 2,
    /// Its owner has ended, and its blocks must be freed.
    Dead = 3,
}

/// The record of a number. Zero-filled memory is an unused entry.
pub struct Entry {
    key: AtomicUsize,
    account: AtomicPtr<Account>,
    /// The heap of the spans that the owner has to itself, once there are any.
    heap: AtomicPtr<Heap>,
    charged: AtomicUsize,
    /// Bytes of blocks that threads without a line have freed, and that are not yet used
    /// again. While the entry is unused: the index of the next unused one.
    returned: AtomicUsize,
    /// Counts of threads without a line for the number, and of closed lines.
    allocations: AtomicU64,
    frees: AtomicU64,
    /// The threads that have, or had, a line: a bit for each, by their index modulo 64.
    threads: AtomicU64,
    /// How many lines are open.
    lines: AtomicU32,
    standing: AtomicU8,
    overdraft: AtomicBool,
    /// Whether the owner's own heap has spans, which bear the number too.
    has_heap: AtomicBool,
}

/// How many bytes freed by threads without a line are kept before they go back to the
/// account.
const MOST_RETURNED: usize = 8192;

/// The unused indices of a kind.
pub struct UnusedIndices {
    /// The first of the list of those that were used before; 0 for none.
    pub first: usize,
    /// How many were used so far, including index 0.
    pub made: usize,
}

/// See [`UnusedIndices`]. The unused indices of each kind; this lock is taken under the
/// lock of an entry, or alone.
pub static UNUSED: [Lock<UnusedIndices>; 3] =
    [const { Lock::new(UnusedIndices { first: 0, made: 1 }) }; 3];

/// How many owners for which threads may have lines have ended so far. A hint.
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
    /// Runs `f` while no other thread changes the entry of `number` (NUM4).
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
            // Release: the above (the Acquire in `key`).
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
        // Acquire: what the owner wrote to its blocks before it ended (the Release in `end`),
        // to a sweep that frees them.
        match self.standing.load(Acquire) {
            1 => Standing::Live,
            2 => Standing::Adopted,
            3 => Standing::Dead,
            _ => Standing::Unused,
        }
    }

    /// The account that its blocks are charged to. The caller holds the lock, or knows that
    /// the owner does not end.
    pub fn account(&self) -> &Account {
        // SAFETY: null, or an account that stays in place until the entry ends (the
        // contract of `Who`), under the lock.
        let account = unsafe { self.account.load(Relaxed).as_ref() };
        account.unwrap_or(&HOST_ACCOUNT)
    }

    /// The payer for the blocks of `number`, whose entry this is. As for
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
    /// [`Error::OutOfMemory`]; [`Error::InvalidKey`] if the owner has ended.
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

    /// Notes that the account was charged `bytes` more. Under the lock.
    pub fn add_charge(&self, bytes: usize) {
        self.charged.fetch_add(bytes, Relaxed);
    }

    /// Notes that the account is refunded `bytes`. Under the lock.
    pub fn remove_charge(&self, bytes: usize) {
        self.charged.fetch_sub(bytes, Relaxed);
    }

    /// Counts a thread's line that is open from now on; false if the owner has ended.
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

    /// Takes over the counts of a thread's line, which `close` closes, and releases the
    /// number if nothing bears it any more. The credit goes back to the account.
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
        // AcqRel: the thread that counts the last free sees the frees of all others, and a
        // thread that frees sees the allocation.
        self.frees.fetch_add(1, AcqRel);
        crate::sync::delay(crate::sync::Window::CountFree);
        if returned > MOST_RETURNED || self.standing() != Standing::Live {
            self.lock(number, || {
                // Another thread may have released the number in between: when its last
                // block is counted, the entry is no longer this owner's.
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

    /// Gives back `bytes` of the charge that no block uses. Under the lock.
    pub fn give_back(&self, bytes: usize) {
        // After the end of the owner, credit is no longer charged. The host's charge for
        // adopted blocks is refunded when the number is released.
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

    /// Undoes [`count_passed`](Self::count_passed), because another thread has freed the
    /// block before.
    pub fn uncount_passed(&self, bytes: usize) {
        self.charged.fetch_sub(bytes, Relaxed);
        self.allocations.fetch_sub(1, Relaxed);
    }

    /// Removes a block of `bytes` from the counts of this number; it was adopted with the
    /// number and now has the host's own. The host stays charged for it.
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

    /// The counts of the entry itself, without lines. Frees are read first. Lines are read
    /// in that order, too, so there are never more frees than allocations.
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

    /// The threads that may have a line, by their index modulo 64.
    pub fn threads(&self) -> u64 {
        self.threads.load(Relaxed)
    }

    /// Ends the owner. If `adopted`, its blocks are the host's from now on; otherwise they
    /// wait to be freed. `live` returns their bytes in use. Its account gets everything
    /// back, and the host is charged for what is in use. Returns the owner's own heap,
    /// which is no longer found here.
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
            // Release: the owner's last writes to its blocks.
            self.standing.store(standing as u8, Release);
            if adopted {
                if live > 0 {
                    HOST_ACCOUNT.overdraw(live);
                }
                self.charged.store(live, Relaxed);
                self.account.store((&raw const HOST_ACCOUNT).cast_mut(), Relaxed);
                // Release: the above (the Acquire in `key`).
                self.key.store(HOST_KEY.into_raw(), Release);
            } else {
                self.key.store(0, Release);
                DEAD_BYTES.fetch_add(live, Relaxed);
                self.charged.store(0, Relaxed);
                self.account.store(ptr::null_mut(), Relaxed);
            }
            // This is an exchange, not a load. If a free is counted before it, `let_go`
            // sees the free; if it is counted afterwards, the thread that counts it sees
            // the standing (Release), and releases the number.
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
