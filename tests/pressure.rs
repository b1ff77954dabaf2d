//! Tests that a quota has room again once blocks were freed.

use std::alloc::Layout;
use std::ptr::NonNull;

use allocator_api2::alloc::Allocator;
use expert_alloc::testing::{Path, count};
use expert_alloc::{Error, Expert, ExpertAlloc, State};

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

/// Usually a cache looks at a span when an eighth of its blocks are free. After a refusal
/// it looks at once.
#[test]
fn a_single_freed_block_is_found_before_a_refusal() {
    let expert = ALLOC.expert("tight").quota(64 << 10).register().unwrap();
    let mut blocks = Vec::new();
    let why = loop {
        match expert.alloc(40) {
            Ok(block) => blocks.push(block.as_ptr()),
            Err(why) => break why,
        }
    };
    assert_eq!(why, Error::QuotaExceeded);
    assert!(blocks.len() * 64 >= (64 << 10) * 9 / 10, "{} blocks", blocks.len());
    let before = count(Path::Pressure);
    for round in 0..3 {
        expert.free(blocks.swap_remove(round * 100)).unwrap();
        blocks.push(expert.alloc(40).unwrap().as_ptr());
        assert!(expert.alloc(40).is_err());
    }
    assert!(count(Path::Pressure) > before);
}

/// Fills a quota of a megabyte, frees all of it by `free_all`, and fills it with
/// blocks of another size.
fn has_room_for_another_size(free_all: impl FnOnce(&Expert, Vec<usize>)) {
    const QUOTA: usize = 1 << 20;
    let expert = ALLOC.expert("changing").quota(QUOTA).register().unwrap();
    let blocks = std::iter::from_fn(|| expert.alloc(40).ok().map(|block| block.addr().get()));
    let blocks: Vec<usize> = blocks.collect();
    free_all(&expert, blocks);
    let others = std::iter::from_fn(|| expert.alloc(3000).ok()).count();
    assert!(others * 3000 >= QUOTA * 8 / 10, "{others} blocks");
}

fn free(expert: &Expert, blocks: Vec<usize>) {
    blocks.into_iter().for_each(|block| expert.free(block as *mut u8).unwrap());
}

#[test]
fn what_was_freed_has_room_for_another_size() {
    has_room_for_another_size(free);
}

#[test]
fn what_another_thread_freed_has_room_for_another_size() {
    has_room_for_another_size(|expert, blocks| {
        std::thread::scope(|scope| scope.spawn(|| free(expert, blocks)).join().unwrap());
    });
}

#[test]
fn what_another_thread_freed_after_a_refusal_has_room_for_another_size() {
    has_room_for_another_size(|expert, mut blocks| {
        let half = blocks.split_off(blocks.len() / 2);
        std::thread::scope(|scope| scope.spawn(|| free(expert, half)).join().unwrap());
        // The cache is already tight, and is looked through once more.
        assert!(expert.alloc(1 << 20).is_err());
        std::thread::scope(|scope| scope.spawn(|| free(expert, blocks)).join().unwrap());
    });
}

/// An expert's raw blocks and those of its collections lie in heaps of their own.
#[test]
fn what_was_freed_of_one_kind_has_room_for_another() {
    const QUOTA: usize = 5 << 19;
    let expert = ALLOC.expert("both").quota(QUOTA).register().unwrap();
    let mut blocks = Vec::new();
    for size in (16..2000).step_by(100) {
        blocks.extend((0..90_000 / size).filter_map(|_| expert.alloc(size).ok()));
    }
    free(&expert, blocks.into_iter().map(|block| block.addr().get()).collect());
    let allocator = expert.allocator();
    assert_eq!(expert.stats().refusals, 0);
    let layout = std::alloc::Layout::new::<[u8; 3000]>();
    let others: Vec<_> = std::iter::from_fn(|| allocator.allocate(layout).ok()).collect();
    assert!(others.len() * 3000 >= QUOTA * 8 / 10, "{} blocks", others.len());
    // SAFETY: live blocks of this layout.
    others.into_iter().for_each(|block| unsafe { allocator.deallocate(block.cast(), layout) });
}

/// A large request looks through the small blocks only if there is no room.
#[test]
fn what_was_freed_has_room_for_a_large_block() {
    const QUOTA: usize = 2 << 20;
    let expert = ALLOC.expert("large").quota(QUOTA).register().unwrap();
    let sizes = (16..2000).step_by(10).cycle().take(800);
    let blocks = sizes.map(|size| expert.alloc(size).unwrap().addr().get()).collect();
    free(&expert, blocks);
    assert_eq!(expert.stats().refusals, 0);
    let layout = std::alloc::Layout::new::<[u8; QUOTA - QUOTA / 10]>();
    let block = expert.allocator().allocate(layout).unwrap();
    // SAFETY: a live block of this layout.
    unsafe { expert.allocator().deallocate(block.cast(), layout) };
}

/// If children share a quota, one child gets the memory that another does not use.
#[test]
fn what_one_child_freed_has_room_for_another() {
    const QUOTA: usize = 2 << 20;
    let parent = ALLOC.expert("parent").quota(QUOTA).register().unwrap();
    let [first, second] =
        ["first", "second"].map(|name| ALLOC.expert(name).parent(&parent).register().unwrap());
    let sizes = (16..2000).step_by(10).cycle().take(800);
    let blocks = sizes.map(|size| first.alloc(size).unwrap().addr().get()).collect();
    free(&first, blocks);
    let others = std::iter::from_fn(|| second.alloc(3000).ok()).count();
    assert!(others * 3000 >= QUOTA * 8 / 10, "{others} blocks");
    let _ = (first.finish(), second.finish());
}

const BLOCK: Layout = Layout::new::<[u8; 64 << 10]>();
const LARGE: Layout = Layout::new::<[u8; 600 << 10]>();

fn take(expert: &Expert) -> usize {
    expert.allocator().allocate(BLOCK).unwrap().cast::<u8>().addr().get()
}

fn give(expert: &Expert, block: usize) {
    let block = NonNull::new(block as *mut u8).unwrap();
    // SAFETY: the tests pass live blocks from `take`, each once.
    unsafe { expert.allocator().deallocate(block, BLOCK) };
}

/// Asks for more than the quota has, so it is tight from here on.
fn be_refused(expert: &Expert) {
    assert!(expert.allocator().allocate(Layout::new::<[u8; 2 << 20]>()).is_err());
}

/// Without a block in use, there is room for 600 KiB of 1 MiB.
fn has_room_for_a_large_block(expert: &Expert) {
    let block = expert.allocator().allocate(LARGE).unwrap();
    // SAFETY: a live block of this layout.
    unsafe { expert.allocator().deallocate(block.cast(), LARGE) };
}

/// Blocks that were put aside after a refusal count as free.
#[test]
fn what_a_refusal_put_aside_is_free() {
    let expert = ALLOC.expert("put aside").quota(1 << 20).register().unwrap();
    let mut blocks: Vec<_> = (0..8).map(|_| take(&expert)).collect();
    let kept = blocks.pop().unwrap();
    blocks.drain(..).for_each(|block| give(&expert, block));
    blocks.push(take(&expert));
    let freed = take(&expert);
    give(&expert, freed);
    be_refused(&expert);
    blocks.extend([take(&expert), kept]);
    blocks.drain(..).for_each(|block| give(&expert, block));
    has_room_for_a_large_block(&expert);
}

/// Blocks that were freed while no thread owned their span count as free, too.
#[test]
fn what_was_freed_into_an_abandoned_span_is_found() {
    let expert = ALLOC.expert("abandoned").quota(1 << 20).register().unwrap();
    let make = || {
        let mut blocks: Vec<_> = (0..8).map(|_| take(&expert)).collect();
        give(&expert, blocks.pop().unwrap());
        blocks
    };
    let mut blocks = std::thread::scope(|scope| scope.spawn(make).join().unwrap());
    let word = Layout::new::<u64>();
    let one = expert.allocator().allocate(word).unwrap();
    (0..2).for_each(|_| give(&expert, blocks.pop().unwrap()));
    be_refused(&expert);
    blocks.push(take(&expert));
    blocks.drain(..).for_each(|block| give(&expert, block));
    // SAFETY: a live block of this layout.
    unsafe { expert.allocator().deallocate(one.cast(), word) };
    has_room_for_a_large_block(&expert);
}

/// A parent gets the memory that its child keeps without using it.
#[test]
fn what_a_child_freed_has_room_for_its_parent() {
    let parent = ALLOC.expert("parent").quota(1 << 20).register().unwrap();
    let child = ALLOC.expert("child").parent(&parent).register().unwrap();
    let blocks: Vec<_> = (0..8).map(|_| take(&child)).collect();
    blocks.into_iter().for_each(|block| give(&child, block));
    has_room_for_a_large_block(&parent);
    assert_eq!(parent.stats().refusals, 0);
    let _ = child.finish();
}

/// An expert whose quota is full of blocks that are not its `Vec`'s.
fn with_a_full_quota(test: impl FnOnce(&Expert, Vec<u8>)) {
    let expert = ALLOC.expert("full").quota(64 << 10).register().unwrap();
    let vec: Vec<u8> = expert.run(|| Vec::with_capacity(8000)).unwrap();
    for size in [4000, 1000, 200, 80] {
        while expert.alloc(size).is_ok() {}
    }
    test(&expert, vec);
}

/// A `Vec` that shrinks asks for nothing beyond the quota, in a scope or not.
#[test]
fn what_shrinks_is_never_overdrawn() {
    with_a_full_quota(|expert, mut vec| {
        let before = expert.stats();
        vec.push(7);
        vec.shrink_to(3000);
        vec.shrink_to_fit();
        let after = expert.stats();
        assert_eq!(expert.state(), State::Live);
        assert_eq!((after.refusals, after.peak_bytes), (before.refusals, before.peak_bytes));
        assert_eq!(vec, [7]);
    });
}

#[test]
fn a_shrink_that_is_granted_is_no_refusal() {
    let layout = |size| Layout::from_size_align(size, 8).unwrap();
    let expert = ALLOC.expert("full").quota(64 << 10).register().unwrap();
    let raw = expert.alloc(8000).unwrap();
    let bound = expert.allocator().allocate(layout(8000)).unwrap().cast();
    for size in [4000, 1000, 200, 80] {
        while expert.alloc(size).is_ok() {}
    }
    let before = expert.stats().refusals;
    assert!(expert.realloc(raw.as_ptr(), 3000).is_ok());
    // SAFETY: a block of this allocator and layout.
    assert!(unsafe { expert.allocator().shrink(bound, layout(8000), layout(3000)) }.is_ok());
    assert_eq!(expert.stats().refusals, before);
}

/// If a large block cannot move to a smaller one, it is cut where it stands.
#[test]
fn a_large_block_that_shrinks_gives_back_what_it_has() {
    for (size, less, quota) in
        [(1 << 20, 100, 1 << 20), (50 << 20, 15 << 20, 64 << 20), (50 << 20, 100, 51 << 20)]
    {
        let expert = ALLOC.expert("large").quota(quota).register().unwrap();
        let block = expert.alloc(size - 16).unwrap();
        // There is no room left to move to.
        while expert.alloc(4000).is_ok() {}
        let full = expert.stats();
        let block = expert.realloc(block.as_ptr(), less).unwrap();
        assert_eq!(expert.size(block.as_ptr()), less);
        let back = full.charged_bytes - expert.stats().charged_bytes;
        assert!(back >= size - less - 8192, "{back} of {size}");
        assert_eq!(expert.stats().refusals, full.refusals);
        assert!(expert.alloc(size - less - 16384).is_ok());
        // The block grows back again, if there is room.
        let wider = expert.realloc(block.as_ptr(), 2 * less).unwrap_or(block);
        expert.free(wider.as_ptr()).unwrap();
        assert_eq!(expert.state(), State::Live);

        let expert = ALLOC.expert("large").quota(quota).register().unwrap();
        let mut vec: Vec<u8> = expert.run(|| Vec::with_capacity(size)).unwrap();
        vec.extend([7; 100]);
        vec.shrink_to(less);
        assert_eq!(expert.state(), State::Live);
        let charged = expert.stats().charged_bytes;
        assert!(charged <= less + 8192, "{charged} for {less}");
        assert_eq!(vec, [7; 100]);
        drop(vec);
        assert_eq!(expert.stats().live_bytes, 0);
    }
}

/// A block that stayed where it was has room there, and grows into it again, whatever the
/// quota has left.
#[test]
fn what_was_cut_grows_within_what_it_has() {
    for size in [196_000, 8_000] {
        let expert = ALLOC.expert("cut").quota(200_000).register().unwrap();
        let block = expert.alloc(size).unwrap();
        while expert.alloc(4_000).is_ok() {}
        while expert.alloc(50).is_ok() {}
        let block = expert.realloc(block.as_ptr(), 100).unwrap();
        while expert.alloc(4_000).is_ok() {}
        while expert.alloc(50).is_ok() {}
        let refusals = expert.stats().refusals;
        // SAFETY: the block has 100 bytes.
        unsafe { block.write_bytes(0xa5, 100) };
        assert_eq!(expert.realloc(block.as_ptr(), 3_000), Ok(block));
        // SAFETY: the block has 3,000 bytes.
        let content = unsafe { std::slice::from_raw_parts(block.as_ptr(), 3_000) };
        assert!(
            content.iter().enumerate().all(|(n, &byte)| byte == if n < 100 { 0xa5 } else { 0 })
        );
        assert_eq!(expert.stats().refusals, refusals);

        let expert = ALLOC.expert("cut").quota(200_000).register().unwrap();
        let mut vec: Vec<u8> = expert.run(|| Vec::with_capacity(size)).unwrap();
        while expert.alloc(4_000).is_ok() {}
        while expert.alloc(50).is_ok() {}
        vec.extend([7; 100]);
        vec.shrink_to_fit();
        while expert.alloc(4_000).is_ok() {}
        while expert.alloc(50).is_ok() {}
        let before = expert.stats();
        vec.reserve_exact(2_900);
        let after = expert.stats();
        assert_eq!((after.refusals, after.peak_bytes), (before.refusals, before.peak_bytes));
        assert_eq!(expert.state(), State::Live);
    }
}

/// A block that grows while the host adopts it is the host's. The quota of the next owner
/// of its heap's record is not asked.
#[test]
fn what_grows_while_it_is_adopted_is_refused_by_nobody() {
    use std::alloc::GlobalAlloc;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
    use std::time::{Duration, Instant};

    const SIZE: usize = 100_000;
    let layout = |size| Layout::from_size_align(size, 8).unwrap();
    let (given, grown) = (AtomicPtr::new(std::ptr::null_mut::<u8>()), AtomicUsize::new(0));
    let (done, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                let mut block = given.swap(std::ptr::null_mut(), SeqCst);
                if block.is_null() {
                    std::hint::spin_loop();
                    continue;
                }
                let mut size = SIZE;
                for change in [60_000, -50_000, 60_000, -50_000, 60_000_isize] {
                    let new = size.wrapping_add_signed(change);
                    // SAFETY: the live block, with its size.
                    let moved = unsafe { ALLOC.realloc(block, layout(size), new) };
                    if moved.is_null() {
                        refused.fetch_add(1, SeqCst);
                    } else {
                        (block, size) = (moved, new);
                    }
                }
                // SAFETY: as above.
                unsafe { ALLOC.dealloc(block, layout(size)) };
                grown.fetch_add(1, SeqCst);
            }
        });
        let began = Instant::now();
        for round in (0..).take_while(|_| began.elapsed() < Duration::from_secs(2)) {
            let expert = ALLOC.expert("ending").quota(1 << 30).register().unwrap();
            // SAFETY: not of size 0.
            let block = expert.run(|| unsafe { ALLOC.alloc(layout(SIZE)) }).unwrap();
            given.store(block, SeqCst);
            (0..round % 200).for_each(|_| std::hint::spin_loop());
            let _ = expert.finish();
            // These experts get the records of its heaps.
            let next = [(); 2].map(|()| ALLOC.expert("next").quota(8_192).register().unwrap());
            next.iter().for_each(|expert| assert!(expert.alloc(10).is_ok()));
            while grown.load(SeqCst) <= round {
                std::hint::spin_loop();
            }
            let foreign = next.iter().map(|expert| expert.stats().refusals as usize).sum();
            refused.fetch_add(foreign, SeqCst);
        }
        done.store(true, SeqCst);
    });
    assert_eq!(refused.into_inner(), 0);
}
