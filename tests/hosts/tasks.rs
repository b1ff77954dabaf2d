//! Tests of futures of experts: they are stopped at the next poll, and woken if no poll
//! would come.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use expert_alloc::{Expert, FailureKind};

use super::{ALLOC, block_on, expert, owner, poll_once};

/// Gives way once.
async fn yield_now() {
    let mut polled = false;
    poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn a_task_that_comes_to_its_end_gives_its_value() {
    let expert = expert("task");
    let block = block_on(expert.run_async(async {
        yield_now().await;
        vec![1_u8; 100]
    }));
    assert_eq!(owner(&block.unwrap()[..]), Some(expert.key()));
    assert_eq!(ALLOC.current(), None);
}

#[test]
fn a_task_over_its_quota_holds_no_more_than_one_poll_allocates() {
    let expert = ALLOC.expert("hog").quota(1 << 20).register().unwrap();
    let failure = block_on(expert.run_async(async {
        let mut held = Vec::new();
        for _ in 0..100 {
            held.push(vec![1_u8; 1 << 20]);
            yield_now().await;
        }
        held.len()
    }));
    let failure = failure.unwrap_err();
    assert_eq!((failure.kind(), failure.message()), (FailureKind::OverQuota, None));
    assert!(failure.to_string().starts_with("stopped: over its quota (hog: "), "{failure}");
    let stats = expert.stats();
    assert!(stats.peak_bytes <= (1 << 20) + (1 << 20) + (128 << 10), "{stats}");
    assert_eq!(stats.live_blocks, 0, "the future was dropped");
}

#[test]
fn terminate_wakes_a_task_that_waits() {
    let expert = expert("idle");
    let parent = ALLOC.expert("tenant").register().unwrap();
    let child = ALLOC.expert("request").parent(&parent).register().unwrap();
    for (task, stopped, kind) in
        [(&expert, &expert, FailureKind::Terminated), (&child, &parent, FailureKind::ParentStopped)]
    {
        let (started, wait) = mpsc::channel();
        thread::scope(|threads| {
            let waiting = threads.spawn(move || {
                block_on(task.run_async(async move {
                    started.send(()).unwrap();
                    pending::<()>().await;
                }))
            });
            wait.recv().unwrap();
            // The task is not woken before it waits.
            thread::sleep(Duration::from_millis(20));
            let told = Instant::now();
            ALLOC.terminate(stopped.key()).unwrap();
            assert_eq!(waiting.join().unwrap().unwrap_err().kind(), kind);
            assert!(told.elapsed() < Duration::from_secs(10));
        });
    }
}

#[test]
fn the_end_of_a_parent_wakes_its_childrens_tasks() {
    let parent = ALLOC.expert("tenant").register().unwrap();
    let child = ALLOC.expert("request").parent(&parent).register().unwrap();
    let (started, wait) = mpsc::channel();
    thread::scope(|threads| {
        let waiting = threads.spawn(|| {
            block_on(child.run_async(async move {
                started.send(()).unwrap();
                pending::<()>().await;
            }))
        });
        wait.recv().unwrap();
        thread::sleep(Duration::from_millis(20));
        drop(parent);
        let failure = waiting.join().unwrap().unwrap_err();
        assert_eq!(failure.kind(), FailureKind::ParentStopped);
    });
}

struct Counts(AtomicUsize);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// An overdraft wakes no task; the task that stops because of it wakes the others.
#[test]
fn one_task_over_the_quota_wakes_the_others() {
    let expert = ALLOC.expert("two tasks").quota(1 << 20).register().unwrap();
    let woken = Arc::new(Counts(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut waits = pin!(expert.run_async(pending::<()>()));
    assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let greedy = block_on(expert.run_async(async {
        let _held = vec![1_u8; 2 << 20];
        pending::<()>().await;
    }));
    assert_eq!(greedy.unwrap_err().kind(), FailureKind::OverQuota);
    assert_eq!(woken.0.load(SeqCst), 1);
    let Poll::Ready(Err(failure)) = poll_once(waits) else { panic!("stopped") };
    assert_eq!(failure.kind(), FailureKind::OverQuota);
    expert.terminate();
    assert_eq!(woken.0.load(SeqCst), 1, "nobody waits any more");
    drop(waker);
    assert_eq!(Arc::strong_count(&woken), 1, "its waker was given back");
}

/// A task that was spawned and inherited the scope is not stopped itself; whoever waits for
/// it is.
#[test]
fn an_inherited_task_over_the_quota_wakes_who_waits_for_it() {
    let expert = ALLOC.expert("spawns").quota(1 << 20).register().unwrap();
    let woken = Arc::new(Counts(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut waits = pin!(expert.run_async(pending::<()>()));
    assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let spawned = expert.run(|| {
        ALLOC.inherit(async {
            let mut held = Vec::new();
            for _ in 0..100 {
                held.push(vec![1_u8; 300 << 10]);
                yield_now().await;
            }
        })
    });
    let mut spawned = pin!(spawned.unwrap());
    for _ in 0..3 {
        assert!(poll_once(spawned.as_mut()).is_pending());
        assert_eq!(woken.0.load(SeqCst), 0);
    }
    assert!(poll_once(spawned.as_mut()).is_pending());
    assert_eq!(woken.0.load(SeqCst), 1);
    let Poll::Ready(Err(failure)) = poll_once(waits) else { panic!("stopped") };
    assert_eq!(failure.kind(), FailureKind::OverQuota);
}

#[test]
fn a_task_is_woken_by_its_last_waker() {
    let expert = expert("moves");
    let wakers = [(); 2].map(|()| Arc::new(Counts(AtomicUsize::new(0))));
    let mut task = pin!(expert.run_async(pending::<()>()));
    for counts in &wakers {
        let waker = Waker::from(Arc::clone(counts));
        assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    expert.terminate();
    assert_eq!(wakers.map(|counts| counts.0.load(SeqCst)), [0, 1]);
}

/// A waker is given back where its task is over, also while that is still there, and
/// where its expert has ended, also if the task was forgotten.
#[test]
fn no_waker_is_kept_for_longer_than_needed() {
    let woken = Arc::new(Counts(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let given_back = || Arc::strong_count(&woken) == 2;
    let expert = expert("brief");
    {
        let mut over = pin!(expert.run_async(yield_now()));
        assert!(over.as_mut().poll(&mut context).is_pending() && !given_back());
        assert!(over.as_mut().poll(&mut context).is_ready() && given_back());
    }
    let mut forgotten = Box::pin(expert.run_async(pending::<()>()));
    assert!(forgotten.as_mut().poll(&mut context).is_pending() && !given_back());
    std::mem::forget(forgotten);
    let before = woken.0.load(SeqCst);
    drop(expert);
    assert!(given_back());
    assert_eq!(woken.0.load(SeqCst), before + 1, "by the end");
    // Nor is it the next one's, which may have the same slot.
    for _ in 0..100 {
        super::expert("next").terminate();
    }
    assert_eq!(woken.0.load(SeqCst), before + 1);
}

/// Notes the current expert when it is dropped.
struct DroppedIn(mpsc::Sender<Option<expert_alloc::ExpertKey>>);

impl Drop for DroppedIn {
    fn drop(&mut self) {
        self.0.send(ALLOC.current()).unwrap();
    }
}

#[test]
fn what_a_future_holds_is_dropped_in_the_scope() {
    let expert = expert("tidy");
    let (send, dropped) = mpsc::channel();
    let holds = |send: &mpsc::Sender<_>| {
        let held = DroppedIn(send.clone());
        async move {
            let _held = held;
            pending::<()>().await;
        }
    };
    drop(expert.run_async(holds(&send)));
    assert_eq!(dropped.try_recv(), Ok(Some(expert.key())), "never polled");
    {
        let mut task = pin!(expert.run_async(holds(&send)));
        assert!(poll_once(task.as_mut()).is_pending());
        expert.terminate();
        assert!(poll_once(task.as_mut()).is_ready());
        assert_eq!(dropped.try_recv(), Ok(Some(expert.key())), "at once");
        assert!(poll_once(task).is_ready(), "still over");
    }
    assert!(dropped.try_recv().is_err(), "and once");
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a destructor fails");
    }
}

#[test]
fn a_panic_in_a_poll_or_a_destructor_is_an_outcome() {
    let expert = expert("careless");
    let failure = block_on(expert.run_async(async {
        yield_now().await;
        panic!("out of cheese");
    }));
    assert_eq!(failure.unwrap_err().message(), Some("out of cheese"));
    assert_eq!(ALLOC.current(), None);
    let mut task = pin!(expert.run_async(async {
        let _held = PanicsWhenDropped;
        pending::<()>().await;
    }));
    assert!(poll_once(task.as_mut()).is_pending());
    expert.terminate();
    let Poll::Ready(Err(failure)) = poll_once(task) else { panic!("stopped") };
    assert_eq!(failure.kind(), FailureKind::Terminated);
}

/// A task that is told to stop at any moment stops, so no wake-up is lost.
#[test]
fn no_wake_is_lost() {
    let experts: Vec<Expert> = (0..5_000).map(|_| expert("raced")).collect();
    let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wait_for = |number: &AtomicUsize, least: usize| {
        let started = Instant::now();
        while number.load(SeqCst) < least {
            assert!(started.elapsed() < Duration::from_secs(20), "a wake-up was lost");
            std::hint::spin_loop();
        }
    };
    thread::scope(|threads| {
        let waiting = threads.spawn(|| {
            for (number, expert) in experts.iter().enumerate() {
                let counts = Arc::new(Counts(AtomicUsize::new(0)));
                let waker = Waker::from(Arc::clone(&counts));
                let mut task = pin!(expert.run_async(pending::<()>()));
                begun.store(number + 1, SeqCst);
                // Polled by whoever is woken only.
                while task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                    wait_for(&counts.0, 1);
                }
                ended.store(number + 1, SeqCst);
            }
        });
        for (number, expert) in experts.iter().enumerate() {
            wait_for(&begun, number + 1);
            (0..number % 500).for_each(|_| std::hint::spin_loop());
            expert.terminate();
        }
        wait_for(&ended, experts.len());
        waiting.join().unwrap();
    });
}
