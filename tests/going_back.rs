//! Tests that memory goes back to the system: that of sleeping threads, by one call, by a
//! purger, and that of one expert.

mod common;

use std::sync::Barrier;
use std::time::{Duration, Instant};

use common::ALLOC;
use expert_alloc::{Error, testing};

/// The bytes of pages that free slices may still have, by the heap's own count.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

const MIB: usize = 1 << 20;

fn burst(bytes: usize) -> Vec<Vec<u8>> {
    (0..bytes / 256).map(|_| vec![1; 256]).collect()
}

/// Four threads free their blocks and sleep. The memory that they keep is bounded without
/// any call, and `purge` by another thread gives it back.
fn sleeping_threads_keep_little() {
    if common::emulated() {
        println!("  not run: the emulator's memory is counted as the program's");
        return;
    }
    let before = resident();
    let gate = &Barrier::new(5);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                drop(burst(48 * MIB));
                gate.wait();
                gate.wait();
            });
        }
        gate.wait();
        let kept = resident().saturating_sub(before);
        ALLOC.purge();
        let purged = resident().saturating_sub(before);
        println!("  {} MiB kept, {} after a purge", kept / MIB, purged / MIB);
        assert!(kept < 40 * MIB, "{kept}");
        assert!(purged < 12 * MIB, "{purged}");
        gate.wait();
    });
}

/// One thread frees the blocks of another, and their spans end without the first thread.
fn what_others_free_comes_home() {
    let gate = &Barrier::new(2);
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..8 {
                send.send(burst(32 * MIB)).unwrap();
            }
            drop(send);
            gate.wait();
        });
        let mut most = 0;
        while let Ok(blocks) = receive.recv() {
            drop(blocks);
            most = most.max(ALLOC.host().stats().charged_bytes);
        }
        gate.wait();
        // The heap never holds much more than the blocks on their way.
        println!("  at most {} MiB charged", most / MIB);
        assert!(most < 200 * MIB, "{most}");
    });
}

/// One thread frees the raw blocks of a sleeping thread, and their spans end without that
/// thread.
fn raw_blocks_that_others_free_come_home() {
    let expert = &ALLOC.expert("handed on").register().unwrap();
    let gate = &Barrier::new(2);
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let blocks = (0..20_000).map(|_| expert.alloc(1000).unwrap().addr().get());
            send.send(blocks.collect::<Vec<_>>()).unwrap();
            gate.wait();
        });
        for block in receive.recv().unwrap() {
            expert.free(std::ptr::without_provenance_mut(block)).unwrap();
        }
        let charged = expert.stats().charged_bytes;
        println!("  {} KiB charged, of 20 MB", charged >> 10);
        assert!(charged < 2 * MIB, "{charged}");
        gate.wait();
    });
}

/// The same holds for blocks that share spans of several slices, most of which are not in
/// the first slice.
fn larger_blocks_that_others_free_come_home() {
    let before = ALLOC.host().stats().charged_bytes;
    let gate = &Barrier::new(2);
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            send.send((0..1000).map(|_| vec![1_u8; 20_000]).collect::<Vec<_>>()).unwrap();
            gate.wait();
        });
        drop(receive.recv().unwrap());
        let charged = ALLOC.host().stats().charged_bytes.saturating_sub(before);
        println!("  {} KiB charged, of 20 MB", charged >> 10);
        assert!(charged < 2 * MIB, "{charged}");
        gate.wait();
    });
}

/// Another thread frees one in a hundred blocks of each round. This thread frees most of
/// the others at once, and the last ones a round later. It does not allocate blocks of that
/// size again, and does not know that its spans are empty until it has looked.
fn what_others_freed_before_comes_home() {
    let before = ALLOC.host().stats().charged_bytes;
    let mut kept = Vec::new();
    for size in [64, 1024, 96, 384, 3072, 48, 768, 192, 1536, 256] {
        let blocks = (0..20 * MIB / size).map(|_| vec![1_u8; size]);
        let (mut keep, mut send, mut free) = (Vec::new(), Vec::new(), Vec::new());
        for (index, block) in blocks.enumerate() {
            match index % 100 {
                7 => send.push(block),
                index if index % 20 == 11 => keep.push(block),
                _ => free.push(block),
            }
        }
        std::thread::spawn(move || drop(send)).join().unwrap();
        drop(free);
        kept = keep;
    }
    let charged = ALLOC.host().stats().charged_bytes - before;
    println!("  {} MiB charged at last, {} blocks live", charged / MIB, kept.len());
    // The bound is the last round, the memory kept for it, and a fraction of the rounds
    // before.
    assert!(charged < 60 * MIB, "{charged}");
}

/// Thousands of owners end: their blocks go back, and so do the engine's records of them.
fn what_owners_had_goes_back() {
    if common::emulated() {
        println!("  not run: the emulator's memory is counted as the program's");
        return;
    }
    ALLOC.purge();
    let before = resident();
    let experts: Vec<_> = (0..2000).map(|_| ALLOC.expert("short").register().unwrap()).collect();
    for expert in &experts {
        for i in 0..100 {
            expert.alloc(100 + i * 40).unwrap();
        }
    }
    let working = resident() - before;
    for expert in experts {
        assert_eq!(expert.finish().blocks, 100);
    }
    let finished = resident().saturating_sub(before);
    println!("  {} MiB in use, {} when all are finished", working / MIB, finished / MIB);
    assert!(working > 400 * MIB, "{working}");
    assert!(finished < 24 * MIB, "{finished}");
}

fn a_purger_gives_back_what_nobody_wants() {
    if common::emulated() {
        println!("  not run: the emulator's memory is counted as the program's");
        return;
    }
    let purger = ALLOC.background(Duration::from_millis(50)).unwrap();
    assert_eq!(ALLOC.background(Duration::from_secs(1)).err(), Some(Error::AlreadyRunning));
    ALLOC.purge();
    let before = resident();
    drop(burst(12 * MIB));
    let began = Instant::now();
    // The caches of this thread keep what their bins are filled from.
    while resident() > before + 4 * MIB {
        assert!(began.elapsed() < Duration::from_secs(20), "{} kept", resident() - before);
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(purger);
    drop(ALLOC.background(Duration::from_millis(50)).unwrap());
}

fn an_expert_is_trimmed() {
    let expert = ALLOC.expert("was large").register().unwrap();
    let blocks: Vec<_> = (0..10_000).map(|_| expert.alloc(1000).unwrap()).collect();
    let kept = blocks[..100].to_vec();
    for block in &blocks[100..] {
        expert.free(block.as_ptr()).unwrap();
    }
    let before = expert.stats().charged_bytes;
    let given = expert.trim();
    let after = expert.stats();
    assert_eq!(given, before - after.charged_bytes);
    assert_eq!(after.live_blocks, 100);
    assert!(after.charged_bytes < 300_000, "{after}");
    kept.into_iter().for_each(|block| expert.free(block.as_ptr()).unwrap());
    expert.trim();
    assert_eq!(expert.stats().charged_bytes, 0);
    // SAFETY: no other thread is at work.
    unsafe { testing::check() }.unwrap();
}

fn main() {
    common::run_alone(&[
        ("an_expert_is_trimmed", an_expert_is_trimmed),
        ("sleeping_threads_keep_little", sleeping_threads_keep_little),
        ("what_others_free_comes_home", what_others_free_comes_home),
        ("raw_blocks_that_others_free_come_home", raw_blocks_that_others_free_come_home),
        ("larger_blocks_that_others_free_come_home", larger_blocks_that_others_free_come_home),
        ("what_others_freed_before_comes_home", what_others_freed_before_comes_home),
        ("what_owners_had_goes_back", what_owners_had_goes_back),
        ("a_purger_gives_back_what_nobody_wants", a_purger_gives_back_what_nobody_wants),
    ]);
}
