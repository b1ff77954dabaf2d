//! Tests of extreme sizes, alignments and quotas.

mod common;

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;

use allocator_api2::alloc::Allocator;
use common::ALLOC;
use expert_alloc::{Error, Expert, State};

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// The byte at `offset` of a block.
///
/// # Safety
///
/// - S1 the offset is inside the live block at `start`.
unsafe fn byte_at<'a>(start: *mut u8, offset: usize) -> &'a mut u8 {
    // SAFETY: S1.
    let place = unsafe { start.add(offset) };
    // SAFETY: S1: bytes of a block that only this test has.
    unsafe { &mut *place }
}

/// Writes and reads the ends of a block, and frees it.
fn use_and_free(start: *mut u8, layout: Layout) {
    assert_eq!(start.addr() % layout.align(), 0, "{layout:?}");
    assert_eq!(ALLOC.owner_of(start), Some(ALLOC.host().key()));
    for offset in [0, layout.size() / 2, layout.size() - 1] {
        // SAFETY: inside the block.
        *unsafe { byte_at(start, offset) } = offset as u8 | 1;
    }
    // SAFETY: inside the block.
    assert_eq!(*unsafe { byte_at(start, layout.size() - 1) }, (layout.size() - 1) as u8 | 1);
    // SAFETY: allocated with this layout.
    unsafe { ALLOC.dealloc(start, layout) };
}

#[test]
fn every_alignment_to_far_beyond_a_chunk() {
    for shift in 0..=30 {
        let align = 1 << shift;
        for size in [1, 16, 100, 4096, 65536, 65537, 1 << 20, align.min(40 << 20)] {
            let layout = layout(size, align);
            // SAFETY: the size is not 0.
            let start = unsafe { ALLOC.alloc(layout) };
            assert!(!start.is_null(), "{layout:?}");
            use_and_free(start, layout);
            // SAFETY: the size is not 0.
            let zeroed = unsafe { ALLOC.alloc_zeroed(layout) };
            // SAFETY: inside the block.
            assert_eq!(*unsafe { byte_at(zeroed, size - 1) }, 0);
            use_and_free(zeroed, layout);
        }
    }
}

#[test]
fn an_alignment_may_change_with_the_size() {
    let expert = ALLOC.expert("aligned").register().unwrap();
    let allocator = expert.allocator();
    let aligns = [1, 16, 4096, 1 << 16, 1 << 17, 1 << 20, 1 << 25, 1 << 26];
    for (from, to) in aligns.into_iter().flat_map(|from| aligns.map(|to| (from, to))) {
        for (small, large) in [(100, 200), (100, 100_000), (70_000, 70_000), (1 << 20, 20 << 20)] {
            let (old, new) = (layout(small, from), layout(large, to));
            let start: NonNull<u8> = allocator.allocate(old).unwrap().cast();
            // SAFETY: inside the block.
            unsafe { start.write_bytes(7, small) };
            // SAFETY: a live block of this layout, and a larger one.
            let grown = unsafe { allocator.grow_zeroed(start, old, new) }.unwrap().cast::<u8>();
            assert_eq!(grown.addr().get() % to, 0);
            // SAFETY: inside the block.
            let all = unsafe { std::slice::from_raw_parts(grown.as_ptr(), large) };
            assert!(all[..small].iter().all(|&byte| byte == 7), "{old:?} {new:?}");
            assert!(all[small..].iter().all(|&byte| byte == 0), "{old:?} {new:?}");
            // SAFETY: a live block of this layout, and a smaller one.
            let shrunk = unsafe { allocator.shrink(grown, new, old) }.unwrap().cast::<u8>();
            assert_eq!(shrunk.addr().get() % from, 0);
            // SAFETY: inside the block.
            assert_eq!(*unsafe { byte_at(shrunk.as_ptr(), small - 1) }, 7);
            // SAFETY: a live block of this layout.
            unsafe { allocator.deallocate(shrunk, old) };
        }
    }
    assert_eq!(expert.stats().live_blocks, 0);
    assert_eq!(expert.finish().blocks, 0);
}

#[test]
fn sizes_near_the_largest_are_refused() {
    let expert = ALLOC.expert("greedy").register().unwrap();
    let largest = isize::MAX as usize;
    // On 32-bit targets, half of the addresses may be available.
    let lesser: &[usize] = &[0, 1, 15, 16, 4095, 4096, 65536, 1 << 25, 1 << 26, largest / 8];
    for less in if usize::BITS == 64 { lesser } else { &[] } {
        let size = largest - less;
        let one = layout(size, 1);
        // SAFETY: the size is not 0.
        assert!(unsafe { ALLOC.alloc(one) }.is_null(), "{one:?}");
        // SAFETY: the size is not 0.
        assert!(unsafe { ALLOC.alloc_zeroed(one) }.is_null(), "{one:?}");
        assert!(expert.allocator().allocate(one).is_err());
        assert_eq!(expert.alloc(size).err(), Some(Error::OutOfMemory));
        if let Ok(aligned) = Layout::from_size_align(size, 1 << 26) {
            // SAFETY: the size is not 0.
            assert!(unsafe { ALLOC.alloc(aligned) }.is_null(), "{aligned:?}");
        }
    }
    for size in [usize::MAX, usize::MAX - 15, usize::MAX - 16, largest + 1] {
        assert_eq!(expert.alloc(size).err(), Some(Error::OutOfMemory));
    }
    // A block survives a growth that is refused.
    let raw = expert.alloc(100).unwrap();
    assert_eq!(expert.realloc(raw.as_ptr(), usize::MAX).err(), Some(Error::OutOfMemory));
    assert_eq!(expert.size(raw.as_ptr()), 100);
    let mut list = vec![5u8; 1000];
    assert!(list.try_reserve_exact(largest - 1000).is_err() || usize::BITS == 32);
    assert!(list.iter().all(|&byte| byte == 5));
    assert_eq!(expert.stats().live_blocks, 1);
}

#[test]
fn nothing_is_a_size_too() {
    let expert = ALLOC.expert("nothing").quota(64 << 10).register().unwrap();
    let allocator = expert.allocator();
    for align in [1, 16, 4096, 1 << 20, 1 << (usize::BITS - 4)] {
        let none = layout(0, align);
        let start = allocator.allocate_zeroed(none).unwrap();
        assert_eq!((start.len(), start.cast::<u8>().addr().get() % align), (0, 0));
        // SAFETY: a block of this layout.
        unsafe { allocator.deallocate(start.cast(), none) };
    }
    let start = allocator.allocate(layout(0, 1)).unwrap().cast();
    // SAFETY: a block of this layout.
    let start = unsafe { allocator.grow_zeroed(start, layout(0, 1), layout(33, 1)) }.unwrap();
    // SAFETY: a block of this layout.
    let start = unsafe { allocator.shrink(start.cast(), layout(33, 1), layout(0, 1)) }.unwrap();
    assert_eq!(expert.stats().live_blocks, 0);
    // SAFETY: a block of this layout.
    unsafe { allocator.deallocate(start.cast(), layout(0, 1)) };
    // Raw blocks of size 0 are blocks.
    let raws: Vec<_> = (0..100).map(|_| expert.alloc(0).unwrap()).collect();
    for (at, raw) in raws.iter().enumerate() {
        assert!(!raws[..at].contains(raw), "unique");
        assert_eq!(ALLOC.owner_of(raw.as_ptr()), Some(expert.key()));
        assert_eq!(expert.size(raw.as_ptr()), 0);
    }
    raws.iter().for_each(|raw| expert.free(raw.as_ptr()).unwrap());
    assert_eq!(expert.stats().live_blocks, 0);
}

/// Measures how much of a quota is in raw blocks when the first request is refused.
fn usable(expert: &Expert, mut size: impl FnMut(usize) -> usize) -> usize {
    let mut live = 0;
    for number in 0.. {
        let size = size(number);
        match expert.alloc(size) {
            // The prefix of 16 bytes is a part of the block.
            Ok(_) => live += size + 16,
            Err(why) => {
                assert_eq!(why, Error::QuotaExceeded);
                break;
            }
        }
    }
    let stats = expert.stats();
    assert!(stats.charged_bytes <= stats.quota, "{stats}");
    assert!(stats.refusals >= 1);
    live
}

#[test]
fn most_of_a_quota_can_be_used() {
    for (quota, percent) in [(1 << 20, 90), (64 << 20, 98)] {
        for size in [48, 112, 496, 1008, 4080] {
            let expert = ALLOC.expert("full").quota(quota).register().unwrap();
            let live = usable(&expert, |_| size);
            assert!(live >= quota / 100 * percent, "{live} of {quota} in blocks of {size}");
            assert!(live <= quota);
        }
    }
}

#[test]
fn what_is_freed_can_be_used_again() {
    let expert = ALLOC.expert("again").quota(1 << 20).register().unwrap();
    for round in 0..50 {
        let size = 32 << (round % 6);
        let mut blocks = Vec::new();
        while let Ok(block) = expert.alloc(size - 16) {
            blocks.push(block);
        }
        let live = blocks.len() * size;
        assert!(live >= (1 << 20) / 100 * 85, "{live} in round {round}, blocks of {size}");
        // Some blocks are allocated on another thread.
        let (here, there) = blocks.split_at(blocks.len() / 2);
        let there: Vec<usize> = there.iter().map(|block| block.addr().get()).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                there.iter().for_each(|&block| expert.free(block as *mut u8).unwrap());
            });
        });
        here.iter().for_each(|block| expert.free(block.as_ptr()).unwrap());
        assert_eq!(expert.stats().live_blocks, 0);
    }
    assert_eq!(expert.state(), State::Live);
}

#[test]
fn a_realloc_that_fits_is_not_refused_near_the_limit() {
    let expert = ALLOC.expert("tight").quota(1 << 20).register().unwrap();
    let small = expert.alloc(100).unwrap();
    let large = expert.alloc(300 << 10).unwrap();
    usable(&expert, |_| 64);
    usable(&expert, |_| 1);
    // The block grows in place into its own slack, and shrinks in place.
    for size in [105, 100, 60, 1, 0, 96] {
        assert_eq!(expert.realloc(small.as_ptr(), size), Ok(small), "{size} bytes");
    }
    let smaller = expert.realloc(large.as_ptr(), 200 << 10).unwrap();
    assert_eq!(smaller, large, "a large block shrinks in place");
    // The block grows into the memory that it gave back.
    let larger = expert.realloc(large.as_ptr(), 290 << 10).unwrap();
    assert_eq!(expert.size(larger.as_ptr()), 290 << 10);
    assert_eq!(expert.realloc(larger.as_ptr(), 400 << 10).err(), Some(Error::QuotaExceeded));
    assert_eq!(expert.size(larger.as_ptr()), 290 << 10);
    let stats = expert.stats();
    assert!(stats.charged_bytes <= 1 << 20, "{stats}");
}

#[test]
fn children_never_escape_their_parents() {
    let parent = ALLOC.expert("parent").quota(1 << 20).register().unwrap();
    let child = ALLOC.expert("child").parent(&parent).register().unwrap();
    let grandchild = ALLOC.expert("grandchild").quota(8 << 20).parent(&child).register().unwrap();
    let live = usable_up_to(&grandchild, 2 << 20);
    assert!((900 << 10..=1 << 20).contains(&live), "{live} bytes");
    assert_eq!(parent.stats().charged_bytes, grandchild.stats().charged_bytes);
    assert!(child.alloc(100 << 10).is_err());
    assert!(parent.alloc(100 << 10).is_err());
    // From several threads at once, too.
    drop(grandchild);
    assert_eq!(parent.stats().charged_bytes, 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while child.alloc(500).is_ok() {
                    assert!(parent.stats().charged_bytes <= 1 << 20);
                }
            });
        }
    });
    assert!(parent.stats().charged_bytes <= 1 << 20);
    let blocks = child.finish().blocks;
    assert!(blocks * 512 >= 800 << 10, "{blocks} blocks");
    assert_eq!(parent.stats().charged_bytes, 0, "all refunded");
}

fn usable_up_to(expert: &Expert, most: usize) -> usize {
    let blocks = (0..most / 1024).take_while(|_| expert.alloc(1008).is_ok()).count();
    blocks * 1024
}
