//! Tests of regions anywhere in memory, across windows and at their edges.

use super::*;

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
    assert_eq!(unsafe { heap.add_region(std::ptr::null_mut(), 31) }, 0);
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

/// Half of the mapped bytes; as many lie on each side of a border of two windows.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
const HALF: usize = 64 << 10;

/// Memory that only this test uses, half of it before a border of two windows.
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
    // The second range is for AddressSanitizer, which keeps what is below to itself.
    (0x50..0x70).chain(0x2000..0x2020).find_map(map).expect("some place is free")
}

/// The second word of an end mark takes links to blocks (INDEX4). In memory at such an
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
    // The second range is for AddressSanitizer, which keeps what is below to itself.
    let memory = (0x70..0x90).chain(0x2020..0x2040).find_map(map).expect("some place is free");
    let heap: &'static ExpertHeap = Box::leak(Box::new(ExpertHeap::empty()));
    // SAFETY: the mapping is nobody else's, and is never undone.
    unsafe { heap.add_region(memory, SIZE) };
    let expert = heap.expert("one").register().unwrap();
    assert_eq!(expert.key().to_string(), "1.1", "slot 1");
    let handle = expert.allocator();
    // The region has a run of the expert's blocks, one block of the host, and a run up to
    // the end.
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
    // Memory that is refused is not touched.
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

/// A heap with a region elsewhere gets memory on both sides of an address that is a
/// multiple of 4 GiB, so it has three indexes.
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
