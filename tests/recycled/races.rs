//! An expert ends, and the next one gets its records, between the read of a block and the
//! act that follows.

use std::ptr::{null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use allocator_api2::vec::Vec as HandleVec;
use expert_alloc::Expert;
use expert_alloc::capi::{
    EXPERTRECLAIMED, ExpertAllocMemory as alloc, ExpertFreeMemory, ExpertReclaimKey,
    ExpertRegisterKey, HEXPERTKEY,
};

use crate::common::ALLOC;
use crate::run::wait_until;
use crate::turn;

/// A thread resizes a block. Before it reads the block's kind, the host adopts the block,
/// and the record of its heap becomes that of a raw heap.
pub fn resize() {
    let turn = turn("resize");
    let place: &Mutex<Option<Arc<Expert>>> = &Mutex::new(None);
    let (begun, ready, over) = (&AtomicUsize::new(0), &AtomicUsize::new(0), &AtomicUsize::new(0));
    std::thread::scope(|threads| {
        threads.spawn(move || {
            for round in 1.. {
                wait_until(|| begun.load(Acquire) >= round);
                let Some(expert) = place.lock().unwrap().take() else { return };
                let scope = expert.enter();
                let mut numbers: Vec<usize> = Vec::with_capacity(10);
                numbers.extend(100..110);
                drop(scope);
                drop(expert);
                ready.store(round, Release);
                while over.load(Acquire) < round {
                    numbers.reserve_exact(30);
                    numbers.shrink_to(10);
                    assert_eq!(numbers[..2], [100, 101], "round {round}");
                }
                assert!(numbers.iter().copied().eq(100..110), "round {round}: {numbers:?}");
            }
        });
        let actor = turn.actor("ender", 0);
        let mut round = 0;
        while actor.goes_on() {
            round += 1;
            let expert = Arc::new(ALLOC.expert("adopted").register().unwrap());
            *place.lock().unwrap() = Some(Arc::clone(&expert));
            begun.store(round, Release);
            wait_until(|| ready.load(Acquire) >= round);
            (0..round % 32 * 8).for_each(|_| std::hint::spin_loop());
            let _ = Arc::into_inner(expert).expect("the last share").finish();
            let next = ALLOC.expert("raw").register().unwrap();
            next.alloc(100).unwrap();
            (0..100).for_each(|_| std::hint::spin_loop());
            over.store(round, Release);
            let _ = next.finish();
        }
        begun.store(round + 1, Release);
    });
}

/// A free by key finds its block, and then that the key is of an expert that has ended.
/// The end has counted the block already.
pub fn free_or_end() {
    let turn = turn("free or end");
    let (key, freed) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    let (begun, ready, over) = (&AtomicUsize::new(0), &AtomicUsize::new(0), &AtomicUsize::new(0));
    std::thread::scope(|threads| {
        threads.spawn(move || {
            for round in 1.. {
                wait_until(|| begun.load(Acquire) >= round);
                let key: HEXPERTKEY = without_provenance_mut(key.load(Relaxed));
                if key.is_null() {
                    return;
                }
                // SAFETY: no place for the codes.
                let [block, other] = [64, 64].map(|size| unsafe { alloc(key, size, null_mut()) });
                assert_eq!(ExpertFreeMemory(key, other), 0);
                ready.store(round, Release);
                freed.store(ExpertFreeMemory(key, block) as usize, Relaxed);
                over.store(round, Release);
            }
        });
        let actor = turn.actor("ender", 0);
        let mut round = 0;
        while actor.goes_on() {
            round += 1;
            // SAFETY: a string, and no place for the code.
            let ends = unsafe { ExpertRegisterKey(c"ends".as_ptr(), 0, null_mut()) };
            key.store(ends.addr(), Relaxed);
            begun.store(round, Release);
            wait_until(|| ready.load(Acquire) >= round);
            (0..round % 32).for_each(|_| std::hint::spin_loop());
            let mut report = EXPERTRECLAIMED::default();
            // SAFETY: the report may be written to.
            let code = unsafe { ExpertReclaimKey(ends, &mut report) };
            wait_until(|| over.load(Acquire) >= round);
            // NMERR_INVALID_EXPERT_HANDLE, NMERR_EXPERT_TERMINATE: the latter has freed.
            let was_freed = match freed.load(Relaxed) {
                0 | 125 => true,
                code => {
                    assert_eq!(code, 130);
                    false
                }
            };
            assert_eq!((code, report.blocks), (0, usize::from(!was_freed)), "round {round}");
        }
        key.store(0, Relaxed);
        begun.store(round + 1, Release);
    });
}

/// A late free of a raw block reads the mark after a vector got the address, and the vector
/// holds the same word as a mark.
pub fn stale_free() {
    const SIZE: usize = 100_000;
    let turn = turn("stale free");
    let [raw, handles] = ["raw", "handles"].map(|name| ALLOC.expert(name).register().unwrap());
    let (known, is_over) = (&AtomicUsize::new(0), &AtomicBool::new(false));
    let (raw, handles) = (&raw, &handles);
    let mut same = 0;
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(move || {
                while !is_over.load(Relaxed) {
                    let _ = raw.free(without_provenance_mut(known.load(Relaxed)));
                }
            });
        }
        let mut actor = turn.actor("holder", 0);
        let began = Instant::now();
        // The race runs until an address was used again, however busy the machine is.
        while actor.goes_on() || same == 0 && began.elapsed() < Duration::from_secs(60) {
            let block = raw.alloc(SIZE).unwrap().as_ptr();
            known.store(block.addr(), Relaxed);
            actor.pause(64);
            let _ = raw.free(block);
            let mut vector = HandleVec::<usize, _>::with_capacity_in(SIZE / 8, handles.allocator());
            let address = vector.as_ptr().addr();
            same += usize::from(address + 16 == block.addr());
            // The second word of a raw block had this value, when raw blocks had a mark
            // there.
            let mark = !address.wrapping_add(0x2545_F491) ^ raw.key().into_raw();
            vector.extend_from_slice(&[0, mark, 0x41]);
            (0..50).for_each(|_| std::hint::spin_loop());
            assert_eq!(vector[..], [0, mark, 0x41], "somebody wrote into it");
            assert_eq!(ALLOC.owner_of(vector.as_ptr()), Some(handles.key()), "freed");
        }
        is_over.store(true, Relaxed);
    });
    assert!(same > 0, "no vector was where a raw block had been");
}
