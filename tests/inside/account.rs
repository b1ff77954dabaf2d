//! Tests of accounts.

use super::*;

pub(super) fn opened(quota: usize, parent: Option<&Account>) -> Account {
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
