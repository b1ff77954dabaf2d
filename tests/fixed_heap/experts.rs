//! Tests of experts that begin, share the heap, and end.

use super::*;

#[test]
fn what_goes_to_the_host_outlives_the_expert() {
    let heap = heap(8 << 10);
    let expert = heap.expert("configure").register().unwrap();
    let block = expert.alloc(64).unwrap();
    let kept = expert.transfer(block.as_ptr(), &heap.host()).unwrap();
    assert_eq!(expert.finish().blocks, 0);
    assert_eq!(heap.owner_of(kept.as_ptr()), Some(heap.host().key()));
    assert_eq!(heap.host().free(kept.as_ptr()), Ok(()));
}

#[test]
fn experts_come_and_go_and_leave_nothing() {
    let heap = heap(16 << 10);
    let cycle = || {
        let expert = heap.expert("short-lived").register().unwrap();
        expert.alloc(100).unwrap();
        expert.finish().blocks
    };
    assert_eq!(cycle(), 1);
    let before = heap.check().unwrap();
    assert!((0..20_000).all(|_| cycle() == 1));
    assert_eq!(heap.check().unwrap(), before);
}

#[test]
fn clean_ups_run_last_first_and_in_the_hosts_memory() {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static ORDER: AtomicU32 = AtomicU32::new(0);
    let heap = heap(8 << 10);
    let expert = heap.expert("tidy").quota(64).register().unwrap();
    for digit in 1..=3 {
        let note = move || ORDER.store(ORDER.load(Relaxed) * 10 + digit, Relaxed);
        expert.on_reclaim(note).unwrap();
    }
    assert_eq!(expert.finish().cleanups_run, 3);
    assert_eq!(ORDER.load(Relaxed), 321);
    assert_eq!(heap.check().unwrap().live_blocks, 0);
}

#[test]
fn threads_share_a_heap_and_an_expert() {
    let heap = heap(1 << 20);
    let shared = heap.expert("shared").register().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shared = &shared;
            scope.spawn(move || {
                for round in 0..2_000 {
                    let own = heap.expert("own").quota(8 << 10).register().unwrap();
                    let block = shared.alloc(round % 200 + thread).unwrap();
                    own.alloc(round % 300).unwrap();
                    assert_eq!(heap.owner_of(block.as_ptr()), Some(shared.key()));
                    assert_eq!(own.free(block.as_ptr()), Err(Error::AccessDenied));
                    assert_eq!(shared.free(block.as_ptr()), Ok(()));
                    assert!(heap.experts().count() >= 2);
                    assert_eq!(own.finish().blocks, 1);
                }
            });
        }
    });
    assert_eq!(shared.stats().allocations, 8_000);
    drop(shared);
    assert_eq!(heap.check().unwrap().live_blocks, 0);
}

/// The end of an expert does not wait again and again for threads that go on using keys.
#[test]
fn an_expert_ends_while_its_key_is_asked_for() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    const THREADS: usize = 8;
    let heap = heap(64 << 10);
    let expert = heap.expert("watched").register().unwrap();
    let key = expert.key();
    let (stop, asked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                asked.fetch_add(1, SeqCst);
                while stop.load(SeqCst) == 0 {
                    std::hint::black_box(heap.get(key));
                }
            });
        }
        while asked.load(SeqCst) < THREADS {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        let started = std::time::Instant::now();
        let _ = expert.finish();
        stop.store(1, SeqCst);
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    });
}

#[test]
fn a_report_has_a_row_for_each() {
    let heap = heap(16 << 10);
    let sensor = heap.expert("sensor").quota(4096).register().unwrap();
    sensor.alloc(1000).unwrap();
    let report = heap.report().to_string();
    for text in ["host", "sensor", "4.0 KiB", "total"] {
        assert!(report.contains(text), "{report}");
    }
    assert_eq!(heap.experts().count(), 2);
    assert_eq!(heap.get(sensor.key()).unwrap().name, "sensor");
}
