//! Tests of memory of any kind and size.

use std::mem::MaybeUninit;

use expert_alloc::ExpertHeap;

use crate::take;

/// The most bytes of a region that no block can use.
pub const LOST: usize = if usize::BITS == 64 { 86 } else { 30 };

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

/// The smallest region that has a block: node, end mark and the smallest block at the
/// right address, and the most that can be lost beside the block at any address.
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

/// Small boards have memory at address 0. If this program may map such memory, the heap
/// uses it; otherwise the system refuses it, not the heap.
#[cfg(target_os = "linux")]
#[test]
fn a_region_may_begin_at_address_0() {
    const LEN: usize = 64 << 10;
    if std::env::var_os("SANITIZER").is_some_and(|which| which == "thread") {
        println!("not run: ThreadSanitizer ends a program that maps address 0");
        return;
    }
    let how = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_FIXED_NOREPLACE;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: it takes the place of no other mapping.
    let zero = unsafe { libc::mmap(std::ptr::null_mut(), LEN, access, how, -1, 0) };
    if !zero.is_null() {
        println!("not run: this user may not map address 0");
        return;
    }
    let heap: ExpertHeap = ExpertHeap::empty();
    // SAFETY: nothing else uses the mapping.
    let usable = unsafe { heap.add_region(zero.cast(), LEN) };
    assert!(usable <= LEN && usable + LOST + 32 >= LEN, "{usable}");
    let expert = heap.expert("at the bottom").register().unwrap();
    let first = expert.alloc(40).unwrap();
    assert!(first.addr().get() < LEN);
    assert_eq!(heap.owner_of(first.as_ptr()), Some(expert.key()));
    assert_eq!(heap.owner_of(std::ptr::null::<u8>()), None);
    let all = std::iter::from_fn(|| expert.alloc(1000).ok()).count();
    assert!(all * 1000 > LEN * 9 / 10);
    heap.check().unwrap();
    assert_eq!(expert.finish().blocks, all + 1);
    heap.check().unwrap();
    // SAFETY: the heap is not used any more.
    assert_eq!(unsafe { libc::munmap(zero, LEN) }, 0);
}
