//! Accounts: the bytes that an expert is charged, and their limits.
//!
//! An account counts; it knows neither the expert nor the addresses of its memory.
//! Charges go up the chain of parents, so a child never escapes its
//! parent's quota.
//!
//! ```text
//!  here      what an account is: figures, marks, parents
//!  charge    charging and refunding, by any thread
//!  locked    the same under one lock, without atomic read-modify-writes
//!  reserve   room that is set aside      elastic   quotas that change
//! ```
//!
//! Invariants
//!
//! - ACCOUNT1 `charged <= quota` except for what [`overdraw`](Account::overdraw)
//!   granted.
//! - ACCOUNT2 an account's `charged` is the sum of what was charged to it and its children
//!   and not yet refunded (for a reserve below it, see ACCOUNT6).
//! - ACCOUNT3 the parent is set before the account is first charged and does not
//!   change while anything is charged; it outlives its children.
//! - ACCOUNT4 the marks are sticky until the account is opened again, except
//!   `OVERDRAWN`, which [`forgive`](Account::forgive) takes off; `INHERITS` is set
//!   iff there is a parent; `MARKED` is set iff any mark is.
//! - ACCOUNT5 `peak` is at most `quota`, or the account is marked.
//! - ACCOUNT6 an account has charged the accounts above with its own charge; a reserve (see
//!   `reserve.rs`) has charged them with its own charge or with the bytes that it sets
//!   aside, whichever is more.

mod charge;
mod elastic;
mod locked;
mod reserve;

use core::ptr::NonNull;

use crate::sync::{AtomicPtr, AtomicUsize, Half, Ordering::Relaxed, Ordering::SeqCst};

/// A bit that is set with every mark: see [`marks`](Account::marks).
const MARKED: usize = 1 << Half::BITS;
/// Mark: memory beyond the quota had to be granted.
const OVERDRAWN: usize = MARKED | 1;
/// Mark: the account may not be charged any more.
const SEALED: usize = MARKED | 2;
/// Mark: there is a parent, whose marks count here, too.
const INHERITS: usize = MARKED | 4;
/// Mark: the quota was lowered, so earlier grants may be beyond it.
const LOWERED: usize = MARKED | 8;
/// Mark: the account sets room aside for its children.
const RESERVE: usize = MARKED | 16;

/// In the address of an account's parent: the account is a parent itself, or was.
const IS_PARENT: usize = 1;

/// No room: the charge would pass the quota of this account or of a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The bytes charged to one expert, against its quota and its parents'.
///
/// All counters are `Relaxed`: each is exact by itself (one atomic
/// read-modify-write per change), and none publishes memory.
#[derive(Debug)]
pub struct Account {
    charged: AtomicUsize,
    peak: AtomicUsize,
    /// `usize::MAX` for none.
    quota: AtomicUsize,
    /// `usize::MAX` for none.
    soft_quota: AtomicUsize,
    refusals: AtomicUsize,
    /// One word, so [`is_open`](Account::is_open) is one load for most accounts.
    marks: AtomicUsize,
    /// With [`IS_PARENT`] in its address.
    parent: AtomicPtr<Account>,
    /// The last of the chain of parents; null where there is no parent.
    top: AtomicPtr<Account>,
}

/// An account without quota or parent. It is an expression, because the model checker's
/// atomics cannot be made in constants.
macro_rules! fresh {
    () => {
        Self {
            charged: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            quota: AtomicUsize::new(usize::MAX),
            soft_quota: AtomicUsize::new(usize::MAX),
            refusals: AtomicUsize::new(0),
            marks: AtomicUsize::new(0),
            parent: AtomicPtr::new(core::ptr::null_mut()),
            top: AtomicPtr::new(core::ptr::null_mut()),
        }
    };
}

impl Account {
    /// An account without quota or parent.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        fresh!()
    }

    /// An account without quota or parent.
    #[cfg(loom)]
    pub fn new() -> Self {
        fresh!()
    }

    /// Starts the account afresh for a new expert. A quota of 0 means none.
    ///
    /// # Safety
    ///
    /// - S1 nothing is charged to the account.
    /// - S2 `parent` stays where it is, and an account, for as long as this
    ///   account can be charged.
    pub unsafe fn open(&self, quota: usize, soft_quota: usize, parent: Option<NonNull<Account>>) {
        self.peak.store(0, Relaxed);
        self.refusals.store(0, Relaxed);
        self.marks.store(if parent.is_some() { INHERITS } else { 0 }, Relaxed);
        self.quota.store(none_if_zero(quota), Relaxed);
        self.soft_quota.store(none_if_zero(soft_quota), Relaxed);
        if let Some(parent) = parent {
            // SAFETY: S2.
            let parent = unsafe { parent.as_ref() };
            parent.set_parent();
            self.top.store(parent.top().cast_mut(), Relaxed);
        } else {
            self.top.store(core::ptr::null_mut(), Relaxed);
        }
        let parent = parent.map_or(core::ptr::null_mut(), NonNull::as_ptr);
        self.parent.store(parent, Relaxed);
    }

    /// Bytes charged now.
    pub fn charged(&self) -> usize {
        self.charged.load(Relaxed)
    }

    /// The most bytes ever charged at once.
    pub fn peak(&self) -> usize {
        self.peak.load(Relaxed)
    }

    /// The hard limit in bytes; 0 for none.
    pub fn quota(&self) -> usize {
        if self.is_reserve() {
            return 0;
        }
        zero_if_none(self.quota.load(Relaxed))
    }

    /// The soft limit in bytes; 0 for none.
    pub fn soft_quota(&self) -> usize {
        zero_if_none(self.soft_quota.load(Relaxed))
    }

    /// How many requests of this account were refused.
    pub fn refusals(&self) -> usize {
        self.refusals.load(Relaxed)
    }

    /// Whether memory beyond the quota had to be granted.
    pub fn is_overdrawn(&self) -> bool {
        self.is_marked(OVERDRAWN)
    }

    /// Whether this account itself was sealed.
    pub fn is_sealed(&self) -> bool {
        self.is_marked(SEALED)
    }

    /// Whether neither this account nor a parent is sealed or overdrawn.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.marks.load(Relaxed) == 0 || self.is_chain_open()
    }

    /// A word that is 0 while the account is open and has no parent, and
    /// otherwise differs from 0 in the lowest bit of its upper half. There a
    /// key has the lowest bit of its generation, which is 1 in all valid keys. So a key
    /// xor this word is no valid key then, and one test answers both questions.
    #[inline(always)]
    pub fn marks(&self) -> usize {
        self.marks.load(Relaxed)
    }

    /// Whether nothing limits what may be charged, here or above.
    pub fn is_unlimited(&self) -> bool {
        self.quota.load(Relaxed) == usize::MAX && self.parent().is_none()
    }

    /// The parent, which charges go up to.
    pub fn parent(&self) -> Option<&Account> {
        let parent = self.parent.load(Relaxed).map_addr(|address| address & !IS_PARENT);
        // SAFETY: S2 of `open` keeps every parent in place.
        unsafe { parent.as_ref() }
    }

    /// Whether the account has a parent, or has been a parent since it was opened.
    pub fn is_related(&self) -> bool {
        !self.parent.load(Relaxed).is_null()
    }

    /// Whether the account has been a parent since it was opened.
    pub fn is_parent(&self) -> bool {
        self.parent.load(Relaxed).addr() & IS_PARENT != 0
    }

    fn set_parent(&self) {
        let marked = |parent: *mut Self| Some(parent.map_addr(|address| address | IS_PARENT));
        self.parent.fetch_update(Relaxed, Relaxed, marked).ok();
    }

    /// Refuses every further charge, here and of children, until the account is opened
    /// again. Charges stay; [`overdraw`](Self::overdraw) still grants. Returns whether it
    /// was not sealed before.
    pub fn seal(&self) -> bool {
        // Sequentially consistent: a caller that afterwards looks for tasks to wake finds
        // every task that may have read the old marks (WAITING1).
        self.marks.fetch_or(SEALED, SeqCst) & SEALED & !MARKED == 0
    }

    /// Notes that a request failed for want of quota.
    pub fn count_refusal(&self) {
        self.refusals.fetch_add(1, Relaxed);
    }

    /// This account, its parent, and so on up the chain.
    fn chain(&self) -> impl Iterator<Item = &Account> {
        core::iter::successors(Some(self), |account| account.parent())
    }

    /// Whether the two accounts share a quota: they are the same, have a parent in common,
    /// or one is the parent of the other.
    #[cfg(feature = "std")]
    pub fn shares_with(&self, other: &Account) -> bool {
        // A common parent has the same parents above it on either way up.
        core::ptr::eq(self.top(), other.top())
    }

    /// The last of the chain of parents, or the account itself.
    fn top(&self) -> *const Self {
        let top = self.top.load(Relaxed).cast_const();
        if top.is_null() { self } else { top }
    }

    /// Whether a parent is sealed or overdrawn.
    pub fn is_parent_stopped(&self) -> bool {
        self.chain().skip(1).any(|account| account.is_overdrawn() || account.is_sealed())
    }

    #[cold]
    fn is_chain_open(&self) -> bool {
        self.chain().all(|account| !account.is_overdrawn() && !account.is_sealed())
    }

    #[inline]
    fn is_reserve(&self) -> bool {
        self.is_marked(RESERVE)
    }

    #[inline]
    fn is_marked(&self, mark: usize) -> bool {
        self.marks.load(Relaxed) & mark & !MARKED != 0
    }
}

fn none_if_zero(bytes: usize) -> usize {
    if bytes == 0 { usize::MAX } else { bytes }
}

fn zero_if_none(limit: usize) -> usize {
    if limit == usize::MAX { 0 } else { limit }
}

#[cfg(all(test, not(loom)))]
#[path = "../../tests/inside/account.rs"]
mod tests;
