//! Tests that the end of an expert waits for calls by its key. The calls are delayed in the
//! heap's lock, which the program chooses.

mod common;

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{scope, sleep, yield_now};
use std::time::Duration;

use expert_alloc::fixed::SpinLock;
use expert_alloc::{Expert, ExpertHeap};
use lock_api::RawMutex;

/// A lock at which some threads wait until they are let through.
struct Gate(SpinLock);

thread_local! {
    /// The number of this thread as a visitor.
    static VISITOR: Cell<Option<usize>> = const { Cell::new(None) };
}

static ARRIVED: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];
static MAY_PASS: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];

// SAFETY: as the lock within.
unsafe impl RawMutex for Gate {
    const INIT: Self = Self(SpinLock::INIT);

    type GuardMarker = <SpinLock as RawMutex>::GuardMarker;

    fn lock(&self) {
        if let Some(visitor) = VISITOR.get() {
            ARRIVED[visitor].store(true, SeqCst);
            until(&MAY_PASS[visitor]);
        }
        RawMutex::lock(&self.0);
    }

    fn try_lock(&self) -> bool {
        RawMutex::try_lock(&self.0)
    }

    unsafe fn unlock(&self) {
        // SAFETY: as the caller promises.
        unsafe { RawMutex::unlock(&self.0) };
    }
}

fn until(flag: &AtomicBool) {
    while !flag.load(SeqCst) {
        yield_now();
    }
}

/// A time that is long enough for a thread that does not wait.
fn a_while() {
    sleep(Duration::from_millis(200));
}

static HEAP: ExpertHeap<Gate> = ExpertHeap::empty();

/// Two experts end at the same time, each with a visitor. The second visitor comes while
/// the first end waits, when new pins are of the other kind.
#[test]
fn an_end_waits_for_those_who_came_in_by_the_key() {
    let memory: &'static mut [MaybeUninit<u8>] = vec![MaybeUninit::uninit(); 8 << 10].leak();
    // SAFETY: leaked memory is nobody else's.
    unsafe { HEAP.add_region(memory.as_mut_ptr().cast(), memory.len()) };
    let experts = [(); 2].map(|()| HEAP.expert("visited").register().unwrap());
    let ended = AtomicUsize::new(0);
    let mut seen = [0; 3];
    let end = |expert: Expert<&'static ExpertHeap<Gate>>| {
        let _ = expert.finish();
        ended.fetch_add(1, SeqCst);
    };
    scope(|scope| {
        for (visitor, expert) in experts.into_iter().enumerate() {
            let key = expert.key();
            scope.spawn(move || {
                VISITOR.set(Some(visitor));
                std::hint::black_box(HEAP.get(key));
            });
            until(&ARRIVED[visitor]);
            let end = &end;
            scope.spawn(move || end(expert));
            a_while();
            seen[visitor] = ended.load(SeqCst);
        }
        // The first end may wait for the second visitor too.
        MAY_PASS[0].store(true, SeqCst);
        a_while();
        seen[2] = ended.load(SeqCst);
        MAY_PASS[1].store(true, SeqCst);
    });
    assert_eq!(seen[..2], [0, 0], "an expert has ended under its visitor");
    assert!(seen[2] < 2, "the second visitor was still there");
    assert_eq!(ended.load(SeqCst), 2);
    HEAP.check().unwrap();
}
