//! Tests of the observer: its events, and its answers before refusals. There is one
//! observer in the process, so these tests take turns, and each looks only at experts with
//! names of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread;

use expert_alloc::{
    Error, Event, EventKind, ExpertKey, FailureKind, Observation, Observer, Refusal, State, Verdict,
};

use super::{ALLOC, block_on, host, owner};

static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other test observes.
pub(super) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The events of experts whose names begin with `prefix`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn describe(event: &Event) -> String {
    let name = event.name.as_str();
    match &event.kind {
        EventKind::Registered => format!("{name} registered"),
        EventKind::SoftQuotaPassed { .. } => format!("{name} soft quota"),
        EventKind::Refused { refusals, .. } => format!("{name} refused {refusals}"),
        EventKind::Overdrawn { .. } => format!("{name} overdrawn"),
        EventKind::Stopped => format!("{name} stopped"),
        EventKind::Ended(reclaimed) => format!("{name} ended {}", reclaimed.blocks),
        other => format!("{name} {other:?}"),
    }
}

/// Observes the experts whose names begin with `prefix`.
fn observe(prefix: &'static str) -> (MutexGuard<'static, ()>, Log, Observation) {
    let turn = turn();
    let log = Log::default();
    let lines = Arc::clone(&log.0);
    let observation = ALLOC.observe(move |event: &Event| {
        if event.name.starts_with(prefix) {
            assert_eq!(ALLOC.current(), None, "as the host");
            lines.lock().unwrap().push(describe(event));
        }
    });
    (turn, log, observation)
}

#[test]
fn a_life_is_told_from_beginning_to_end() {
    let (_turn, log, observation) = observe("told-life");
    let expert =
        ALLOC.expert("told-life").quota(256 << 10).soft_quota(64 << 10).register().unwrap();
    assert_eq!(log.lines(), ["told-life registered"]);
    expert.alloc(100 << 10).unwrap();
    assert_eq!(log.lines(), [""; 0], "nothing is told where nothing is refused");
    assert!(expert.alloc(1 << 20).is_err() && expert.alloc(1 << 20).is_err());
    assert_eq!(log.lines(), ["told-life soft quota", "told-life refused 1", "told-life refused 1"]);
    drop(expert.run(|| vec![1_u8; 1 << 20]));
    assert_eq!(log.lines(), ["told-life overdrawn"]);
    expert.terminate();
    expert.terminate();
    ALLOC.terminate(expert.key()).unwrap();
    assert_eq!(log.lines(), ["told-life stopped"], "once");
    expert.set_soft_quota(1 << 10);
    drop(expert);
    assert_eq!(log.lines(), ["told-life soft quota", "told-life ended 1"]);
    drop(observation);
    drop(ALLOC.expert("told-life").register().unwrap());
    assert_eq!(log.lines(), [""; 0]);
}

#[test]
fn every_way_to_end_is_told() {
    let (_turn, log, _observation) = observe("told-end");
    let expert = ALLOC.expert("told-end").register().unwrap();
    expert.alloc(1).unwrap();
    let _ = expert.finish();
    assert_eq!(log.lines(), ["told-end registered", "told-end ended 1"]);
    let expert = ALLOC.expert("told-end").register().unwrap();
    // SAFETY: it has no ambient blocks and no scopes.
    let _ = unsafe { expert.reclaim_all() };
    assert_eq!(log.lines().len(), 2);
    let shared = ALLOC.expert("told-end").register().unwrap().into_shared();
    let held = allocator_api2::boxed::Box::new_in(7_u64, shared.allocator());
    drop(shared);
    assert_eq!(log.lines(), ["told-end registered"]);
    thread::spawn(move || drop(held)).join().unwrap();
    assert_eq!(log.lines(), ["told-end ended 0"], "the last handle goes");
    let parent = ALLOC.expert("told-end parent").register().unwrap();
    parent.keep(ALLOC.expert("told-end child").parent(&parent).register().unwrap()).unwrap();
    log.lines();
    drop(parent);
    assert_eq!(log.lines(), ["told-end child ended 0", "told-end parent ended 0"]);
}

/// Events inside of allocations are reported by a task at its next poll, and by a
/// collection when it is refused.
#[test]
fn nothing_is_told_from_inside_an_allocation() {
    let (_turn, log, _observation) = observe("told-late");
    let expert =
        ALLOC.expert("told-late").quota(128 << 10).soft_quota(16 << 10).register().unwrap();
    let ambient = {
        let _scope = expert.enter();
        vec![1_u8; 512 << 10]
    };
    log.lines();
    let outcome = block_on(expert.run_async(std::future::poll_fn(|_| Poll::<()>::Pending)));
    assert_eq!(outcome.unwrap_err().kind(), FailureKind::OverQuota);
    assert_eq!(log.lines(), ["told-late soft quota", "told-late overdrawn"]);
    drop(ambient);
    let mut list = allocator_api2::vec::Vec::<u8, _>::new_in(expert.allocator());
    assert!(list.try_reserve(1).is_err());
    assert_eq!(log.lines(), ["told-late refused 1"]);
    drop(list);
}

#[test]
fn an_observer_that_panics_or_asks_for_more_hurts_nobody() {
    let _turn = turn();
    let told = Arc::new(Mutex::new(0));
    let count = Arc::clone(&told);
    let observation = ALLOC.observe(move |event: &Event| {
        if event.name.as_str() == "told-badly" {
            *count.lock().unwrap() += 1;
            // Events of an expert that is used inside of the observer are not reported, so
            // there is no loop.
            drop(ALLOC.expert("told-badly").register());
            panic!("the observer fails");
        }
    });
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        drop(ALLOC.expert("told-badly").register().unwrap());
    }));
    assert!(outcome.is_ok());
    assert_eq!(*told.lock().unwrap(), 2);
    // The next observer takes its place, and the end of the first one does not remove the
    // next.
    let second = Log::default();
    let lines = Arc::clone(&second.0);
    let kept = ALLOC.observe(move |event: &Event| lines.lock().unwrap().push(describe(event)));
    drop(observation);
    drop(ALLOC.expert("told-next").register().unwrap());
    assert!(second.lines().contains(&"told-next ended 0".to_string()));
    drop(kept);
    assert_eq!(Arc::strong_count(&second.0), 1, "nothing is kept of it");
}

/// An observer that raises quotas when it is asked, or only notes the question.
struct Arbiter(Arc<Asked>);

struct Asked {
    asked: Mutex<Vec<(usize, Vec<ExpertKey>)>>,
    grants: bool,
}

impl Observer for Arbiter {
    fn happened(&self, _: &Event) {}

    fn before_refusal(&self, refusal: &Refusal) -> Verdict {
        if !refusal.name.starts_with("asked") {
            return Verdict::Refuse;
        }
        let largest = refusal.largest.iter().map(|holding| holding.key).collect();
        self.0.asked.lock().unwrap().push((refusal.bytes, largest));
        if !self.0.grants {
            return Verdict::Refuse;
        }
        let quota = ALLOC.get(refusal.by).unwrap().stats.quota;
        ALLOC.set_quota(refusal.by, quota * 2).unwrap();
        Verdict::Retry
    }
}

fn arbitrate(grants: bool) -> (MutexGuard<'static, ()>, Arc<Asked>, Observation) {
    let turn = turn();
    let arbiter = Arc::new(Asked { asked: Mutex::default(), grants });
    let observation = ALLOC.observe(Arbiter(Arc::clone(&arbiter)));
    (turn, arbiter, observation)
}

#[test]
fn a_refusal_is_asked_about_first_and_may_be_granted() {
    let (_turn, arbiter, _observation) = arbitrate(true);
    let expert = ALLOC.expert("asked").quota(64 << 10).register().unwrap();
    let block = expert.alloc(200 << 10).unwrap();
    assert_eq!(expert.stats().quota, 256 << 10);
    let grown = expert.realloc(block.as_ptr(), 400 << 10).unwrap();
    assert!(expert.size(grown.as_ptr()) == 400 << 10 && expert.stats().quota >= 512 << 10);
    let mut list = allocator_api2::vec::Vec::new_in(expert.allocator());
    list.resize(2 << 20, 1_u8);
    assert_eq!(owner(&list[..]), Some(expert.key()));
    let task = block_on(expert.run_async(async {
        let large = vec![1_u8; 8 << 20];
        std::future::ready(()).await;
        let mut polled = false;
        std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        large.len()
    }));
    assert_eq!(task.unwrap(), 8 << 20, "granted at the next poll");
    assert_eq!(expert.state(), State::Live);
    assert!(arbiter.asked.lock().unwrap().len() >= 5);
    // A request that is asked for without end is refused at last.
    let asked = arbiter.asked.lock().unwrap().len();
    assert_eq!(expert.alloc(1 << 42), Err(Error::QuotaExceeded));
    assert_eq!(arbiter.asked.lock().unwrap().len(), asked + 8);
}

#[test]
fn a_refusal_names_who_holds_most() {
    let (_turn, arbiter, _observation) = arbitrate(false);
    let tenant = ALLOC.expert("asked-tenant").quota(4 << 20).register().unwrap();
    let children: Vec<_> = (0..8_usize)
        .map(|number| {
            let child = ALLOC.expert("asked-child").parent(&tenant).register().unwrap();
            child.alloc(number * 100_000 + 1).unwrap();
            child
        })
        .collect();
    let below = ALLOC.expert("asked-grandchild").parent(&children[0]).register().unwrap();
    below.alloc(650_000).unwrap();
    assert_eq!(children[1].alloc(1 << 20), Err(Error::QuotaExceeded));
    let asked = arbiter.asked.lock().unwrap().pop().unwrap();
    // The first has the memory of its own child, and the others follow in order.
    let largest = [7, 0, 6, 5, 4].map(|number: usize| children[number].key());
    assert_eq!((asked.0, &asked.1[..]), (1 << 20, &largest[..]));
    let listed: Vec<_> = tenant.largest_children().iter().map(|holding| holding.key).collect();
    assert_eq!(listed, largest);
    let own = ALLOC.expert("asked-alone").quota(64 << 10).register().unwrap();
    assert!(own.alloc(1 << 20).is_err());
    let asked = arbiter.asked.lock().unwrap().pop().unwrap();
    assert_eq!(asked.1, [own.key()], "nobody else shares it");
}

#[test]
fn kept_children_end_first_and_are_the_hosts_to_keep() {
    let parent = super::expert("keeper");
    let children: Vec<_> = (0..3)
        .map(|_| {
            let child = ALLOC.expert("kept").parent(&parent).register().unwrap();
            parent.keep(child).unwrap()
        })
        .collect();
    let keys: Vec<_> = children.iter().map(|child| child.key()).collect();
    children.iter().for_each(|child| assert!(child.alloc(100).is_ok()));
    assert_eq!(owner(children[0]), host(), "in the host's memory");
    let mut list = allocator_api2::vec::Vec::new_in(children[1].allocator());
    list.push(7);
    drop(list);
    assert_eq!((parent.stats().live_blocks, parent.subtree().live_blocks), (0, 3));
    let reclaimed = parent.finish();
    assert_eq!((reclaimed.cleanups_run, reclaimed.cleanups_failed), (3, 0));
    assert!(keys.iter().all(|&key| ALLOC.get(key).is_none()));
}

#[test]
fn room_moves_from_one_to_another() {
    let one = ALLOC.expert("one").quota(1 << 20).register().unwrap();
    let two = ALLOC.expert("two").quota(1 << 20).register().unwrap();
    one.alloc(300 << 10).unwrap();
    assert_eq!(one.give_room(&two, 900 << 10), Err(Error::QuotaExceeded), "in use");
    assert_eq!((one.stats().quota, two.stats().quota), (1 << 20, 1 << 20));
    one.give_room(&two, 600 << 10).unwrap();
    assert_eq!((one.stats().quota, two.stats().quota), (424 << 10, 1624 << 10));
    assert_eq!(one.alloc(200 << 10), Err(Error::QuotaExceeded));
    assert!(two.alloc(1500 << 10).is_ok());
    let unlimited = super::expert("unlimited");
    assert_eq!(unlimited.give_room(&two, 1), Err(Error::QuotaExceeded));
    two.give_room(&unlimited, 1 << 10).unwrap();
    assert_eq!(unlimited.stats().quota, 0);
}
