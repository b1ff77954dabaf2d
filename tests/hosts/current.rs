//! Tests of the current expert, and of passing it on to tasks and threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;

use super::{ALLOC, block_on, expert, host, owner, poll_once};

#[test]
fn the_current_expert_is_that_of_the_innermost_scope() {
    let (one, two) = (expert("one"), expert("two"));
    assert_eq!(ALLOC.current(), None);
    let outer = one.enter();
    assert_eq!(ALLOC.current(), Some(one.key()));
    let inner = two.enter();
    assert_eq!(ALLOC.current(), Some(two.key()));
    drop(inner);
    assert_eq!(ALLOC.current(), Some(one.key()));
    drop(outer);
    assert_eq!(ALLOC.current(), None);
}

#[test]
fn what_has_ended_is_not_current() {
    thread::spawn(|| {
        let expert = expert("forgotten");
        std::mem::forget(expert.enter());
        assert_eq!(ALLOC.current(), Some(expert.key()));
        thread::spawn(move || drop(expert)).join().unwrap();
        assert_eq!(ALLOC.current(), None, "though this thread has not looked yet");
        drop(Box::new(1_u64));
        assert_eq!(ALLOC.current(), None);
    })
    .join()
    .unwrap();
}

#[test]
fn as_host_is_the_hosts_and_comes_back_also_from_a_panic() {
    let expert = expert("asks");
    let _scope = expert.enter();
    let block = ALLOC.as_host(|| {
        assert_eq!(ALLOC.current(), None);
        vec![1_u8; 100]
    });
    assert_eq!((owner(&block[..]), ALLOC.current()), (host(), Some(expert.key())));
    let panics = || ALLOC.as_host(|| std::panic::resume_unwind(Box::new(())));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(ALLOC.current(), Some(expert.key()));
}

#[test]
fn an_inherited_future_stays_with_its_expert_on_every_thread() {
    let expert = expert("request");
    let (send, receive) = mpsc::channel();
    let task = {
        let _scope = expert.enter();
        ALLOC.inherit(async move {
            send.send(vec![1_u8; 100]).unwrap();
        })
    };
    thread::spawn(move || {
        block_on(task);
        assert_eq!(ALLOC.current(), None);
    })
    .join()
    .unwrap();
    assert_eq!(owner(&receive.recv().unwrap()[..]), Some(expert.key()));
    let outside = ALLOC.inherit(async { vec![1_u8; 100] });
    let _scope = expert.enter();
    assert_eq!(owner(&block_on(outside)[..]), host(), "made in the host's");
}

#[test]
fn an_inherited_task_that_outlives_its_expert_is_the_hosts() {
    let expert = expert("short");
    let mut task = pin!({
        let _scope = expert.enter();
        ALLOC.inherit(async {
            let early = vec![1_u8; 100];
            std::future::poll_fn({
                let mut polls = 0;
                move |_| {
                    polls += 1;
                    if polls == 1 { Poll::Pending } else { Poll::Ready(()) }
                }
            })
            .await;
            (early, vec![2_u8; 100])
        })
    });
    assert!(poll_once(task.as_mut()).is_pending());
    let key = expert.key();
    assert_eq!(expert.stats().live_blocks, 1);
    assert_eq!(expert.finish().adopted_blocks, 1);
    let next = super::expert("next");
    let Poll::Ready((early, late)) = poll_once(task.as_mut()) else { panic!("ready by now") };
    assert_eq!((early[99], owner(&early[..]), owner(&late[..])), (1, host(), host()));
    assert!(ALLOC.get(key).is_none() && next.stats().live_blocks == 0);
}

#[test]
fn a_closure_is_inherited_by_threads() {
    let expert = expert("parallel");
    let closure = expert.run(|| ALLOC.inherit_fn(|| vec![1_u8; 100])).unwrap();
    let block = thread::spawn(closure).join().unwrap();
    assert_eq!(owner(&block[..]), Some(expert.key()));
    let late = expert.run(|| ALLOC.inherit_fn(|| ALLOC.current())).unwrap();
    let _ = expert.finish();
    assert_eq!(thread::spawn(late).join().unwrap(), None);
    assert_eq!(owner(&block[..]), host());
}

/// One thread polls tasks while another ends their expert.
#[test]
fn experts_end_while_their_tasks_run() {
    for round in 0..200_u64 {
        let expert = expert("ending");
        let closure = expert.run(|| {
            ALLOC.inherit_fn(move || {
                let make = |number: usize| vec![number as u8; number * 37 % 3000 + 1];
                let blocks: Vec<Vec<u8>> = (0..100).map(make).collect();
                assert!(
                    blocks.iter().enumerate().all(|(n, block)| block[block.len() - 1] == n as u8)
                );
                blocks
            })
        });
        let busy = thread::spawn(closure.unwrap());
        thread::sleep(std::time::Duration::from_micros(round * 2));
        let _ = expert.finish();
        let blocks = busy.join().unwrap();
        assert!(blocks.iter().all(|block| owner(&block[..]) == host()));
    }
}

#[test]
fn what_is_handed_over_is_not_what_was_left() {
    let expert = expert("answers");
    for _ in 0..3 {
        let block = expert.alloc(10).unwrap().as_ptr();
        let block = expert.transfer(block, &ALLOC.host()).unwrap();
        ALLOC.host().free(block.as_ptr()).unwrap();
    }
    let other = super::expert("other");
    let given = expert.transfer(expert.alloc(10).unwrap().as_ptr(), &other).unwrap();
    assert_eq!(other.free(given.as_ptr()), Ok(()));
    let answer = || (ALLOC.hand_over(vec![String::from("answer")]), vec![1_u8; 100]);
    let (answer, left) = expert.run(answer).unwrap();
    assert_eq!((owner(&answer[..]), owner(answer[0].as_str())), (host(), host()));
    let reclaimed = expert.finish();
    assert_eq!((reclaimed.handed_over_blocks, reclaimed.adopted_blocks), (3, 1));
    drop(left);
    let next = super::expert("next");
    assert_eq!(next.finish().handed_over_blocks, 0, "not of the one before");
}
