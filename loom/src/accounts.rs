//! Accounts: charges up a chain of parents, never beyond a quota.

use core::ptr::NonNull;

use loom::sync::Arc;
use loom::thread;

use crate::account::Account;

/// A parent of 100 bytes with two children of 80.
struct Family {
    children: [Account; 2],
    parent: Account,
}

impl Family {
    fn new() -> Arc<Self> {
        let family =
            Arc::new(Self { children: [Account::new(), Account::new()], parent: Account::new() });
        // SAFETY: nothing is charged; there is no parent.
        unsafe { family.parent.open(100, 0, None) };
        for child in &family.children {
            // SAFETY: nothing is charged; the parent lives as long as the child.
            unsafe { child.open(80, 0, Some(NonNull::from(&family.parent))) };
        }
        family
    }
}

#[test]
fn children_together_never_pass_their_parents_quota() {
    loom::model(|| {
        let family = Family::new();
        let there = Arc::clone(&family);
        let other = thread::spawn(move || {
            let is_charged = there.children[1].charge(60).is_ok();
            assert!(there.parent.charged() <= 100);
            if is_charged {
                there.children[1].refund(60);
            }
        });
        let is_charged = family.children[0].charge(60).is_ok();
        assert!(family.parent.charged() <= 100);
        if is_charged {
            family.children[0].refund(60);
        }
        other.join().unwrap();
        let left = [&family.parent, &family.children[0], &family.children[1]];
        assert!(left.iter().all(|account| account.charged() == 0), "ACCOUNT2");
        assert!(family.parent.peak() <= 100);
    });
}

/// A refusal by a parent takes back nothing that another thread has charged.
#[test]
fn a_refusal_leaves_what_others_charged() {
    loom::model(|| {
        let family = Family::new();
        let there = Arc::clone(&family);
        let other = thread::spawn(move || there.children[0].charge(50).is_ok());
        let mine = family.children[0].charge(30).is_ok();
        let theirs = other.join().unwrap();
        let expected = 50 * usize::from(theirs) + 30 * usize::from(mine);
        assert!(mine && theirs, "there is room for both");
        assert_eq!((family.children[0].charged(), family.parent.charged()), (expected, expected));
        family.children[0].refund(expected);
    });
}

/// An account is sealed before or after a charge, and no charge is left half done.
#[test]
fn a_seal_refuses_whole_charges() {
    loom::model(|| {
        let family = Family::new();
        let there = Arc::clone(&family);
        let other = thread::spawn(move || there.parent.seal());
        let is_charged = family.children[0].charge(40).is_ok();
        let expected = 40 * usize::from(is_charged);
        assert_eq!((family.children[0].charged(), family.parent.charged()), (expected, expected));
        other.join().unwrap();
        assert!(family.children[1].charge(1).is_err());
        family.children[0].refund(expected);
    });
}

/// The twin with a mistake: it reads, then adds.
#[test]
#[should_panic]
fn looking_and_then_adding_is_found_out() {
    loom::model(|| {
        let family = Family::new();
        let charge = |family: &Family| {
            if family.parent.charged() + 60 <= 100 {
                family.parent.overdraw(60);
            }
            assert!(family.parent.charged() <= 100);
        };
        let there = Arc::clone(&family);
        let other = thread::spawn(move || charge(&there));
        charge(&family);
        other.join().unwrap();
    });
}
