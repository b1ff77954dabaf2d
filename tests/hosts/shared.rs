//! Tests that shared experts end with their last reference, and not before.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use allocator_api2::boxed::Box as BoxIn;
use allocator_api2::vec::Vec as VecIn;
use expert_alloc::{
    Error, ExpertKey, FailureKind, InScope, Reclaimed, RunAsync, SharedExpert, SharedHandle, State,
};

use super::{ALLOC, block_on, expert, host, owner};

fn shared(name: &str) -> SharedExpert {
    expert(name).into_shared()
}

fn is_alive(key: ExpertKey) -> bool {
    ALLOC.get(key).is_some()
}

#[test]
fn owned_things_go_everywhere() {
    fn everywhere<T: Clone + Send + Sync + std::panic::UnwindSafe + 'static>() {}
    everywhere::<SharedExpert>();
    everywhere::<SharedHandle>();
    fn spawned<T: Send + 'static>() {}
    spawned::<RunAsync<SharedExpert, std::future::Ready<u8>>>();
    spawned::<InScope<SharedExpert, std::future::Ready<u8>>>();
    spawned::<VecIn<u8, SharedHandle>>();
    assert_eq!(size_of::<SharedHandle>(), size_of::<usize>());
}

#[test]
fn an_expert_ends_with_the_last_who_holds_it() {
    let expert = shared("held");
    let key = expert.key();
    let clone = expert.clone();
    let mut numbers = VecIn::new_in(expert.allocator());
    numbers.push(1_u64);
    let task = expert.run_async(async { 7 });
    drop(expert);
    assert!(is_alive(key));
    drop(clone);
    assert!(is_alive(key));
    assert_eq!(block_on(task).unwrap(), 7);
    assert!(is_alive(key), "the vector holds it");
    numbers.extend(0..1000);
    assert_eq!((owner(&numbers[..]), numbers[1000]), (Some(key), 999));
    drop(numbers);
    assert!(!is_alive(key));
}

#[test]
fn what_holds_an_expert_may_be_dropped_by_any_thread() {
    for round in 0..200_u64 {
        let expert = shared("raced");
        let key = expert.key();
        let (send, receive) = mpsc::channel();
        expert.on_end(move |reclaimed| send.send(reclaimed).unwrap());
        expert.alloc(100).unwrap();
        let held: Vec<_> = (0..3)
            .map(|number| {
                let mut block = VecIn::new_in(expert.allocator());
                block.resize(1000 * number + 1, number as u8);
                block
            })
            .collect();
        let threads: Vec<_> = held
            .into_iter()
            .map(|mut block| {
                thread::spawn(move || {
                    thread::sleep(Duration::from_micros(round % 20));
                    block.push(9);
                    assert_eq!(block[block.len() - 1], 9);
                })
            })
            .collect();
        drop(expert);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let reclaimed: Reclaimed = receive.recv().unwrap();
        assert_eq!((reclaimed.blocks, reclaimed.adopted_blocks), (1, 0), "the raw one");
        assert!(!is_alive(key) && receive.recv().is_err(), "told once");
    }
}

#[test]
fn what_was_leaked_keeps_its_expert() {
    let expert = shared("leaked");
    let key = expert.key();
    let number: &'static mut u64 = BoxIn::leak(BoxIn::new_in(7, expert.allocator()));
    let mut list = VecIn::new_in(expert.allocator());
    list.extend([1_u8, 2, 3]);
    let list: &'static mut [u8] = VecIn::leak(list);
    let other = {
        let mut list = allocator_api2_04::vec::Vec::new_in(expert.allocator());
        list.push(5_u32);
        allocator_api2_04::vec::Vec::leak(list)
    };
    let pinned = std::pin::Pin::from(BoxIn::new_in(async { 5 }, expert.allocator()));
    std::mem::forget(pinned);
    drop(expert);
    assert!(is_alive(key));
    *number += 1;
    list[0] += 1;
    other[0] += 1;
    assert_eq!((*number, &list[..], other[0]), (8, &[2, 2, 3][..], 6));
    assert_eq!(owner(number), Some(key));
}

#[test]
fn revoked_is_told_to_stop_and_ends_when_it_is_let_go() {
    let expert = shared("revoked");
    let key = expert.key();
    let (send, receive) = mpsc::channel();
    expert.on_end(move |reclaimed| send.send((reclaimed, ALLOC.current())).unwrap());
    let mut held = VecIn::new_in(expert.allocator());
    held.push(7_u64);
    let (started, wait) = mpsc::channel();
    let task = expert.run_async(async move {
        started.send(()).unwrap();
        pending::<()>().await;
    });
    let waiting = thread::spawn(move || block_on(task));
    wait.recv().unwrap();
    thread::sleep(Duration::from_millis(20));
    expert.revoke();
    assert_eq!(waiting.join().unwrap().unwrap_err().kind(), FailureKind::Terminated);
    assert_eq!((expert.state(), expert.alloc(1)), (State::Terminated, Err(Error::Terminated)));
    assert!(held.try_reserve(100).is_err());
    drop(expert);
    assert_eq!((held[0], is_alive(key)), (7, true));
    assert!(receive.try_recv().is_err());
    let scope = super::expert("bystander");
    let _scope = scope.enter();
    drop(held);
    let (reclaimed, told_as) = receive.recv().unwrap();
    assert_eq!((reclaimed.blocks, told_as), (0, None));
    assert!(!is_alive(key));
}

#[test]
fn the_last_one_may_end_it_and_a_teller_that_panics_hurts_nobody() {
    let expert = shared("finished");
    let clone = expert.clone();
    let expert = expert.try_finish().unwrap_err();
    drop(clone);
    let (send, receive) = mpsc::channel();
    expert.on_end(|_| panic!("told, and fails"));
    expert.on_end(move |reclaimed| send.send(reclaimed.blocks).unwrap());
    expert.alloc(1).unwrap();
    assert_eq!(expert.try_finish().unwrap().blocks, 1);
    assert_eq!(receive.recv(), Ok(1));
    let dropped = shared("dropped");
    dropped.on_end(|_| panic!("told, and fails"));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(dropped))).is_ok());
}

#[test]
fn scopes_and_calls_are_those_of_the_expert() {
    let expert = shared("whole");
    let block = expert.run(|| vec![1_u8; 100]).unwrap();
    assert_eq!(owner(&block[..]), Some(expert.key()));
    {
        let _scope = expert.enter();
        assert_eq!(ALLOC.current(), Some(expert.key()));
    }
    let mut task = Box::pin(expert.in_scope(async { vec![1_u8; 100] }));
    let Poll::Ready(made) = task.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("nothing to wait for")
    };
    assert_eq!(owner(&made[..]), Some(expert.key()));
    drop((task, expert));
    assert_eq!((owner(&made[..]), owner(&block[..])), (host(), host()), "adopted");
}

/// The reference count is in the host's memory, even if it was made or dropped in a scope.
#[test]
fn what_holds_it_together_is_the_hosts() {
    let outer = expert("outer");
    let before = outer.stats();
    let _scope = outer.enter();
    let expert = ALLOC.expert("inner").register().unwrap().into_shared();
    expert.on_end(|_| ());
    let handle = expert.allocator();
    drop(expert);
    drop(handle);
    assert_eq!(outer.stats().allocations, before.allocations);
}
