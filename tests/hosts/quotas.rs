//! Tests of quotas that change while they are used.

use expert_alloc::{Error, ExpertHeap, State};

use super::{ALLOC, expert};

#[test]
fn a_quota_may_be_raised_and_lowered() {
    let expert = ALLOC.expert("elastic").quota(64 << 10).register().unwrap();
    assert_eq!(expert.alloc(200 << 10), Err(Error::QuotaExceeded));
    expert.set_quota(1 << 20);
    assert_eq!(expert.stats().quota, 1 << 20);
    let block = expert.alloc(200 << 10).unwrap().as_ptr();
    expert.set_quota(100 << 10);
    assert_eq!(expert.alloc(4 << 10), Err(Error::QuotaExceeded));
    assert_eq!(expert.state(), State::Live, "nobody told it to stop");
    assert_eq!(expert.free(block), Ok(()));
    assert!(expert.alloc(4 << 10).is_ok());
    expert.set_quota(0);
    assert!(expert.alloc(10 << 20).is_ok());
    assert_eq!(expert.stats().quota, 0);
}

/// Lowering a quota refuses collections, too, although a handle's fast path does not ask
/// the account.
#[test]
fn handles_keep_to_a_quota_that_was_lowered() {
    let expert = expert("lowered");
    let mut blocks = Vec::new();
    let one = || allocator_api2::boxed::Box::try_new_in([1_u8; 1000], expert.allocator());
    (0..1000).for_each(|_| blocks.push(one().unwrap()));
    let charged = expert.stats().charged_bytes;
    expert.set_quota(charged / 2);
    let more = (0..1000).map(|_| one()).take_while(|made| made.is_ok()).count();
    assert!(more <= 16, "{more} blocks of a page or two that were carved already");
    drop(blocks);
    assert!(one().is_ok());
}

#[test]
fn a_heap_without_a_system_keeps_to_a_lowered_quota() {
    static HEAP: ExpertHeap = ExpertHeap::empty();
    let region: &'static mut [u8] = Box::leak(vec![0_u8; 1 << 20].into());
    // SAFETY: leaked, and used for nothing else.
    unsafe { HEAP.add_region(region.as_mut_ptr(), region.len()) };
    let expert = HEAP.expert("lowered").quota(100 << 10).register().unwrap();
    let block = expert.alloc(80 << 10).unwrap().as_ptr();
    expert.free(block).unwrap();
    expert.set_quota(50 << 10);
    assert_eq!(expert.alloc(80 << 10), Err(Error::QuotaExceeded), "though it was granted once");
    assert!(expert.alloc(40 << 10).is_ok());
    assert!(expert.stats().charged_bytes <= 50 << 10);
}

#[test]
fn three_reasons_to_stop_are_told_apart() {
    let parent = ALLOC.expert("parent").register().unwrap();
    let child = ALLOC.expert("child").parent(&parent).register().unwrap();
    let overdrawn = ALLOC.expert("overdrawn").quota(64 << 10).register().unwrap();
    drop(overdrawn.run(|| vec![0_u8; 1 << 20]));
    parent.terminate();
    assert_eq!(parent.alloc(1), Err(Error::Terminated));
    assert_eq!(child.alloc(1), Err(Error::ParentStopped));
    assert_eq!(overdrawn.alloc(1), Err(Error::Overdrawn));
    let late = ALLOC.expert("late").parent(&child).register();
    assert_eq!(late.err(), Some(Error::ParentStopped));
}

#[test]
fn what_was_overdrawn_is_forgiven_when_it_is_covered() {
    let expert = ALLOC.expert("overdrawn").quota(64 << 10).register().unwrap();
    let large = expert.run(|| vec![0_u8; 1 << 20]).unwrap();
    assert!(!expert.forgive());
    assert_eq!(expert.alloc(1), Err(Error::Overdrawn));
    expert.set_quota(4 << 20);
    assert_eq!(expert.alloc(1), Err(Error::Overdrawn), "sticky until it is forgiven");
    assert!(expert.forgive());
    assert!(expert.alloc(1).is_ok());
    drop(large);
    // By key, where the observer cannot call `forgive`, that is one step.
    drop(expert.run(|| vec![0_u8; 8 << 20]));
    assert_eq!(expert.alloc(1), Err(Error::Overdrawn));
    ALLOC.set_quota(expert.key(), 16 << 20).unwrap();
    assert!(expert.alloc(1).is_ok());
}

#[test]
fn a_subtree_is_summed_in_one_call() {
    let root = ALLOC.expert("root").quota(10 << 20).register().unwrap();
    let one = ALLOC.expert("one").parent(&root).register().unwrap();
    let two = ALLOC.expert("two").parent(&root).register().unwrap();
    let below = ALLOC.expert("below").parent(&one).register().unwrap();
    let stranger = expert("stranger");
    for (expert, blocks) in [(&root, 1), (&one, 2), (&two, 4), (&below, 8), (&stranger, 16)] {
        (0..blocks).for_each(|_| assert!(expert.alloc(1000).is_ok()));
    }
    let sum = root.subtree();
    assert_eq!((sum.live_blocks, sum.allocations), (15, 15));
    assert_eq!((sum.quota, sum.charged_bytes), (10 << 20, root.stats().charged_bytes));
    assert_eq!(one.subtree().live_blocks, 10);
    assert_eq!(below.subtree(), below.stats());
    // An expert that ends before its children leaves them in the family.
    drop(one);
    assert_eq!(root.subtree().live_blocks, 13);
    drop((two, below));
    assert_eq!(root.subtree(), root.stats());
}

#[test]
fn a_guarantee_is_nobody_elses() {
    let tenant = ALLOC.expert("tenant").quota(1 << 20).register().unwrap();
    let steady = ALLOC.expert("steady").parent(&tenant).guarantee(512 << 10).register().unwrap();
    let greedy = ALLOC.expert("greedy").parent(&tenant).register().unwrap();
    assert_eq!((tenant.stats().charged_bytes, steady.stats().charged_bytes), (512 << 10, 0));
    assert_eq!(tenant.stats().quota, 1 << 20);
    assert_eq!(steady.snapshot().parent, Some(tenant.key()), "nobody is in between");
    let held = greedy.alloc(500 << 10).unwrap();
    assert_eq!(greedy.alloc(100 << 10), Err(Error::QuotaExceeded));
    let within = steady.alloc(400 << 10).unwrap();
    assert_eq!(steady.alloc(200 << 10), Err(Error::QuotaExceeded), "beyond it there is no room");
    greedy.free(held.as_ptr()).unwrap();
    let beyond = steady.alloc(300 << 10).unwrap();
    assert!(tenant.stats().charged_bytes > 700 << 10);
    let late = ALLOC.expert("late").parent(&tenant).guarantee(512 << 10).register();
    assert_eq!(late.err(), Some(Error::QuotaExceeded));
    steady.free(within.as_ptr()).unwrap();
    steady.free(beyond.as_ptr()).unwrap();
    assert_eq!(tenant.subtree().live_blocks, 0);
    tenant.terminate();
    assert_eq!(steady.alloc(1), Err(Error::ParentStopped), "the stop comes through");
    drop(steady);
    drop(greedy);
    assert_eq!(tenant.stats().charged_bytes, 0, "it was given back");
}

#[test]
fn guarantees_are_given_back_in_every_order() {
    for round in 0..200 {
        let tenant = ALLOC.expert("tenant").quota(1 << 20).register().unwrap();
        let child = ALLOC.expert("child").parent(&tenant).guarantee(256 << 10).register().unwrap();
        let below = ALLOC.expert("below").parent(&child).guarantee(64 << 10).register().unwrap();
        assert_eq!(tenant.stats().charged_bytes, 256 << 10);
        below.alloc(1 << (round % 19)).unwrap();
        match round % 3 {
            0 => drop((tenant, child, below)),
            1 => drop((below, child, tenant)),
            _ => {
                drop(child);
                assert!(tenant.stats().charged_bytes >= 256 << 10, "its own child is below it");
                drop(below);
                assert_eq!(tenant.stats().charged_bytes, 0);
            }
        }
    }
}
