//! Memory of any kind and size.

use std::mem::MaybeUninit;

use expert_alloc::ExpertHeap;

use crate::{fill, give, heap, map, resize, take};

const LOST: usize = if usize::BITS == 64 { 86 } else { 30 };

/// Half of what is mapped on each side of a border of two windows, in bytes.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
const HALF: usize = 64 << 10;

#[test]
fn memory_need_not_be_zero() {
    let memory: &'static mut [u8] = vec![0xA5; 64 << 10].leak();
    let heap: ExpertHeap = ExpertHeap::empty();
    // SAFETY: nothing else uses leaked memory.
    unsafe { heap.add_region(memory.as_mut_ptr(), memory.len()) };
    let experts: Vec<_> =
        (0..100).map(|_| heap.expert("one of many").register().unwrap()).collect();
    assert_eq!(heap.experts().count(), 101);
    for expert in &experts {
        let block = expert.alloc(50).unwrap();
        assert_eq!(heap.owner_of(block.as_ptr()), Some(expert.key()));
    }
    assert!(experts.into_iter().all(|expert| expert.finish().blocks == 1));
    heap.check().unwrap();
}

/// Node, end mark, and the smallest block: at the right place so much is enough, and
/// at any with what is lost at most.
#[test]
fn the_smallest_region_has_a_block() {
    let (smallest, block) = if usize::BITS == 64 { (16 + 8 + 32, 32) } else { (8 + 8 + 16, 16) };
    let memory: &'static mut [MaybeUninit<u8>] = vec![MaybeUninit::uninit(); 512].leak();
    let mut least = usize::MAX;
    for (start, len) in (0..64).flat_map(|start| (0..160).map(move |len| (start, len))) {
        let heap: ExpertHeap = ExpertHeap::empty();
        let place = &mut memory[start..start + len];
        // SAFETY: nothing else uses it while there is this heap.
        let usable = unsafe { heap.add_region(place.as_mut_ptr().cast(), len) };
        assert!(usable != 0 || len < LOST + block, "{start}, {len}");
        if usable != 0 {
            least = least.min(len);
            assert!(!take(&heap, 8).is_null());
        }
        heap.check().unwrap();
    }
    assert_eq!(least, smallest);
}

#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
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

/// More than a block can have: two regions, of which nothing more is lost.
#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
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

/// Blocks of a window that the heap did not begin in: their lists are elsewhere.
#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
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
    // Shrinks and grows where it stands.
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
    // Over the hole before it.
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
