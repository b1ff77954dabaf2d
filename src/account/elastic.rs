//! Limits that change while an account is charged.

use super::{Account, LOWERED, MARKED, OVERDRAWN, Refused, none_if_zero};
use crate::sync::Ordering::{Acquire, Relaxed};

impl Account {
    /// Sets the hard limit in bytes; 0 for none. Existing charges stay, even beyond the new
    /// quota, and the next charge is compared with it.
    pub fn set_quota(&self, bytes: usize) {
        let quota = none_if_zero(bytes);
        // The mark comes before the lower quota (ACCOUNT5), because `charge_again_locked`
        // trusts the peak of an unmarked account.
        if quota < self.quota.load(Relaxed) {
            self.marks.fetch_or(LOWERED, Relaxed);
        }
        self.quota.store(quota, Relaxed);
    }

    /// Moves `bytes` of the quota to that of `to`.
    ///
    /// # Errors
    ///
    /// [`Refused`] if too much of the quota is in use, or if no quota would be left.
    pub fn give_room(&self, to: &Self, bytes: usize) -> Result<(), Refused> {
        let quota = self.quota.load(Relaxed);
        let left = quota.checked_sub(bytes).filter(|&left| left != 0 && quota != usize::MAX);
        let left = left.ok_or(Refused)?;
        // The mark comes first (ACCOUNT5), as in `set_quota`.
        self.marks.fetch_or(LOWERED, Relaxed);
        self.quota.compare_exchange(quota, left, Relaxed, Relaxed).map_err(|_| Refused)?;
        // Bytes that are charged cannot be given away. A charge that the old quota has just
        // granted may not be visible here, and may go beyond the new one.
        if self.charged() > left {
            self.quota.fetch_add(bytes, Relaxed);
            return Err(Refused);
        }
        let grown = |quota: usize| (quota != usize::MAX).then(|| quota.saturating_add(bytes));
        to.quota.fetch_update(Relaxed, Relaxed, grown).ok();
        Ok(())
    }

    /// Sets the soft limit in bytes; 0 for none.
    pub fn set_soft_quota(&self, bytes: usize) {
        self.soft_quota.store(none_if_zero(bytes), Relaxed);
    }

    /// Removes the mark that memory beyond the quota was granted, if all charges here and
    /// above are within the quotas again. Returns whether the account is without that mark
    /// now.
    pub fn forgive(&self) -> bool {
        if !self.is_overdrawn() {
            return true;
        }
        if !self.chain().all(Self::is_within) {
            return false;
        }
        let unmark = |marks: usize| {
            let left = marks & !(OVERDRAWN & !MARKED);
            Some(if left == MARKED { 0 } else { left })
        };
        // Acquire: the charge of the overdraft whose mark is removed here (the Release in
        // `overdraw`).
        self.marks.fetch_update(Acquire, Relaxed, unmark).ok();
        // Another overdraft may have come between the check and the change.
        if !self.chain().all(Self::is_within) {
            self.marks.fetch_or(OVERDRAWN, Relaxed);
            return false;
        }
        true
    }

    fn is_within(&self) -> bool {
        self.is_reserve() || self.charged.load(Relaxed) <= self.quota.load(Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::tests::opened;
    use super::*;

    #[test]
    fn a_quota_may_change_while_it_is_used() {
        let account = opened(100, None);
        assert_eq!(account.charge_locked(80), Ok(()));
        account.refund_locked(60);
        account.set_quota(50);
        assert!(account.is_open());
        assert_eq!(account.charge_again_locked(40), Err(Refused), "though 80 were granted once");
        assert_eq!((account.charge_locked(31), account.charge(31)), (Err(Refused), Err(Refused)));
        assert_eq!(account.charge(30), Ok(()));
        account.set_quota(10);
        assert_eq!((account.charged(), account.charge(1)), (50, Err(Refused)));
        account.set_quota(0);
        assert_eq!((account.quota(), account.charge(1000)), (0, Ok(())));
        account.refund(1050);
    }

    #[test]
    fn an_overdraft_is_forgiven_once_it_is_covered() {
        let parent = opened(100, None);
        let child = opened(20, Some(&parent));
        child.overdraw(110);
        child.set_quota(200);
        assert!(!child.forgive() && !child.is_open(), "the parent's is not covered");
        parent.set_quota(200);
        assert!(child.forgive() && child.is_open());
        child.refund(110);
        child.seal();
        assert!(child.forgive() && !child.is_open(), "told to stop is told to stop");
    }
}
