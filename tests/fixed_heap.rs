//! Experts in a fixed heap, through the public face: the contract of the
//! Netmon calls, and what else can be asked of a heap.

mod common;

use std::alloc::{GlobalAlloc, Layout};
use std::mem::MaybeUninit;

use allocator_api2::alloc::Allocator;
use expert_alloc::{Error, ExpertHeap};

/// What a region has that no block can use, in bytes at most.
const LOST: usize = if usize::BITS == 64 { 86 } else { 30 };

/// A heap over a leaked region of `size` bytes.
fn heap(size: usize) -> &'static ExpertHeap {
    let heap: &'static ExpertHeap = Box::leak(Box::new(ExpertHeap::empty()));
    add_region(heap, size);
    heap
}

fn add_region(heap: &ExpertHeap, size: usize) -> std::ops::Range<usize> {
    let memory: &'static mut [MaybeUninit<u8>] = vec![MaybeUninit::uninit(); size].leak();
    let range = memory.as_ptr_range();
    // SAFETY: leaked memory is nobody else's.
    let usable = unsafe { heap.add_region(memory.as_mut_ptr().cast(), size) };
    // On 64-bit targets, for each 4 GiB of addresses but the first: an index.
    let index = if usize::BITS == 64 { 800 } else { 0 };
    assert!(usable + LOST + index >= size);
    range.start.addr()..range.end.addr()
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

#[test]
fn an_empty_heap_refuses_and_knows_nothing() {
    let heap: ExpertHeap = ExpertHeap::empty();
    assert!(size_of::<ExpertHeap>() <= 1024);
    // SAFETY: the layout is not of size 0.
    assert!(unsafe { heap.alloc(layout(8, 8)) }.is_null());
    assert!(matches!(heap.expert("nobody").register(), Err(Error::OutOfMemory)));
    assert_eq!(heap.owner_of(&raw const heap), None);
    assert_eq!(heap.stats().live_blocks, 0);
    heap.check().unwrap();
}

#[test]
fn raw_blocks_keep_the_contract() {
    let heap = heap(16 << 10);
    let expert = heap.expert("raw").register().unwrap();
    let block = expert.alloc(100).unwrap();
    assert_eq!(block.addr().get() % 16, 0);
    assert_eq!(expert.size(block.as_ptr()), 100);
    assert_eq!(heap.owner_of(block.as_ptr()), Some(expert.key()));
    // Fresh memory, and what a realloc adds, is zero-filled.
    let bytes = |at: std::ptr::NonNull<u8>, n| {
        // SAFETY: the block is live and at least `n` bytes long.
        unsafe { std::slice::from_raw_parts(at.as_ptr(), n) }
    };
    assert!(bytes(block, 100).iter().all(|&byte| byte == 0));
    // SAFETY: the block is live and 100 bytes long.
    unsafe { block.write_bytes(7, 100) };
    let block = expert.realloc(block.as_ptr(), 300).unwrap();
    assert!(bytes(block, 100).iter().all(|&byte| byte == 7));
    assert!(bytes(block, 300)[100..].iter().all(|&byte| byte == 0));
    // Size 0 is a block of its own.
    let empty = [expert.alloc(0).unwrap(), expert.alloc(0).unwrap()];
    assert_ne!(empty[0], empty[1]);
    assert_eq!((expert.size(empty[0].as_ptr()), expert.free(empty[0].as_ptr())), (0, Ok(())));
    assert_eq!(expert.free(std::ptr::null_mut()), Ok(()));
    let grown = expert.realloc(std::ptr::null_mut(), 9).unwrap();
    assert_eq!(expert.size(grown.as_ptr()), 9);
    let reclaimed = expert.finish();
    assert_eq!(reclaimed.blocks, 3);
    assert_eq!(heap.owner_of(grown.as_ptr()), None);
    assert_eq!(heap.check().unwrap().live_blocks, 0);
}

#[test]
fn pointers_that_are_no_blocks_are_errors() {
    let heap = heap(8 << 10);
    let (one, other) =
        (heap.expert("one").register().unwrap(), heap.expert("two").register().unwrap());
    let block = one.alloc(200).unwrap().as_ptr();
    // Another's block stays untouched.
    assert_eq!(other.free(block), Err(Error::AccessDenied));
    assert_eq!(other.realloc(block, 8), Err(Error::AccessDenied));
    assert_eq!((other.size(block), one.size(block)), (0, 200));
    // Interior, unaligned, wild; a copy of a header does not make a block.
    let (header, inside) = (block.wrapping_sub(8), block.wrapping_add(56));
    // SAFETY: both ranges are in the block, or its header, and do not overlap.
    unsafe { header.copy_to_nonoverlapping(inside, 8) };
    for offset in [1, 8, 16, 64, 192] {
        assert_eq!(one.free(block.wrapping_add(offset)), Err(Error::InvalidPointer));
        assert_eq!(heap.owner_of(block.wrapping_add(offset)), Some(one.key()), "{offset}");
    }
    for wild in [1, 8, 16, usize::MAX, usize::MAX & !15, heap as *const ExpertHeap as usize] {
        let wild = std::ptr::without_provenance_mut(wild);
        assert_eq!(one.free(wild), Err(Error::InvalidPointer));
        assert_eq!((heap.owner_of(wild), one.size(wild)), (None, 0));
    }
    // Twice.
    assert_eq!(one.free(block), Ok(()));
    assert_eq!(one.free(block), Err(Error::InvalidPointer));
    assert_eq!(one.realloc(block, 8), Err(Error::InvalidPointer));
    // Of an expert that has ended, and of one whose key is stale.
    let stale = (one.key(), one.alloc(16).unwrap().as_ptr());
    let _ = one.finish();
    assert_eq!(other.free(stale.1), Err(Error::InvalidPointer));
    assert!(heap.get(stale.0).is_none());
    assert_eq!(heap.terminate(stale.0), Err(Error::InvalidKey));
    let again = heap.expert("in the same slot").register().unwrap();
    assert_ne!(again.key(), stale.0);
    assert_eq!(again.free(stale.1), Err(Error::InvalidPointer));
    drop((again, other));
    heap.check().unwrap();
}

/// A header that passes its own check, because it was one before, is still none
/// where no block ends: in free memory, and inside another block.
#[test]
fn an_old_header_put_back_is_no_block() {
    let heap = heap(8 << 10);
    let expert = heap.expert("forger").register().unwrap();
    let [first, block, last, wall] = [(); 4].map(|()| expert.alloc(88).unwrap().as_ptr());
    let header = block.wrapping_sub(8).cast::<[u32; 2]>();
    // SAFETY: a header is two words, aligned.
    let copy = unsafe { header.read() };
    for freed in [first, block] {
        expert.free(freed).unwrap();
    }
    // Over both, and to where the second ended.
    let both = expert.alloc(88 + block.addr() - first.addr()).unwrap().as_ptr();
    assert_eq!(both, first);
    // SAFETY: inside the block.
    unsafe { header.write(copy) };
    expert.free(both).unwrap();
    // SAFETY: memory of the heap, which nobody writes to meanwhile.
    assert_eq!(unsafe { header.read() }, copy, "it is still there, and leads to a live block");
    let refused = |owner| {
        assert_eq!(expert.size(block), 0);
        assert_eq!(expert.free(block), Err(Error::InvalidPointer));
        assert_eq!(expert.realloc(block, 8), Err(Error::InvalidPointer));
        assert_eq!(heap.owner_of(block), owner);
        heap.check().unwrap();
    };
    refused(None);
    // Over the third too: now it leads to the middle of a block.
    expert.free(last).unwrap();
    let all = expert.alloc(88 + last.addr() - first.addr()).unwrap().as_ptr();
    assert_eq!(all, first);
    // SAFETY: inside the block.
    unsafe { header.write(copy) };
    refused(Some(expert.key()));
    // And to what looks like the header of a free block, but is none.
    // SAFETY: inside the block.
    unsafe { last.wrapping_sub(8).cast::<u32>().write(64) };
    refused(Some(expert.key()));
    assert_eq!((expert.free(all), expert.free(wall)), (Ok(()), Ok(())));
    heap.check().unwrap();
}

#[test]
fn blocks_of_another_heap_are_wild_pointers() {
    let outer = heap(64 << 10);
    let plug_in = outer.expert("plug-in").register().unwrap();
    let arena = plug_in.alloc(16 << 10).unwrap();
    let inner: ExpertHeap = ExpertHeap::empty();
    // SAFETY: nothing else uses the block, and it is not freed.
    assert_ne!(unsafe { inner.add_region(arena.as_ptr(), 16 << 10) }, 0);
    let query = inner.expert("query").register().unwrap();
    let blocks: Vec<_> = (0..100).map(|_| query.alloc(64).unwrap().as_ptr()).collect();
    for &block in &blocks {
        assert_eq!(plug_in.size(block), 0);
        assert_eq!(plug_in.free(block), Err(Error::InvalidPointer));
        assert_eq!(outer.owner_of(block), Some(plug_in.key()));
    }
    assert!(blocks.iter().all(|&block| query.free(block) == Ok(())));
    outer.check().unwrap();
    inner.check().unwrap();
}

#[test]
fn blocks_of_a_heap_that_is_gone_are_wild_pointers() {
    let memory: &'static mut [u64] = vec![0; 2048].leak();
    let memory: *mut u8 = memory.as_mut_ptr().cast();
    let before = {
        let heap: ExpertHeap = ExpertHeap::empty();
        // SAFETY: nothing else uses leaked memory.
        unsafe { heap.add_region(memory, 16 << 10) };
        let expert = heap.expert("before").register().unwrap();
        let blocks: Vec<_> = (0..50).map(|_| expert.alloc(64).unwrap().as_ptr()).collect();
        std::mem::forget(expert);
        blocks
    };
    let heap: ExpertHeap = ExpertHeap::empty();
    // SAFETY: nothing uses the memory any more.
    unsafe { heap.add_region(memory, 16 << 10) };
    let expert = heap.expert("after").register().unwrap();
    let large = expert.alloc(1).unwrap();
    for &block in before.iter().filter(|&&block| block != large.as_ptr()) {
        assert_eq!(expert.free(block), Err(Error::InvalidPointer));
    }
    heap.check().unwrap();
}

#[test]
fn a_request_beyond_all_memory_is_refused_alike_by_alloc_and_realloc() {
    let heap = heap(16 << 10);
    let expert = heap.expert("modest").quota(4096).register().unwrap();
    let block = expert.alloc(100).unwrap().as_ptr();
    for (n, size) in [5000, i32::MAX as usize - 8, usize::MAX].into_iter().enumerate() {
        assert_eq!(expert.alloc(size), Err(Error::QuotaExceeded));
        assert_eq!(expert.realloc(block, size), Err(Error::QuotaExceeded), "{size}");
        assert_eq!(expert.stats().refusals, 2 * (n as u64 + 1));
    }
    assert_eq!(expert.size(block), 100);
}

/// On 32-bit targets a hole of 40 bytes is 8 too large, which is no block.
#[test]
fn a_quota_grants_what_fits_though_a_crumb_is_left() {
    let heap = heap(8 << 10);
    let (word, small) = (layout(32, 4), layout(24, 4));
    let other = heap.expert("other").register().unwrap();
    let [hole, _wall] = [(); 2].map(|()| other.allocator().allocate(word).unwrap());
    // SAFETY: a live block of this layout.
    unsafe { other.allocator().deallocate(hole.cast(), word) };
    let tight = heap.expert("tight").quota(32).register().unwrap();
    let block = tight.allocator().allocate(small).unwrap();
    assert_eq!((tight.stats().charged_bytes, tight.stats().refusals), (32, 0));
    heap.check().unwrap();
    assert!(tight.allocator().allocate(small).is_err());
    // SAFETY: a live block of this layout.
    unsafe { tight.allocator().deallocate(block.cast(), small) };
    heap.check().unwrap();
}

#[test]
fn a_quota_counts_headers_and_lets_a_realloc_at_the_limit_through() {
    let heap = heap(64 << 10);
    let expert = heap.expert("tight").quota(1024).register().unwrap();
    let mut blocks = Vec::new();
    let error = loop {
        match expert.alloc(24) {
            Ok(block) => blocks.push(block),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::QuotaExceeded);
    assert!(blocks.len() >= 1024 / 32 - 1, "{}", blocks.len());
    assert!((1024 - 32 + 1..=1024).contains(&expert.stats().charged_bytes));
    assert_eq!(expert.stats().refusals, 1);
    assert_eq!(expert.alloc(1 << 30), Err(Error::QuotaExceeded));
    // At the limit: in place, smaller, and moved with the difference charged.
    assert_eq!(expert.realloc(blocks[0].as_ptr(), 20), Ok(blocks[0]));
    for block in blocks.drain(1..) {
        expert.free(block.as_ptr()).unwrap();
    }
    let large = expert.alloc(500).unwrap();
    let _wall = expert.alloc(8).unwrap();
    let moved = expert.realloc(large.as_ptr(), 900).unwrap();
    assert_ne!(moved, large);
    assert!(expert.stats().charged_bytes <= 1024);
    assert_eq!(expert.realloc(moved.as_ptr(), 2000), Err(Error::QuotaExceeded));
    assert_eq!(expert.size(moved.as_ptr()), 900);
}

#[test]
fn a_child_does_not_escape_its_parent() {
    let heap = heap(64 << 10);
    let parent = heap.expert("parent").quota(2048).register().unwrap();
    let child = heap.expert("child").parent(&parent).register().unwrap();
    child.alloc(1500).unwrap();
    assert_eq!(parent.alloc(1000), Err(Error::QuotaExceeded));
    assert_eq!(child.alloc(1000), Err(Error::QuotaExceeded));
    parent.terminate();
    assert_eq!(child.alloc(1), Err(Error::ParentStopped));
    let _ = child.finish();
    assert_eq!(parent.stats().charged_bytes, 0);
}

#[test]
fn collections_live_in_an_experts_memory() {
    let heap = heap(64 << 10);
    let expert = heap.expert("collections").quota(48 << 10).register().unwrap();
    {
        let mut map = hashbrown::HashMap::<u32, u32, std::hash::RandomState, _>::with_hasher_in(
            Default::default(),
            expert.allocator(),
        );
        (0..500).for_each(|n| assert!(map.insert(n, n).is_none()));
        assert!((0..500).all(|n| map[&n] == n));
        assert!(expert.stats().live_bytes >= 500 * 8);
    }
    assert_eq!(expert.stats().live_blocks, 0);
    heap.check().unwrap();
}

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
fn regions_lie_anywhere_and_are_all_used() {
    let heap: &'static ExpertHeap = Box::leak(Box::new(ExpertHeap::empty()));
    static mut SMALL: [u64; 32] = [0; 32];
    let small = &raw mut SMALL;
    // SAFETY: nothing else uses the static.
    assert!(unsafe { heap.add_region(small.cast(), 256) } > 0);
    let large = add_region(heap, 4 << 20);
    let odd = add_region(heap, 1001);
    // SAFETY: too small a region is not touched.
    assert_eq!(unsafe { heap.add_region(std::ptr::without_provenance_mut(64), 31) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { heap.add_region(std::ptr::null_mut(), 4096) }, 0);
    let expert = heap.expert("everywhere").register().unwrap();
    let mut seen = [0; 3];
    while let Ok(block) = expert.alloc(120) {
        let at = block.addr().get();
        let place = if large.contains(&at) {
            1
        } else if odd.contains(&at) {
            2
        } else {
            0
        };
        seen[place] += 1;
        assert_eq!(heap.owner_of(block.as_ptr()), Some(expert.key()));
    }
    assert!(seen.iter().all(|&blocks| blocks > 0), "{seen:?}");
    assert_eq!(expert.finish().blocks, seen.iter().sum::<usize>());
    assert_eq!(heap.check().unwrap().regions, 3);
}

#[test]
fn a_region_loses_as_much_as_is_said() {
    let memory: &'static mut [MaybeUninit<u8>] = vec![MaybeUninit::uninit(); 96 << 10].leak();
    let mut places = memory.chunks_exact_mut(320);
    let mut most = 0;
    // Each in a heap of its own, so that no index is needed.
    for (start, len) in (0..16).flat_map(|start| (240..256).map(move |len| (start, len))) {
        let heap: ExpertHeap = ExpertHeap::empty();
        let place = &mut places.next().unwrap()[start..start + len];
        // SAFETY: nothing else uses this part of leaked memory.
        let usable = unsafe { heap.add_region(place.as_mut_ptr().cast(), len) };
        most = most.max(len - usable);
        heap.check().unwrap();
    }
    assert_eq!(most, LOST);
}

#[test]
fn every_alignment_is_kept() {
    let heap = heap(1 << 20);
    for bits in 0..=16 {
        for size in [1, 24, 100, 5000] {
            let layout = layout(size, 1 << bits);
            // SAFETY: the layout is not of size 0.
            let block = unsafe { heap.alloc_zeroed(layout) };
            assert!(!block.is_null() && block.addr() % (1 << bits) == 0);
            // SAFETY: the block is live, with this layout.
            let block = unsafe { heap.realloc(block, layout, size * 3) };
            assert!(!block.is_null() && block.addr() % (1 << bits) == 0);
            heap.check().unwrap();
            let layout = Layout::from_size_align(size * 3, 1 << bits).unwrap();
            // SAFETY: the block is live, with this layout.
            unsafe { heap.dealloc(block, layout) };
        }
    }
    for layout in [layout(isize::MAX as usize - 7, 8), layout(8, 1 << (usize::BITS - 2))] {
        // SAFETY: the layout is not of size 0.
        assert!(unsafe { heap.alloc(layout) }.is_null());
    }
    assert_eq!(heap.check().unwrap().free_blocks, 1);
}

#[test]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
fn a_realloc_grows_in_place_and_backwards_where_there_is_no_other_way() {
    let heap = heap(4096);
    let free = heap.check().unwrap().largest_free;
    let half = layout(free / 2 - 8, 8);
    // SAFETY: the layouts are not of size 0, and each block is used with its own.
    unsafe {
        let front = heap.alloc(half);
        let rest = heap.check().unwrap().largest_free - 8;
        let back = heap.alloc(layout(64, 8));
        assert_eq!(heap.realloc(front, half, half.size()), front);
        back.write_bytes(9, 64);
        let whole = heap.realloc(back, layout(64, 8), rest);
        assert_eq!(whole, back, "in place, into the free rest");
        heap.dealloc(front, half);
        let most = free - 8;
        let slid = heap.realloc(whole, layout(rest, 8), most);
        assert_eq!(slid, front, "backwards, over the free front");
        assert!((0..64).all(|n| *slid.add(n) == 9));
        heap.dealloc(slid, layout(most, 8));
    }
    assert_eq!(heap.check().unwrap().free_blocks, 1);
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

/// Threads that go on to use keys are not waited for again and again.
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

/// Half of what is mapped on each side of a border of two windows, in bytes.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
const HALF: usize = 64 << 10;

/// Memory that nobody else has, half of it before a border of two windows.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn map_across_a_border() -> *mut u8 {
    let map = |n: usize| {
        let at = std::ptr::without_provenance_mut((n << 32) - HALF);
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_FIXED_NOREPLACE);
        let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a mapping where there was none.
        let mapped = unsafe { libc::mmap(at, 2 * HALF, access, flags, -1, 0) };
        (mapped == at).then_some(mapped.cast::<u8>())
    };
    (0x50..0x70).find_map(map).expect("some place is free")
}

/// The second word of an end mark takes links to blocks (X4). In memory at such an
/// address the upper half of a link is an expert's slot.
#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn an_end_mark_is_nobodys_block() {
    const SIZE: usize = 64 << 10;
    let map = |n: usize| {
        let at = std::ptr::without_provenance_mut((n << 32) + (1 << 16));
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_FIXED_NOREPLACE);
        let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a mapping where there was none.
        let mapped = unsafe { libc::mmap(at, SIZE, access, flags, -1, 0) };
        (mapped == at).then_some(mapped.cast::<u8>())
    };
    let memory = (0x70..0x90).find_map(map).expect("some place is free");
    let heap: &'static ExpertHeap = Box::leak(Box::new(ExpertHeap::empty()));
    // SAFETY: the mapping is nobody else's, and is never undone.
    unsafe { heap.add_region(memory, SIZE) };
    let expert = heap.expert("one").register().unwrap();
    assert_eq!(expert.key().to_string(), "1.1", "slot 1");
    let handle = expert.allocator();
    // A run of its blocks, one that is the host's, and a run up to the end.
    let mut blocks = 1;
    handle.allocate(layout(72, 8)).unwrap();
    // SAFETY: the layout is not of size 0.
    assert!(!unsafe { heap.alloc(layout(500, 8)) }.is_null());
    for size in [1000, 24, 8] {
        while handle.allocate(layout(size, 8)).is_ok() {
            blocks += 1;
        }
    }
    assert_eq!(expert.finish().blocks, blocks);
    heap.check().unwrap();
}

#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn memory_that_is_too_little_for_a_block_claims_no_window() {
    let across = map_across_a_border();
    for (n, before) in [8, 10, 30].into_iter().enumerate() {
        let heap: ExpertHeap = ExpertHeap::empty();
        let start = across.wrapping_add(HALF - before);
        // SAFETY: each heap ends before the next has this memory.
        let usable = unsafe { heap.add_region(start, before + 700) };
        assert!(usable + LOST >= 700, "{n}: {usable}");
        // SAFETY: the layout is not of size 0.
        assert!(!unsafe { heap.alloc(layout(8, 8)) }.is_null());
        heap.check().unwrap();
    }
    // What is refused is not touched.
    let heap: ExpertHeap = ExpertHeap::empty();
    // SAFETY: nothing else uses this part.
    assert_ne!(unsafe { heap.add_region(across, 4096) }, 0);
    let refused = across.wrapping_add(HALF + 8192);
    // SAFETY: nor this one.
    assert_eq!(unsafe { heap.add_region(refused, 780) }, 0);
    // SAFETY: mapped, and zero from the start.
    let bytes = unsafe { std::slice::from_raw_parts(refused, 780) };
    assert!(bytes.iter().all(|&byte| byte == 0));
}

/// Memory on both sides of an address that is a multiple of 4 GiB, and a heap
/// that had a region elsewhere before: three indexes.
#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
fn a_region_may_lie_across_the_border_of_two_windows() {
    let across = map_across_a_border();
    let heap = heap(1 << 10);
    // SAFETY: the mapping is nobody else's, and is never undone.
    let usable = unsafe { heap.add_region(across, 2 * HALF) };
    assert!(usable + 2 * 900 > 2 * HALF);
    assert_eq!(heap.check().unwrap().regions, 3);

    let mut random = 1_u64;
    let mut below = |limit: usize| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % limit
    };
    let mut blocks = Vec::new();
    let mut full = 0;
    for step in 0..20_000 {
        let asked = layout(1 + below(3000), 1 << below(8));
        // SAFETY: the layouts are not of size 0, and each block is used with its own.
        unsafe {
            if blocks.len() < 200 && step % 3 != 2 {
                let block = heap.alloc(asked);
                full += usize::from(block.is_null());
                if !block.is_null() {
                    assert_eq!(block.addr() % asked.align(), 0);
                    block.write_bytes(step as u8, asked.size());
                    blocks.push((block, asked, step as u8));
                }
            } else if !blocks.is_empty() {
                let (block, had, fill) = blocks.swap_remove(below(blocks.len()));
                assert!((0..had.size()).all(|i| block.add(i).read() == fill));
                let wanted = layout(asked.size(), had.align());
                let moved = if step % 2 == 0 {
                    heap.realloc(block, had, wanted.size())
                } else {
                    std::ptr::null_mut()
                };
                if moved.is_null() {
                    heap.dealloc(block, had);
                } else {
                    moved.write_bytes(fill, wanted.size());
                    blocks.push((moved, wanted, fill));
                }
            }
        }
        if step % 16 == 0 {
            heap.check().unwrap();
        }
    }
    let side = |n: usize| {
        let start = across.addr() + n * HALF;
        blocks.iter().filter(|(block, ..)| (start..start + HALF).contains(&block.addr())).count()
    };
    assert!(side(0) > 0 && side(1) > 0 && full > 0, "{}, {}, {full}", side(0), side(1));
    for (block, had, _) in blocks {
        // SAFETY: a live block with its layout.
        unsafe { heap.dealloc(block, had) };
    }
    assert_eq!(heap.check().unwrap().free_blocks, 3);
}
