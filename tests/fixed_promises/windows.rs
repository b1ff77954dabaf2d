//! Tests of memory at chosen addresses: around the borders of 4 GiB, and with nothing
//! behind it.

use expert_alloc::{Error, ExpertHeap};

use crate::pointers::{OldHeader, old_header};
use crate::regions::LOST;
use crate::{fill, give, heap, resize, take};

/// Half of the mapped bytes; as many lie on each side of a border of two windows.
const HALF: usize = 64 << 10;

/// `len` bytes that only this test uses, from `before` bytes before a border of two
/// windows.
fn map(before: usize, len: usize) -> *mut u8 {
    let map = |n: usize| {
        let at = std::ptr::without_provenance_mut((n << 32) - before);
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_FIXED_NOREPLACE);
        let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a mapping where there was none.
        let mapped = unsafe { libc::mmap(at, len, access, flags, -1, 0) };
        (mapped == at).then_some(mapped.cast::<u8>())
    };
    // The second range is for AddressSanitizer, which keeps what is below to itself.
    let mut places = (0x100..0x1000).chain(0x2000..0x3000).step_by(4);
    places.find_map(map).expect("some place is free")
}

#[test]
fn only_the_first_region_in_a_window_gives_up_bytes_for_an_index() {
    let across = map(HALF, 2 * HALF);
    let mut most = [0; 2];
    for start in 0..64 {
        let heap = heap(1 << 10);
        for (n, most) in most.iter_mut().enumerate() {
            let place = across.wrapping_add(HALF + n * 8192 + start);
            // SAFETY: nothing else uses it while there is this heap.
            let usable = unsafe { heap.add_region(place, 4096) };
            *most = (4096 - usable).max(*most);
        }
        // All of it can be used, and comes back.
        let blocks: Vec<_> =
            std::iter::repeat_with(|| take(heap, 100)).take_while(|at| !at.is_null()).collect();
        assert!(blocks.len() * 128 + 3 * 128 > 7_000);
        blocks.into_iter().for_each(|block| give(heap, block, 100));
        assert_eq!(heap.check().unwrap().free_blocks, 3);
    }
    assert!(most[0] <= 800 + LOST && most[1] <= LOST, "{most:?}");
}

/// Memory for more than one block becomes two regions, and no more bytes are lost.
#[test]
fn a_region_may_be_larger_than_a_block() {
    let heap: ExpertHeap = ExpertHeap::empty();
    let len = 3 << 30;
    // SAFETY: nothing else uses this mapping.
    let usable = unsafe { heap.add_region(map(0, len), len) };
    assert!(usable + 2 * LOST >= len, "{usable}");
    let large = (i32::MAX as usize & !31) - 8;
    let blocks = [take(&heap, large), take(&heap, 1 << 29)];
    assert!(blocks.iter().all(|block| !block.is_null()));
    assert_eq!(heap.check().unwrap().regions, 2);
}

/// Blocks of a second window have their lists in another index.
#[test]
fn experts_live_in_other_windows_too() {
    let heap = heap(1 << 10);
    let expert = heap.expert("elsewhere").register().unwrap();
    fill(heap);
    // SAFETY: nothing else uses this mapping.
    assert_ne!(unsafe { heap.add_region(map(0, 64 << 10), 64 << 10) }, 0);
    let free = heap.check().unwrap().free_blocks;
    let [one, two, three] = [(); 3].map(|()| expert.alloc(200).unwrap().as_ptr());
    let wall = take(heap, 8);
    heap.check().unwrap();
    expert.free(two).unwrap();
    heap.check().unwrap();
    // The block shrinks and grows where it stands.
    assert_eq!(expert.realloc(three, 50).unwrap().as_ptr(), three);
    heap.check().unwrap();
    assert_eq!(expert.realloc(three, 200).unwrap().as_ptr(), three);
    heap.check().unwrap();
    let _ = expert.finish();
    heap.check().unwrap();
    assert_eq!(take(heap, 3 * 200).addr(), one.addr());
    give(heap, one, 3 * 200);
    give(heap, wall, 8);
    assert_eq!(heap.check().unwrap().free_blocks, free);
    // The block grows into the hole before it.
    let [before, block, behind, wall] = [2_000, 100, 2_000, 8].map(|size| take(heap, size));
    fill(heap);
    give(heap, before, 2_000);
    give(heap, behind, 2_000);
    let most = wall.addr() - before.addr() - 200;
    assert_eq!(resize(heap, block, 100, most), before);
    heap.check().unwrap();
    assert!(!take(heap, 100).is_null());
    heap.check().unwrap();
}

/// An old header leads far out of the region, where there is no memory.
#[test]
fn an_old_header_that_leads_out_of_the_region_is_not_followed() {
    let heap: ExpertHeap = ExpertHeap::empty();
    // SAFETY: nothing else uses this mapping.
    assert_ne!(unsafe { heap.add_region(map(0, 8 << 10), 8 << 10) }, 0);
    let expert = heap.expert("forger").register().unwrap();
    let OldHeader { block, header, copy, last } = old_header(&expert);
    for log2 in 16..31 {
        // SAFETY: inside the block.
        unsafe { header.write(copy) };
        // SAFETY: inside the block.
        unsafe { last.wrapping_sub(8).cast::<u32>().write(1 << log2) };
        assert_eq!(expert.free(block), Err(Error::InvalidPointer));
    }
    heap.check().unwrap();
}
