//! Accounts: how many bytes an expert has been charged, and how many it may be.
//!
//! An account counts; it knows neither who the expert is nor where its memory
//! lies. Charges go up the chain of parents, so a child never escapes its
//! parent's quota.
//!
//! Invariants
//!
//! - A1 `charged <= quota` except for what [`overdraw`](Account::overdraw)
//!   granted.
//! - A2 an account's `charged` is the sum of what was charged to it and its
//!   children and not yet refunded.
//! - A3 the parent is set before the account is first charged and does not
//!   change while anything is charged; it outlives its children.
//! - A4 the marks are sticky until the account is opened again; `INHERITS` is
//!   set iff there is a parent; `MARKED` is set iff any mark is.

use core::ptr::NonNull;

use crate::sync::{AtomicPtr, AtomicUsize, Half, Ordering::Relaxed};

/// A bit of every mark: see [`marks`](Account::marks).
const MARKED: usize = 1 << Half::BITS;
/// Mark: memory beyond the quota had to be granted.
const OVERDRAWN: usize = MARKED | 1;
/// Mark: the account may not be charged any more.
const SEALED: usize = MARKED | 2;
/// Mark: there is a parent whose marks count here too.
const INHERITS: usize = MARKED | 4;

/// In the address of an account's parent: the account is a parent itself, or was.
const IS_PARENT: usize = 1;

/// No room: the quota of this account, or of a parent, would be passed.
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
    /// One word, so that [`is_open`](Account::is_open) is one load for most.
    marks: AtomicUsize,
    /// With [`IS_PARENT`] in its address.
    parent: AtomicPtr<Account>,
}

/// An account without quota or parent: an expression, because the model
/// checker's atomics are not made in constants.
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
        self.quota.store(max_if_none(quota), Relaxed);
        self.soft_quota.store(max_if_none(soft_quota), Relaxed);
        if let Some(parent) = parent {
            // SAFETY: S2.
            unsafe { parent.as_ref() }.set_parent();
        }
        let parent = parent.map_or(core::ptr::null_mut(), NonNull::as_ptr);
        self.parent.store(parent, Relaxed);
    }

    /// Changes the hard limit, in bytes; 0 for none. What is charged already
    /// stays: below it, further charges are refused until enough is refunded.
    #[cfg(feature = "capi")]
    pub fn set_quota(&self, bytes: usize) {
        self.quota.store(max_if_none(bytes), Relaxed);
    }

    /// Changes the soft limit, in bytes; 0 for none.
    #[cfg(feature = "capi")]
    pub fn set_soft_quota(&self, bytes: usize) {
        self.soft_quota.store(max_if_none(bytes), Relaxed);
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
        let marks = self.marks.load(Relaxed);
        marks == 0 || (marks == INHERITS && self.are_parents_open())
    }

    /// A word that is 0 while the account is open and has no parent, and
    /// otherwise differs from 0 in the lowest bit of its upper half. There a
    /// key has the lowest bit of its generation, which is 1 in all valid keys:
    /// a key xor this word is no valid key then, and two questions are one.
    #[inline(always)]
    pub fn marks(&self) -> usize {
        self.marks.load(Relaxed)
    }

    /// Whether nothing limits what may be charged, here or above.
    pub fn is_unlimited(&self) -> bool {
        self.quota.load(Relaxed) == usize::MAX && self.parent().is_none()
    }

    /// The parent that charges go up to.
    pub fn parent(&self) -> Option<&Account> {
        let parent = self.parent.load(Relaxed).map_addr(|address| address & !IS_PARENT);
        // SAFETY: S2 of `open` keeps every parent in place.
        unsafe { parent.as_ref() }
    }

    /// Whether the account has a parent, or is one, or was since it was opened.
    pub fn is_related(&self) -> bool {
        !self.parent.load(Relaxed).is_null()
    }

    fn set_parent(&self) {
        let marked = |parent: *mut Self| Some(parent.map_addr(|address| address | IS_PARENT));
        self.parent.fetch_update(Relaxed, Relaxed, marked).ok();
    }

    /// Refuses every further charge, here and of children, until the account
    /// is opened again. What was charged stays; [`overdraw`](Self::overdraw)
    /// still grants.
    pub fn seal(&self) {
        self.marks.fetch_or(SEALED, Relaxed);
    }

    /// Charges `bytes` here and to every parent, or nothing anywhere.
    /// The refusal is not counted: the caller may find the memory elsewhere
    /// (see [`count_refusal`](Self::count_refusal)).
    ///
    /// # Errors
    ///
    /// [`Refused`] where a quota in the chain has no room.
    pub fn charge(&self, bytes: usize) -> Result<(), Refused> {
        // Asked first, so that what a parent refuses is not in the peaks below it
        // (but where another charge comes in between).
        if self.is_marked(INHERITS) && !self.has_room(bytes) {
            return Err(Refused);
        }
        for (depth, account) in self.chain().enumerate() {
            if account.charge_alone(bytes).is_err() {
                self.chain().take(depth).for_each(|charged| charged.refund_alone(bytes));
                return Err(Refused);
            }
        }
        Ok(())
    }

    /// Charges `bytes` here and to every parent even beyond a quota, and marks
    /// the account as overdrawn.
    pub fn overdraw(&self, bytes: usize) {
        self.marks.fetch_or(OVERDRAWN, Relaxed);
        for account in self.chain() {
            let before = account.charged.fetch_add(bytes, Relaxed);
            account.peak.fetch_max(before.saturating_add(bytes), Relaxed);
        }
    }

    /// Gives back `bytes` that were charged here and to every parent.
    pub fn refund(&self, bytes: usize) {
        self.chain().for_each(|account| account.refund_alone(bytes));
    }

    /// As [`charge`](Self::charge), for an engine that changes the accounts of
    /// a heap under one lock only: needs no atomic read-modify-write, which
    /// some targets do not have and others are slow at.
    ///
    /// # Errors
    ///
    /// [`Refused`] where a quota in the chain has no room.
    pub fn charge_locked(&self, bytes: usize) -> Result<(), Refused> {
        if self.charge_again_locked(bytes).is_ok() {
            Ok(())
        } else if self.has_room(bytes) {
            self.add_locked(bytes);
            Ok(())
        } else {
            Err(Refused)
        }
    }

    /// As [`charge_locked`](Self::charge_locked), where it takes no look at
    /// the quota: what was granted once is within it, unless the account was
    /// overdrawn, which is marked.
    ///
    /// # Errors
    ///
    /// [`Refused`] where a look has to be taken, too.
    #[inline]
    pub fn charge_again_locked(&self, bytes: usize) -> Result<(), Refused> {
        let sum = self.charged.load(Relaxed).wrapping_add(bytes);
        if sum < bytes || sum > self.peak.load(Relaxed) || self.marks.load(Relaxed) != 0 {
            return Err(Refused);
        }
        self.charged.store(sum, Relaxed);
        Ok(())
    }

    /// As [`charge_locked`](Self::charge_locked), for an account that has
    /// neither quota nor parent.
    #[inline]
    pub fn charge_unlimited_locked(&self, bytes: usize) {
        let sum = self.charged.load(Relaxed).wrapping_add(bytes);
        self.charged.store(sum, Relaxed);
        if sum > self.peak.load(Relaxed) {
            self.peak.store(sum, Relaxed);
        }
    }

    /// Whether a charge of `bytes` would be granted now.
    #[inline]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.chain().all(|account| account.has_room_alone(bytes))
    }

    /// As [`overdraw`](Self::overdraw), under the lock of
    /// [`charge_locked`](Self::charge_locked).
    pub fn overdraw_locked(&self, bytes: usize) {
        self.marks.fetch_or(OVERDRAWN, Relaxed);
        self.add_locked(bytes);
    }

    /// As [`refund`](Self::refund), under the lock of
    /// [`charge_locked`](Self::charge_locked).
    #[inline]
    pub fn refund_locked(&self, bytes: usize) {
        self.refund_alone_locked(bytes);
        if self.is_marked(INHERITS) {
            self.chain().skip(1).for_each(|account| account.refund_alone_locked(bytes));
        }
    }

    /// As [`refund_locked`](Self::refund_locked), for an account that has no
    /// parent.
    #[inline]
    pub fn refund_unlimited_locked(&self, bytes: usize) {
        self.refund_alone_locked(bytes);
    }

    #[inline]
    fn refund_alone_locked(&self, bytes: usize) {
        let before = self.charged.load(Relaxed);
        debug_assert!(before >= bytes, "A2: refunded {bytes} of {before} bytes charged");
        self.charged.store(before.wrapping_sub(bytes), Relaxed);
    }

    /// Moves a charge of `bytes` to the account `to`, under the lock of
    /// [`charge_locked`](Self::charge_locked). A parent of both is not asked
    /// for room that it has already given.
    ///
    /// # Errors
    ///
    /// [`Refused`] where `to`, or a parent of it, has no room; nothing has
    /// moved then.
    pub fn shift_locked(&self, to: &Self, bytes: usize) -> Result<(), Refused> {
        self.refund_locked(bytes);
        let charged = to.charge_locked(bytes);
        if charged.is_err() {
            self.add_locked(bytes);
        }
        charged
    }

    #[inline]
    fn has_room_alone(&self, bytes: usize) -> bool {
        let sum = self.charged.load(Relaxed).checked_add(bytes);
        let fits = sum.is_some_and(|sum| sum <= self.quota.load(Relaxed));
        fits && !self.is_sealed()
    }

    #[inline]
    fn add_locked(&self, bytes: usize) {
        for account in self.chain() {
            let sum = account.charged.load(Relaxed).wrapping_add(bytes);
            account.charged.store(sum, Relaxed);
            if sum > account.peak.load(Relaxed) {
                account.peak.store(sum, Relaxed);
            }
        }
    }

    /// Notes that a request failed for want of quota.
    pub fn count_refusal(&self) {
        self.refusals.fetch_add(1, Relaxed);
    }

    /// This account, its parent, and so on up.
    fn chain(&self) -> impl Iterator<Item = &Account> {
        core::iter::successors(Some(self), |account| account.parent())
    }

    /// Whether what is charged to one of the two counts against a quota of the
    /// other: they are the same, have a parent in common, or one is the other's.
    #[cfg(feature = "std")]
    pub fn shares_with(&self, other: &Account) -> bool {
        self.chain().any(|account| other.chain().any(|its| core::ptr::eq(account, its)))
    }

    /// Whether a parent is sealed or overdrawn.
    pub fn is_parent_stopped(&self) -> bool {
        self.chain().skip(1).any(|account| account.is_overdrawn() || account.is_sealed())
    }

    #[cold]
    fn are_parents_open(&self) -> bool {
        self.chain().all(|account| !account.is_overdrawn() && !account.is_sealed())
    }

    #[inline]
    fn is_marked(&self, mark: usize) -> bool {
        self.marks.load(Relaxed) & mark & !MARKED != 0
    }

    fn charge_alone(&self, bytes: usize) -> Result<(), Refused> {
        if self.is_sealed() {
            return Err(Refused);
        }
        let quota = self.quota.load(Relaxed);
        let add = |charged: usize| charged.checked_add(bytes).filter(|&sum| sum <= quota);
        let before = self.charged.fetch_update(Relaxed, Relaxed, add).map_err(|_| Refused)?;
        self.peak.fetch_max(before + bytes, Relaxed);
        Ok(())
    }

    fn refund_alone(&self, bytes: usize) {
        let before = self.charged.fetch_sub(bytes, Relaxed);
        debug_assert!(before >= bytes, "A2: refunded {bytes} of {before} bytes charged");
    }
}

fn max_if_none(bytes: usize) -> usize {
    if bytes == 0 { usize::MAX } else { bytes }
}

fn zero_if_none(limit: usize) -> usize {
    if limit == usize::MAX { 0 } else { limit }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn opened(quota: usize, parent: Option<&Account>) -> Account {
        let account = Account::new();
        // SAFETY: nothing is charged yet, and the tests keep parents on the stack below.
        unsafe { account.open(quota, 0, parent.map(NonNull::from)) };
        account
    }

    #[test]
    fn never_passes_the_quota() {
        let account = opened(100, None);
        assert_eq!(account.charge(60), Ok(()));
        assert_eq!(account.charge(41), Err(Refused));
        assert_eq!(account.charge(usize::MAX), Err(Refused));
        assert_eq!(account.charge(40), Ok(()));
        account.refund(100);
        assert_eq!((account.charged(), account.peak()), (0, 100));
    }

    #[test]
    fn a_refusal_by_a_parent_leaves_no_charge_below() {
        let parent = opened(100, None);
        let child = opened(0, Some(&parent));
        assert_eq!(child.charge(80), Ok(()));
        assert_eq!(child.charge(80), Err(Refused));
        assert_eq!((child.charged(), parent.charged()), (80, 80));
        assert_eq!((child.peak(), parent.peak()), (80, 80));
        child.refund(80);
        assert_eq!((child.charged(), parent.charged()), (0, 0));
    }

    #[test]
    fn under_a_lock_the_rules_are_the_same() {
        let parent = opened(100, None);
        let (one, other) = (opened(0, Some(&parent)), opened(90, Some(&parent)));
        assert_eq!(one.charge_locked(100), Ok(()));
        assert_eq!(other.charge_locked(1), Err(Refused));
        assert_eq!(one.charge_locked(usize::MAX), Err(Refused));
        assert_eq!(one.shift_locked(&other, 90), Ok(()));
        assert_eq!(one.shift_locked(&other, 1), Err(Refused));
        assert_eq!((one.charged(), other.charged(), parent.charged()), (10, 90, 100));
        other.overdraw_locked(5);
        assert!(other.is_overdrawn() && !one.is_overdrawn());
        assert_eq!((other.peak(), parent.peak()), (95, 105));
        other.refund_locked(95);
        one.refund_locked(10);
        assert_eq!(parent.charged(), 0);
    }

    #[test]
    fn an_overdraft_is_charged_and_marked() {
        let account = opened(10, None);
        account.overdraw(30);
        assert!(account.is_overdrawn());
        assert_eq!(account.charged(), 30);
        account.refund(30);
    }

    #[test]
    fn a_sealed_account_refuses_for_its_children_too() {
        let parent = opened(0, None);
        let child = opened(0, Some(&parent));
        assert_eq!(child.charge(8), Ok(()));
        parent.seal();
        assert_eq!((child.is_open(), child.is_sealed()), (false, false));
        assert_eq!((child.charge(8), parent.charge(8)), (Err(Refused), Err(Refused)));
        child.refund(8);
        assert_eq!((child.charged(), parent.charged()), (0, 0));
    }

    #[test]
    fn threads_together_never_overshoot() {
        let account = opened(1000, None);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        if account.charge(7).is_ok() {
                            assert!(account.charged() <= 1000);
                            account.refund(7);
                        }
                    }
                });
            }
        });
        assert!(account.peak() <= 1000);
        assert_eq!(account.charged(), 0);
    }
}
