//! Tests of the life of experts, and of all ways to allocate, on a slow engine that knows
//! the owner of each block.

use core::alloc::Layout;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::vec::Vec;
use std::{string::ToString, thread};

use crate::api::{Expert, ExpertBuilder, Host};
use crate::engine::{Engine, HOST_KEY, Kind};
use crate::error::Error;
use crate::expert::home::{Ambient, Home};
use crate::expert::life::{self, Fate};
use crate::expert::mock::MockHome;
use crate::expert::report;
use crate::expert::slot::DETACHED;
use crate::expert::table::Report;
use crate::expert::visit::{State, Visit, who};

type Builder<'b> = ExpertBuilder<'b, MockHome>;

fn expert(home: MockHome, name: &str) -> Builder<'_> {
    ExpertBuilder::new(home, name)
}

/// A block as the global allocator would make it in a scope.
fn ambient(expert: &Expert<MockHome>, size: usize) -> Result<core::ptr::NonNull<u8>, Error> {
    let word = expert.slot().word();
    let overdraft = word.has(crate::expert::slot::OVERDRAFT);
    let who = who::<MockHome>(expert.slot(), expert.key(), overdraft);
    let layout = Layout::from_size_align(size, 8).unwrap();
    expert.home().allocate(who, Kind::Ambient, layout, false)
}

/// Frees a block of [`ambient`].
fn release(home: MockHome, block: core::ptr::NonNull<u8>, size: usize) {
    // SAFETY: of `ambient`, by the callers, once.
    unsafe { home.deallocate(block, Layout::from_size_align(size, 8).unwrap()) };
}

#[test]
fn finish_takes_back_what_is_bound_or_raw_and_lets_the_host_adopt_the_rest() {
    let home = MockHome::new();
    let expert = expert(home, "leaky").register().unwrap();
    let key = expert.key();
    expert.alloc(100).unwrap();
    let mut numbers = allocator_api2_vec(&expert);
    numbers.extend([1_u64, 2, 3, 4]);
    core::mem::forget(numbers);
    let kept = ambient(&expert, 48).unwrap();
    let reclaimed = expert.finish();
    assert_eq!((reclaimed.blocks, reclaimed.bytes), (2, 132));
    assert_eq!((reclaimed.adopted_blocks, reclaimed.adopted_bytes), (1, 48));
    assert_eq!(home.owner_of(kept.as_ptr()), Some(HOST_KEY));
    assert_eq!(home.host().account.charged(), 48);
    release(home, kept, 48);
    assert_eq!(home.live_blocks(), 0);
    assert_eq!(report::row(home, key), Err(Error::InvalidKey));
    let text = reclaimed.to_string();
    assert!(text.starts_with("reclaimed 2 blocks (132 bytes), adopted 1 (48 bytes)"), "{text}");
}

fn allocator_api2_vec(
    expert: &Expert<MockHome>,
) -> allocator_api2::vec::Vec<u64, crate::ExpertHandle<'_, MockHome>> {
    allocator_api2::vec::Vec::with_capacity_in(4, expert.allocator())
}

#[test]
fn reclaim_all_takes_ambient_blocks_too() {
    let home = MockHome::new();
    let expert = expert(home, "gone").register().unwrap();
    ambient(&expert, 48).unwrap();
    // SAFETY: S1: nothing refers to the block.
    let reclaimed = unsafe { expert.reclaim_all() };
    assert_eq!((reclaimed.blocks, reclaimed.adopted_blocks), (1, 0));
    assert_eq!(home.live_blocks(), 0);
}

#[test]
fn an_overdraft_is_granted_and_tells_the_expert_to_stop() {
    let home = MockHome::new();
    let generous = expert(home, "generous").quota(100).register().unwrap();
    let block = ambient(&generous, 150).unwrap();
    assert_eq!(generous.state(), State::Overdrawn);
    assert_eq!(generous.alloc(1), Err(Error::Overdrawn));
    release(home, block, 150);
    assert_eq!(generous.state(), State::Overdrawn, "sticky");
    let strict = expert(home, "strict").quota(100).refuse_overdraft().register().unwrap();
    assert_eq!(ambient(&strict, 150), Err(Error::QuotaExceeded));
    assert_eq!((strict.state(), strict.stats().refusals), (State::Live, 1));
}

#[test]
fn a_terminated_expert_frees_and_shrinks_but_gets_nothing() {
    let home = MockHome::new();
    let expert = expert(home, "stopped").register().unwrap();
    let raw = expert.alloc(10).unwrap().as_ptr();
    let mut numbers = allocator_api2_vec(&expert);
    numbers.push(7);
    expert.terminate();
    expert.terminate();
    assert_eq!(expert.state(), State::Terminated);
    assert_eq!(expert.alloc(1), Err(Error::Terminated));
    assert_eq!(expert.realloc(raw, 20), Err(Error::Terminated));
    assert_eq!(expert.size(raw), 10);
    assert!(numbers.try_reserve(100).is_err());
    numbers.shrink_to_fit();
    assert_eq!(numbers.as_slice(), [7]);
    assert_eq!(expert.free(raw), Ok(()));
    assert_eq!(expert.stats().refusals, 3);
    drop(numbers);
    assert_eq!(expert.stats().live_blocks, 0);
}

#[test]
fn cleanups_run_last_first_and_a_panic_ends_only_one() {
    let home = MockHome::new();
    let expert = expert(home, "tidy").quota(1).register().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..4 {
        let order = Arc::clone(&order);
        let cleanup = move || {
            order.lock().unwrap().push(number);
            assert_ne!(number, 2, "this one fails");
        };
        expert.on_reclaim(cleanup).unwrap();
    }
    expert.on_reclaim(|| std::panic::panic_any(PanicsAgain)).unwrap();
    assert_eq!(expert.stats().live_blocks, 0, "clean-ups are the host's");
    let reclaimed = expert.finish();
    assert_eq!(*order.lock().unwrap(), [3, 2, 1, 0]);
    assert_eq!((reclaimed.cleanups_run, reclaimed.cleanups_failed), (5, 2));
    assert_eq!(Arc::strong_count(&order), 1, "a clean-up that was run is dropped");
    assert_eq!(home.live_blocks(), 0);
}

struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        panic!("dropping the payload fails too");
    }
}

#[test]
fn raw_calls_trust_nothing() {
    let home = MockHome::new();
    let (one, two) =
        (expert(home, "one").register().unwrap(), expert(home, "two").register().unwrap());
    let block = one.alloc(10).unwrap().as_ptr();
    assert_eq!(two.free(block), Err(Error::AccessDenied));
    assert_eq!(two.realloc(block, 20), Err(Error::AccessDenied));
    assert_eq!((two.size(block), one.size(block)), (0, 10));
    assert_eq!(one.free(block.wrapping_add(1)), Err(Error::InvalidPointer));
    assert_eq!(one.free(core::ptr::without_provenance_mut(0x1000)), Err(Error::InvalidPointer));
    assert_eq!(one.free(core::ptr::null_mut()), Ok(()));
    assert_eq!(one.size(core::ptr::null()), 0);
    let moved = one.transfer(block, &two).unwrap().as_ptr();
    assert_eq!((one.size(moved), two.size(moved)), (0, 10));
    let host = Host::new(home);
    let kept = two.transfer(moved, &host).unwrap().as_ptr();
    drop((one, two));
    assert_eq!((host.size(kept), host.key()), (10, HOST_KEY));
    let next = expert(home, "next").register().unwrap();
    let back = host.transfer(kept, &next).unwrap().as_ptr();
    let back = next.realloc(back, 30).unwrap().as_ptr();
    assert_eq!(next.free(back), Ok(()));
    assert_eq!(next.free(back), Err(Error::InvalidPointer));
    let empty = next.realloc(core::ptr::null_mut(), 0).unwrap().as_ptr();
    assert_eq!((next.size(empty), next.free(empty)), (0, Ok(())));
}

#[test]
fn experts_of_another_heap_are_strangers() {
    let (here, there) = (MockHome::new(), MockHome::new());
    let (one, other) =
        (expert(here, "one").register().unwrap(), expert(there, "other").register().unwrap());
    let block = one.alloc(1).unwrap().as_ptr();
    assert_eq!(one.transfer(block, &other), Err(Error::InvalidKey));
    assert_eq!(expert(here, "child").parent(&other).register().err(), Some(Error::InvalidKey));
}

#[test]
fn a_child_cannot_escape_its_parents_quota() {
    let home = MockHome::new();
    let parent = expert(home, "parent").quota(100).register().unwrap();
    let child = expert(home, "child").parent(&parent).register().unwrap();
    child.alloc(80).unwrap();
    assert_eq!(child.alloc(30), Err(Error::QuotaExceeded));
    assert_eq!(parent.alloc(30), Err(Error::QuotaExceeded));
    assert_eq!(parent.stats().charged_bytes, 80);
    assert_eq!(child.snapshot().parent, Some(parent.key()));
    drop(child);
    assert_eq!(parent.stats().charged_bytes, 0);
    parent.alloc(100).unwrap();
}

#[test]
fn a_parent_that_ends_first_lingers_for_its_children() {
    let home = MockHome::new();
    let grandparent = expert(home, "grandparent").quota(100).register().unwrap();
    let parent = expert(home, "parent").parent(&grandparent).register().unwrap();
    let child = expert(home, "child").parent(&parent).register().unwrap();
    let (old, block) = (parent.key(), child.alloc(40).unwrap().as_ptr());
    parent.alloc(20).unwrap();
    assert_eq!(parent.finish().bytes, 20);
    assert_eq!(report::row(home, old), Err(Error::InvalidKey), "its key is invalid at once");
    assert_eq!((child.state(), child.alloc(1)), (State::ParentStopped, Err(Error::ParentStopped)));
    assert_eq!(child.size(block), 40, "its memory stays");
    assert_eq!(grandparent.stats().charged_bytes, 40, "and is still charged upwards");
    let other = expert(home, "other").register().unwrap();
    assert_ne!(other.key().slot(), old.slot(), "the slot lingers");
    assert_eq!(child.snapshot().parent, Some(grandparent.key()));
    assert_eq!(report::total(home).charged_bytes, 40, "and is counted once");
    ambient(&child, 10).unwrap();
    assert_eq!(child.state(), State::ParentStopped, "whatever had to be granted");
    assert_eq!(child.finish().bytes, 40);
    assert_eq!(grandparent.stats().charged_bytes, 0);
    let next = [(); 2].map(|()| expert(home, "next").register().unwrap());
    assert!(next.iter().any(|next| next.key().slot() == old.slot()), "now it is free");
    assert_eq!(grandparent.state(), State::Live);
}

#[test]
fn a_name_stays_in_its_line() {
    let home = MockHome::new();
    let _forger = expert(home, "x\n0.1      host").register().unwrap();
    let _long = expert(home, &"ä".repeat(30)).register().unwrap();
    let report = Report(home).to_string();
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines.len(), 5, "{report}");
    let forged = std::format!(" {:<24} live", "x?0.1      host");
    assert!(lines[2].contains(&forged), "{report}");
    assert!(lines[3].contains(&std::format!(" {} live", "ä".repeat(24))), "{report}");
}

#[test]
fn a_parent_that_is_to_stop_gets_no_more_children() {
    let home = MockHome::new();
    let parent = expert(home, "parent").register().unwrap();
    let child = expert(home, "child").parent(&parent).register().unwrap();
    parent.terminate();
    assert_eq!(child.state(), State::ParentStopped);
    assert_eq!(expert(home, "late").parent(&parent).register().err(), Some(Error::ParentStopped));
}

#[test]
fn the_end_waits_for_those_who_came_by_key_and_only_then() {
    let home = MockHome::new();
    let quiet = expert(home, "quiet").register().unwrap();
    drop(quiet);
    assert_eq!(home.drained(), 0, "nobody came");
    let visited = expert(home, "visited").register().unwrap();
    let key = visited.key();
    let (inside, ended) = (Barrier::new(2), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let visit = Visit::new(home, key).unwrap();
            inside.wait();
            thread::sleep(std::time::Duration::from_millis(30));
            assert_eq!(ended.load(SeqCst), 0, "ended under a visitor");
            drop(visit);
        });
        inside.wait();
        drop(visited);
        ended.store(1, SeqCst);
    });
    assert!(home.drained() > 0);
    assert!(Visit::new(home, key).is_err());
}

#[test]
fn only_a_detached_expert_ends_by_its_key() {
    let home = MockHome::new();
    let owned = expert(home, "owned").register().unwrap();
    // SAFETY: it is refused.
    let refused = unsafe { life::finish(home, owned.key(), owned.slot(), DETACHED, Fate::Adopt) };
    assert_eq!(refused, Err(Error::InvalidKey));
    assert_eq!(owned.state(), State::Live);
    owned.slot().detach(owned.key());
    let key = owned.key();
    let slot = home.registry().slot_of(key).unwrap();
    core::mem::forget(owned);
    // SAFETY: nothing of the expert's is in use.
    assert!(unsafe { life::finish(home, key, slot, DETACHED, Fate::Adopt) }.is_ok());
    // SAFETY: it is refused.
    let again = unsafe { life::finish(home, key, slot, DETACHED, Fate::Adopt) };
    assert_eq!(again, Err(Error::InvalidKey));
}

#[test]
fn scopes_nest_and_failures_are_caught() {
    let home = MockHome::new();
    let (one, two) =
        (expert(home, "one").register().unwrap(), expert(home, "two").register().unwrap());
    {
        let _outer = one.enter();
        assert_eq!(home.current(), Some(one.key()));
        let result = two.run(|| home.current());
        assert_eq!(result.unwrap(), Some(two.key()));
        let failure = two.run(|| panic!("frame {} is odd", 7)).unwrap_err();
        assert_eq!(failure.to_string(), "panicked: frame 7 is odd");
        assert_eq!(home.current(), Some(one.key()));
    }
    assert_eq!(home.current(), None);
    let mut future = core::pin::pin!(one.in_scope(async { home.current() }));
    let mut context = core::task::Context::from_waker(core::task::Waker::noop());
    let polled = core::future::Future::poll(future.as_mut(), &mut context);
    assert_eq!(polled, core::task::Poll::Ready(Some(one.key())));
    assert_eq!(home.current(), None);
}

#[test]
fn the_report_has_a_row_for_each() {
    let home = MockHome::new();
    let one = expert(home, "one").quota(1 << 20).soft_quota(10).register().unwrap();
    let two = expert(home, "two").register().unwrap();
    drop(expert(home, "gone").register().unwrap());
    one.alloc(2048).unwrap();
    two.terminate();
    let rows: Vec<_> = report::rows(home).collect();
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["host", "one", "two"]);
    assert!(rows[1].is_over_soft_quota() && !rows[2].is_over_soft_quota());
    assert_eq!((rows[1].stats.quota, rows[1].stats.peak_bytes), (1 << 20, 2048));
    assert_eq!((rows[1].state, rows[2].state), (State::Live, State::Terminated));
    let text = Report(home).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[2].contains("over soft quota") && lines[2].contains("2.0 KiB"), "{text}");
    assert!(lines[4].contains("total"), "{text}");
}

#[test]
fn experts_come_and_go_on_many_threads() {
    let home = MockHome::new();
    let keys = Mutex::new(std::collections::HashSet::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..300 {
                    let parent = expert(home, "parent").register().unwrap();
                    let child = expert(home, "child").parent(&parent).register().unwrap();
                    assert!(keys.lock().unwrap().insert(parent.key()));
                    child.alloc(round).unwrap();
                    let _ = report::rows(home).count();
                    if round % 2 == 0 { drop((parent, child)) } else { drop((child, parent)) }
                }
            });
        }
    });
    assert_eq!(home.live_blocks(), 0);
    assert_eq!(report::rows(home).count(), 1, "the host is left");
    assert!(*home.registry().numbers().end() <= 8, "slots are recycled");
}
