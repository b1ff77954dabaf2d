//! Tests of experts on the process-wide heap: scopes, adoption, ends, and many experts.

#[path = "common/experts.rs"]
mod common;

use std::alloc::Layout;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use allocator_api2::alloc::Allocator;
use expert_alloc::{Error, Expert, ExpertKey, State};

use common::{ALLOC, expert, host, owner};

#[test]
fn a_scope_attributes_and_what_is_left_is_adopted() {
    let expert = expert("scoped");
    let (kept, outer) = {
        let outer = Box::new(1_u64);
        let _scope = expert.enter();
        drop(vec![0_u8; 10_000]);
        (vec![7_u8; 500], outer)
    };
    assert_eq!((owner(&kept[..]), owner(&*outer)), (Some(expert.key()), host()));
    assert_eq!(owner(&*Box::new(2_u64)), host(), "the scope has ended");
    let held = expert.stats();
    assert_eq!((held.live_blocks, held.frees), (1, held.allocations - 1));
    let reclaimed = expert.finish();
    assert_eq!((reclaimed.blocks, reclaimed.adopted_blocks), (0, 1));
    assert_eq!(reclaimed.adopted_bytes, held.live_bytes);
    assert_eq!(kept, [7; 500], "adopted blocks stay valid");
    assert_eq!(owner(&kept[..]), host());
}

#[test]
fn scopes_nest_and_may_end_out_of_order() {
    let (one, two) = (expert("one"), expert("two"));
    let outer = one.enter();
    let inner = two.enter();
    assert_eq!(owner(&*Box::new(1_u64)), Some(two.key()));
    drop(outer);
    assert_eq!(owner(&*Box::new(1_u64)), Some(two.key()), "the inner one stands");
    drop(inner);
    assert_eq!(owner(&*Box::new(1_u64)), host(), "no scope stands");
    std::mem::forget(one.enter());
    let inner = two.enter();
    drop(inner);
    assert_eq!(owner(&*Box::new(1_u64)), Some(one.key()), "what is forgotten stands");
    drop(two);
    drop(one);
    assert_eq!(owner(&*Box::new(1_u64)), host(), "no scope outlives its expert");
}

#[test]
fn a_forgotten_scope_ends_with_its_expert() {
    thread::spawn(|| {
        let expert = expert("forgotten");
        std::mem::forget(expert.enter());
        let kept = Box::new([5_u64; 30]);
        assert_eq!(owner(&*kept), Some(expert.key()));
        let _ = expert.finish();
        assert_eq!(owner(&*kept), host());
        for size in 1..2000 {
            let block = vec![1_u8; size];
            assert_eq!(owner(&block[..]), host());
        }
        let next = self::expert("next");
        assert_eq!(owner(&*Box::new(1_u64)), host(), "not of the next one in the slot");
        drop(next);
    })
    .join()
    .unwrap();
}

#[test]
fn an_expert_ends_while_a_forgotten_scope_allocates_in_another_thread() {
    for round in 0..100_u64 {
        let expert = Arc::new(expert("ending"));
        let key = expert.key();
        let shared = Arc::clone(&expert);
        let (entered, wait) = std::sync::mpsc::channel();
        let busy = thread::spawn(move || {
            std::mem::forget(shared.enter());
            drop(shared);
            entered.send(()).unwrap();
            let mut held = Vec::new();
            for number in 0..3000_usize {
                held.push(vec![number as u8; number % 300 + 1]);
                if number % 3 == 0 {
                    let gone: Vec<u8> = held.swap_remove(number % held.len());
                    assert!(gone.iter().all(|&byte| byte == gone[0]));
                }
            }
            held
        });
        wait.recv().unwrap();
        thread::sleep(Duration::from_micros(round * 3));
        let _ = Arc::into_inner(expert).unwrap().finish();
        let held = busy.join().unwrap();
        assert!(held.iter().all(|block| owner(&block[..]) == host()), "adopted, or the host's");
        assert!(held.iter().all(|block| block.iter().all(|&byte| byte == block[0])));
        assert!(ALLOC.get(key).is_none());
    }
}

/// Blocks made in a scope may be anywhere when the expert ends; other threads
/// go on resizing and freeing them meanwhile.
#[test]
fn an_expert_ends_while_other_threads_resize_its_blocks() {
    for round in 0..100_u64 {
        let expert = expert("resized");
        let mut blocks: Vec<Vec<u8>> = {
            let _scope = expert.enter();
            (0..300).map(|number| vec![number as u8; number * number % 40_000 + 1]).collect()
        };
        let others = [blocks.split_off(150), blocks];
        let busy = others.map(|blocks| {
            thread::spawn(move || {
                let resize = |mut block: Vec<u8>, number: usize| {
                    let (first, length) = (block[0], block.len());
                    block.resize(length * [1, 2, 40][number % 3] + 1, first);
                    block.truncate(length / 2 + 1);
                    block.shrink_to_fit();
                    assert!(block.iter().all(|&byte| byte == first));
                    block
                };
                let numbered = blocks.into_iter().zip(0..);
                numbered.map(|(block, number)| resize(block, number)).collect::<Vec<_>>()
            })
        });
        thread::sleep(Duration::from_micros(round * 10));
        let key = expert.key();
        let _ = expert.finish();
        for busy in busy {
            let blocks = busy.join().unwrap();
            assert!(blocks.iter().all(|block| owner(&block[..]) == host()));
        }
        assert!(ALLOC.get(key).is_none());
    }
}

#[test]
fn blocks_are_freed_anywhere_and_return_to_their_owner() {
    let (one, two) = (expert("one"), expert("two"));
    let blocks: Vec<String> = {
        let _scope = one.enter();
        (0..1000).map(|number| format!("block number {number}")).collect()
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let _scope = two.enter();
            drop(blocks);
        });
    });
    assert_eq!((one.stats().live_blocks, two.stats().live_blocks), (0, 0));
    assert_eq!(one.stats().frees, one.stats().allocations);
}

#[test]
fn an_overdraft_is_granted_charged_and_stops_the_expert() {
    let expert = ALLOC.expert("overdrawn").quota(1 << 20).register().unwrap();
    let big = {
        let _scope = expert.enter();
        vec![1_u8; 3 << 20]
    };
    assert_eq!(expert.state(), State::Overdrawn);
    assert!(expert.stats().charged_bytes > 1 << 20);
    assert_eq!(expert.alloc(10), Err(Error::Overdrawn));
    let mut vector = allocator_api2::vec::Vec::<u8, _>::new_in(expert.allocator());
    assert!(vector.try_reserve(10).is_err());
    drop(big);
    assert_eq!(expert.state(), State::Overdrawn, "sticky");
}

#[test]
fn refusing_an_overdraft_gives_null() {
    let expert = ALLOC.expert("strict").quota(1 << 20).refuse_overdraft().register().unwrap();
    let mut bytes = Vec::<u8>::new();
    {
        let _scope = expert.enter();
        assert!(bytes.try_reserve(3 << 20).is_err());
        assert!(bytes.try_reserve(100 << 10).is_ok());
    }
    assert_eq!((expert.state(), expert.stats().refusals), (State::Live, 1));
    assert!(expert.stats().charged_bytes <= 1 << 20);
}

#[test]
fn a_child_is_refused_what_its_parent_is_to_be_refused() {
    let parent = ALLOC.expert("careful").quota(64 << 10).refuse_overdraft().register().unwrap();
    let child = ALLOC.expert("child").parent(&parent).register().unwrap();
    {
        let _scope = child.enter();
        assert!(Vec::<u8>::new().try_reserve(10 << 20).is_err());
    }
    assert_eq!((child.state(), parent.state()), (State::Live, State::Live));
    assert!(parent.stats().peak_bytes <= 64 << 10);
    let _ = child.finish();
}

/// The end of an expert does not wait again and again for threads that go on using its key.
#[test]
fn an_expert_ends_while_its_key_is_asked_for() {
    const THREADS: usize = 16;
    let expert = expert("watched");
    let key = expert.key();
    let (stop, asked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                asked.fetch_add(1, SeqCst);
                while stop.load(SeqCst) == 0 {
                    black_box(ALLOC.get(key));
                }
            });
        }
        while asked.load(SeqCst) < THREADS {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(50));
        let started = Instant::now();
        let _ = expert.finish();
        stop.store(1, SeqCst);
        // This takes tenths of a second with all these threads; a slow implementation took
        // more than a minute.
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    });
}

#[test]
fn run_catches_what_an_expert_throws() {
    let expert = expert("failing");
    let failure = expert.run(|| panic!("frame {} is odd", black_box(7))).unwrap_err();
    assert_eq!(failure.message(), Some("frame 7 is odd"));
    assert_eq!(owner(&*Box::new(1_u64)), host(), "its scope has ended");
    assert_eq!(expert.run(|| owner(&*Box::new(1_u64))).unwrap(), Some(expert.key()));
    let payload = failure.into_payload();
    let _ = expert.finish();
    assert_eq!(payload.downcast_ref::<String>().unwrap(), "frame 7 is odd", "adopted");
}

#[test]
fn a_future_is_polled_in_its_scope_on_any_thread() {
    let expert = expert("async");
    let mut turns = 0;
    let work = expert.in_scope(async {
        let before = owner(&*Box::new(1_u64));
        std::future::poll_fn(|_| {
            turns += 1;
            if turns == 1 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        (before, owner(&*Box::new(2_u64)))
    });
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    assert!(work.as_mut().poll(&mut context).is_pending());
    assert_eq!(owner(&*Box::new(1_u64)), host(), "not between polls");
    let done = thread::scope(|scope| {
        scope.spawn(|| work.as_mut().poll(&mut Context::from_waker(Waker::noop()))).join().unwrap()
    });
    assert_eq!(done, Poll::Ready((Some(expert.key()), Some(expert.key()))));
}

#[test]
fn a_scope_that_ends_late_does_not_bring_back_an_expert_that_has_ended() {
    let (first, second) = (expert("first"), expert("second"));
    let outer = first.enter();
    drop(vec![1_u8; 64]);
    // The scope restores the first owner when it ends.
    let inner = second.enter();
    drop(outer);
    std::thread::scope(|scope| {
        // SAFETY: nothing refers to its ambient blocks, and no thread is in a
        // scope of it.
        let _ = scope.spawn(|| unsafe { first.reclaim_all() }).join().unwrap();
    });
    drop(inner);
    let mine: Vec<Box<[u8; 64]>> = (0..8).map(|_| Box::new([0xAA; 64])).collect();
    for block in &mine {
        assert_eq!(ALLOC.owner_of(&raw const **block), Some(ALLOC.host().key()));
    }
}

#[test]
fn reclaim_all_takes_ambient_blocks_too() {
    let expert = expert("all");
    {
        let _scope = expert.enter();
        // This keeps the compiler from removing the blocks.
        let forget = |block: Vec<u8>| std::mem::forget(std::hint::black_box(block));
        (0..100).for_each(|size| forget(vec![0_u8; size * 100 + 1]));
    }
    // SAFETY: S1: nothing refers to the forgotten vectors, and no scope is left.
    let reclaimed = unsafe { expert.reclaim_all() };
    assert_eq!((reclaimed.blocks, reclaimed.adopted_blocks), (100, 0));
}

#[test]
fn cleanups_run_as_the_host_even_when_the_quota_is_used_up() {
    static SEEN: Mutex<Vec<Option<ExpertKey>>> = Mutex::new(Vec::new());
    let expert = ALLOC.expert("full").quota(64 << 10).register().unwrap();
    while expert.alloc(1000).is_ok() {}
    {
        let _scope = expert.enter();
        for _ in 0..3 {
            let note = || {
                let block = Box::new([0_u64; 100]);
                SEEN.lock().unwrap().push(owner(&*block));
            };
            expert.on_reclaim(note).unwrap();
        }
    }
    let held = expert.stats();
    let reclaimed = expert.finish();
    assert_eq!((reclaimed.cleanups_run, reclaimed.cleanups_failed), (3, 0));
    assert_eq!(reclaimed.blocks, held.live_blocks, "clean-ups are no blocks of the expert");
    assert_eq!(*SEEN.lock().unwrap(), [host(); 3]);
}

#[test]
fn dropping_an_expert_ends_it_also_while_panicking() {
    let mut key = None;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let expert = expert("dropped");
        key = Some(expert.key());
        expert.alloc(100).unwrap();
        panic!("with an expert alive");
    }));
    assert!(result.is_err());
    assert!(ALLOC.get(key.unwrap()).is_none());
}

#[test]
fn a_hundred_thousand_experts_at_once() {
    // Half as many, if a key has 16 bits for the slot.
    let many = if usize::BITS == 64 { 100_000 } else { 50_000 };
    let experts: Vec<Expert> = (0..many).map(|_| expert("one of many")).collect();
    for (number, expert) in experts.iter().enumerate().step_by(997) {
        let block = expert.alloc(number % 100).unwrap();
        assert_eq!(ALLOC.owner_of(block.as_ptr()), Some(expert.key()));
    }
    drop(experts);
}

/// A plug-in may write any bytes into its blocks and protect their pages; their owner does
/// not depend on that.
#[cfg(unix)]
#[test]
fn whose_a_block_is_does_not_depend_on_its_content() {
    const PAGE: usize = 4096;
    let expert = ALLOC.expert("protective").register().unwrap();
    let layout = Layout::from_size_align(4 * PAGE, PAGE).unwrap();
    let block = expert.allocator().allocate(layout).unwrap().cast::<usize>();
    let second = block.addr().get() + size_of::<usize>();
    // The second word of a free block, and everything around it.
    for distance in [0x2545_F491_usize, 0x2545_F491_4F6C_DD1D_u64 as usize, 0] {
        for word in [distance, second, block.addr().get()] {
            // SAFETY: the block has more than two words.
            let second = unsafe { block.add(1) };
            // SAFETY: as above.
            unsafe { second.write(word.wrapping_add(block.addr().get())) };
            assert_eq!(ALLOC.owner_of(block.as_ptr()), Some(expert.key()));
        }
    }
    let protect = |how| {
        // SAFETY: a whole page of this block, which nobody uses meanwhile.
        assert_eq!(unsafe { libc::mprotect(block.as_ptr().cast(), PAGE, how) }, 0);
    };
    protect(libc::PROT_NONE);
    assert_eq!(ALLOC.owner_of(block.as_ptr().wrapping_byte_add(2 * PAGE)), Some(expert.key()));
    protect(libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a live block of this allocator and layout.
    unsafe { expert.allocator().deallocate(block.cast(), layout) };
    // The heap knows whether a raw block is live.
    let raw = expert.alloc(100).unwrap();
    assert_eq!(ALLOC.owner_of(raw.as_ptr()), Some(expert.key()));
    expert.free(raw.as_ptr()).unwrap();
    assert_eq!(ALLOC.owner_of(raw.as_ptr()), None);
}
