//! Tests of the memory for panics, and of the owner that is charged for it. Each test has a
//! process of its own, because a process loads the backtrace's symbols once.

use std::hint::black_box;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use expert_alloc::{FailureKind, State};

use super::{ALLOC, expert, host, owner};

const CHILD: &str = "HOSTS_CHILD";

/// Whether this is the process that was started for the test `name` alone. If not, starts
/// that process with backtraces, and waits for it for a limited time.
fn is_child(name: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, "1").env("RUST_BACKTRACE", "1");
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut errors = child.stderr.take().unwrap();
    let printed = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = errors.read_to_string(&mut text);
        text
    });
    let started = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if started.elapsed() > Duration::from_secs(60) => {
                child.kill().unwrap();
                panic!("{name} hangs");
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let printed = printed.join().unwrap();
    assert!(status.success(), "{name}: {status}\n{printed}");
    assert!(printed.contains("stack backtrace"), "{printed}");
    false
}

#[test]
fn a_backtrace_is_the_hosts() {
    if !is_child("panics::a_backtrace_is_the_hosts") {
        return;
    }
    let expert = ALLOC.expert("panics").quota(8 << 20).register().unwrap();
    let before = ALLOC.host().stats().allocations;
    let failure = expert.run(|| -> () { panic!("frame {} is odd", black_box(7)) }).unwrap_err();
    assert_eq!(failure.message(), Some("frame 7 is odd"));
    let stats = expert.stats();
    assert!(stats.peak_bytes < 64 << 10, "{stats}");
    assert_eq!((stats.live_blocks, expert.state()), (0, State::Live));
    assert!(ALLOC.host().stats().allocations > before + 100, "the symbols");
    assert_eq!(expert.finish().adopted_blocks, 0);
}

#[test]
fn an_expert_that_refuses_overdraft_panics_and_goes_on() {
    if !is_child("panics::an_expert_that_refuses_overdraft_panics_and_goes_on") {
        return;
    }
    for message in ["short", &"long ".repeat(100_000)] {
        let expert = ALLOC.expert("panics").quota(64 << 10).refuse_overdraft().register().unwrap();
        let failure = expert.run(|| {
            // No block is left.
            let mut held = Vec::with_capacity(1);
            while let Ok(()) = held.try_reserve_exact(held.capacity() + 1) {}
            let mut full: [Vec<u64>; 64] = std::array::from_fn(|_| Vec::new());
            for (number, vector) in full.iter_mut().enumerate() {
                while vector.try_reserve_exact(vector.capacity() + number + 1).is_ok() {}
            }
            held.push(0_u8);
            panic!("{message}");
        });
        assert_eq!(failure.unwrap_err().message(), Some(message));
        assert_eq!(expert.stats().live_blocks, 0);
    }
}

/// A hook that was set without telling this crate allocates in the scope, and is granted
/// memory.
#[test]
fn a_hook_set_later_is_not_refused() {
    if !is_child("panics::a_hook_set_later_is_not_refused") {
        return;
    }
    let expert = ALLOC.expert("panics").quota(256 << 10).refuse_overdraft().register().unwrap();
    let inner = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let large = vec![1_u8; 4 << 20];
        eprintln!("{} {}", large.len(), std::backtrace::Backtrace::force_capture());
        inner(panic);
    }));
    let failure = expert.run(|| black_box(&[0_u32; 0][..])[1]);
    assert_eq!(failure.map_err(|failure| failure.kind()), Err(FailureKind::Panicked));
    assert_eq!(expert.state(), State::Overdrawn);
    // Once the crate knows of the hook, the host is charged.
    ALLOC.watch_panics();
    let expert = ALLOC.expert("panics").quota(256 << 10).refuse_overdraft().register().unwrap();
    assert!(expert.run(|| panic!("once more")).is_err());
    assert_eq!(expert.state(), State::Live);
}

/// Threads panic together, each with a backtrace, in scopes that refuse.
#[test]
fn many_panics_with_backtraces_never_hang() {
    if !is_child("panics::many_panics_with_backtraces_never_hang") {
        return;
    }
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for round in 0..25 {
                    let builder = ALLOC.expert("panics").quota(64 << 10).refuse_overdraft();
                    let expert = builder.register().unwrap();
                    let failure = expert.run(|| {
                        let mut full = Vec::<[u8; 48]>::new();
                        while full.try_reserve_exact(full.capacity() + 1).is_ok() {}
                        panic!("round {round}");
                    });
                    assert_eq!(failure.unwrap_err().message(), Some(&*format!("round {round}")));
                    let reclaimed = expert.finish();
                    assert_eq!((reclaimed.blocks, reclaimed.adopted_blocks), (0, 0));
                }
            });
        }
    });
}

#[test]
fn a_failure_is_the_hosts_and_knows_the_place() {
    let expert = expert("careless");
    let formatted = expert.run(|| -> () { panic!("frame {} is odd", black_box(7)) }).unwrap_err();
    assert_eq!(owner(formatted.message().unwrap()), host());
    assert_eq!(owner(formatted.place().unwrap()), host());
    let (file, line) = (file!(), line!() - 3);
    assert!(formatted.place().unwrap().starts_with(&format!("{file}:{line}:")), "{formatted:?}");
    assert_eq!(formatted.kind(), FailureKind::Panicked);
    assert_eq!(expert.stats().live_blocks, 0, "the original is gone");
    let payload = formatted.into_payload();
    assert_eq!(payload.downcast_ref::<String>().unwrap(), "frame 7 is odd");

    let silent = expert.run(|| resume_unwind(Box::new(7_u32))).unwrap_err();
    assert_eq!((silent.message(), silent.place()), (None, None), "no hook was asked");
    assert_eq!(silent.to_string(), "panicked: (no message)");
    assert_eq!(*silent.into_payload().downcast::<u32>().unwrap(), 7);

    let caught = expert.run(|| {
        let _ = catch_unwind(|| panic!("caught within"));
        assert_eq!(ALLOC.current(), Some(expert.key()), "the scope goes on");
        vec![1_u8; 100]
    });
    assert_eq!(owner(&caught.unwrap()[..]), Some(expert.key()));
}

struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        panic!("dropping the payload fails too");
    }
}

#[test]
fn a_failure_does_not_panic_when_it_is_dropped() {
    let expert = expert("spiteful");
    let failure = expert.run(|| panic_any(PanicsAgain)).unwrap_err();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(failure))).is_ok());
}
