//! Reserves: room that is set aside for an account's children, whatever the siblings ask
//! for.
//!
//! A reserve is an account between a child and its parent. It has no limit. The parent is
//! charged from the beginning with the bytes set aside, and charges from below go on to the
//! parent only as far as they exceed that (ACCOUNT6):
//!
//! ```text
//!  parent    charged with max(charged below, set aside)
//!  reserve   charged with what is charged below
//!  child     its own quota
//! ```
//!
//! The bytes set aside are kept in the place of the quota, and do not change. So each
//! change of `charged`, which is one atomic step, tells exactly how much the accounts above
//! must be charged or refunded.

use core::ptr::NonNull;

use super::{Account, RESERVE, Refused};
use crate::sync::Ordering::Relaxed;

impl Account {
    /// As [`open`](Self::open), but for a reserve that sets `bytes` of the
    /// parent's room aside.
    ///
    /// # Errors
    ///
    /// [`Refused`] if the parent has no room for that; the account is not open then.
    ///
    /// # Safety
    ///
    /// - S1, S2 as for [`open`](Self::open).
    pub unsafe fn open_reserve(
        &self,
        bytes: usize,
        parent: NonNull<Account>,
    ) -> Result<(), Refused> {
        // SAFETY: S2.
        unsafe { parent.as_ref() }.charge(bytes)?;
        // SAFETY: S1 and S2.
        unsafe { self.open(bytes, 0, Some(parent)) };
        self.marks.fetch_or(RESERVE, Relaxed);
        Ok(())
    }

    /// Gives back the room that a reserve has set aside, when nothing is charged to it any
    /// more and nothing will be. Any other account is left alone.
    pub fn close_reserve(&self) {
        if let Some(parent) = self.parent().filter(|_| self.is_reserve()) {
            parent.refund(self.quota.load(Relaxed));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::tests::opened;
    use super::*;

    fn reserve(bytes: usize, parent: &Account) -> Option<Account> {
        let account = Account::new();
        // SAFETY: nothing is charged yet, and the tests keep parents on the stack below.
        unsafe { account.open_reserve(bytes, NonNull::from(parent)) }.ok()?;
        Some(account)
    }

    #[test]
    fn what_is_set_aside_is_nobody_elses() {
        let parent = opened(100, None);
        let aside = reserve(40, &parent).unwrap();
        let (child, other) = (opened(0, Some(&aside)), opened(0, Some(&parent)));
        assert_eq!((parent.charged(), aside.charged(), aside.quota()), (40, 0, 0));
        assert_eq!((other.charge(61), other.charge(60)), (Err(Refused), Ok(())));
        assert_eq!((child.charge(41), child.charge(30)), (Err(Refused), Ok(())));
        assert_eq!((child.has_room(10), child.has_room(11)), (true, false));
        assert_eq!((child.charged(), aside.charged(), parent.charged()), (30, 30, 100));
        other.refund(20);
        assert_eq!((child.charge(25), parent.charged()), (Ok(()), 95), "15 beyond what is aside");
        child.overdraw(50);
        assert_eq!((parent.charged(), child.is_overdrawn()), (145, true));
        child.refund(100);
        assert_eq!((child.charged(), parent.charged()), (5, 80));
        child.refund(5);
        other.refund(40);
        aside.close_reserve();
        assert_eq!((aside.charged(), parent.charged()), (0, 0));
        assert!(reserve(101, &parent).is_none() && parent.charged() == 0);
    }

    #[test]
    fn under_a_lock_the_rules_are_the_same() {
        let parent = opened(100, None);
        let aside = reserve(40, &parent).unwrap();
        let (child, other) = (opened(0, Some(&aside)), opened(0, Some(&parent)));
        assert_eq!((other.charge_locked(61), other.charge_locked(50)), (Err(Refused), Ok(())));
        assert_eq!((child.charge_locked(51), child.charge_locked(50)), (Err(Refused), Ok(())));
        assert_eq!((aside.charged(), parent.charged()), (50, 100));
        child.refund_locked(30);
        assert_eq!(parent.charged(), 90);
        assert_eq!(other.shift_locked(&child, 20), Ok(()));
        assert_eq!((child.charged(), parent.charged()), (40, 70));
        child.overdraw_locked(40);
        assert_eq!(parent.charged(), 110);
        child.refund_locked(80);
        other.refund_locked(30);
        assert_eq!(parent.charged(), 40);
    }

    /// Threads charge and refund around the amount that is set aside.
    #[test]
    fn threads_together_leave_nothing_behind() {
        let parent = opened(1000, None);
        let aside = reserve(100, &parent).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (aside, parent) = (&aside, &parent);
                scope.spawn(move || {
                    let child = opened(0, Some(if thread == 0 { parent } else { aside }));
                    for round in 0..20_000_usize {
                        let bytes = round * 7 % 60 + 1;
                        if child.charge(bytes).is_ok() {
                            assert!(parent.charged() <= 1000);
                            child.refund(bytes);
                        }
                    }
                });
            }
        });
        assert!(parent.peak() <= 1000);
        assert_eq!((aside.charged(), parent.charged()), (0, 100));
        aside.close_reserve();
        assert_eq!(parent.charged(), 0);
    }
}
