//! Tests of scopes by key in a process whose global allocator is the heap: which owner is
//! charged.

mod common;

use std::mem;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use common::ALLOC;
use expert_alloc::ExpertKey;
use expert_alloc::capi::{self, ExpertEnter, ExpertLeave, ExpertReclaimKey, HEXPERTKEY};

const SUCCESS: u32 = 0;
const INVALID_PARAMETER: u32 = 76;
const INTERNAL_EXCEPTION: u32 = 69;

fn register(name: &std::ffi::CStr) -> HEXPERTKEY {
    // SAFETY: a string, and no place for the code.
    let key = unsafe { capi::ExpertRegisterKey(name.as_ptr(), 0, ptr::null_mut()) };
    assert!(!key.is_null());
    key
}

fn reclaim(key: HEXPERTKEY) {
    // SAFETY: no report.
    assert_eq!(unsafe { ExpertReclaimKey(key, ptr::null_mut()) }, SUCCESS);
}

fn owner_of(block: &[u8]) -> HEXPERTKEY {
    capi::ExpertOwnerOf(block.as_ptr().cast())
}

/// Runs the tests one after the other, because each would see the others' blocks among the
/// host's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The owner of a new block.
fn fresh_owner() -> HEXPERTKEY {
    let block = vec![7; 100];
    owner_of(&block)
}

#[test]
fn what_is_allocated_between_enter_and_leave_is_the_keys() {
    let _alone = alone();
    let (one, two) = (register(c"one"), register(c"two"));
    let host = capi::handle(ALLOC.host().key());
    assert_eq!(ExpertEnter(one), SUCCESS);
    let ones = vec![1_u8; 100];
    assert_eq!(ExpertEnter(two), SUCCESS);
    let twos = vec![2_u8; 100];
    assert_eq!(ExpertEnter(host), SUCCESS);
    let hosts = vec![3_u8; 100];
    assert_eq!((ExpertLeave(), ExpertLeave()), (SUCCESS, SUCCESS));
    let ones_too = vec![4_u8; 100];
    assert_eq!(ExpertLeave(), SUCCESS);
    let hosts_too = vec![5_u8; 100];
    assert_eq!(ExpertLeave(), INVALID_PARAMETER);
    let owners = [&ones, &ones_too, &twos, &hosts, &hosts_too].map(|block| owner_of(block));
    assert_eq!(owners, [one, one, two, host, host]);
    reclaim(one);
    assert_eq!((owner_of(&ones), ones[99]), (host, 1), "adopted: it is still in use");
    reclaim(two);
}

#[test]
fn a_thread_may_end_inside_its_scopes() {
    let _alone = alone();
    let key = register(c"left inside");
    let blocks = ALLOC.host().stats().live_blocks;
    let word = key.expose_provenance();
    for _ in 0..100 {
        let key = || ptr::with_exposed_provenance_mut(word);
        let enter = || (0..10).for_each(|_| assert_eq!(ExpertEnter(key()), SUCCESS));
        thread::scope(|threads| threads.spawn(enter).join().unwrap());
    }
    // The bound is not exact, because the harness allocates, too.
    let now = ALLOC.host().stats().live_blocks;
    assert!(now < blocks + 500, "the scopes are kept: {blocks}, {now}");
    reclaim(key);
}

/// The result of a call, and the owner of the block that was allocated in it.
fn call(key: ExpertKey, f: impl FnOnce()) -> (u32, HEXPERTKEY) {
    let mut owner = ptr::null_mut();
    let inside = || {
        owner = fresh_owner();
        f();
    };
    // SAFETY: it returns, or panics.
    let code = unsafe { capi::call(key, inside) };
    (code, owner)
}

#[test]
fn a_call_is_in_the_scope_and_leaves_it() {
    let _alone = alone();
    let expert = ALLOC.expert("called").register().unwrap();
    let (key, host) = (expert.key(), capi::handle(ALLOC.host().key()));
    assert_eq!(call(key, || ()), (SUCCESS, capi::handle(key)));
    assert_eq!(fresh_owner(), host);
    assert_eq!(call(key, || panic!("caught")), (INTERNAL_EXCEPTION, capi::handle(key)));
    assert_eq!(fresh_owner(), host);
    // Scopes that were entered inside are left as well.
    assert_eq!(call(key, || assert_eq!(ExpertEnter(capi::handle(key)), SUCCESS)).0, SUCCESS);
    assert_eq!(fresh_owner(), host);
    assert_eq!(ExpertLeave(), INVALID_PARAMETER);
    // A scope of Rust code that a jump has skipped, or that is forgotten, is left as well.
    assert_eq!(call(key, || mem::forget(expert.enter())), (SUCCESS, capi::handle(key)));
    assert_eq!(fresh_owner(), host);
    drop(expert);
    let mut ran = false;
    // SAFETY: it returns.
    assert_eq!(unsafe { capi::call(key, || ran = true) }, 130);
    assert!(!ran);
}
