//! Collections of other crates in an expert's memory: over the `Allocator` of
//! allocator-api2 0.2 and 0.4, and of the standard library if the toolchain has it. (The
//! documentation of `Expert` shows, by code that does not compile, that none of them
//! outlives its expert.)

#![cfg_attr(expert_alloc_allocator_gate, feature(allocator_api))]

#[path = "common/experts.rs"]
mod common;

use std::alloc::Layout;

use allocator_api2::alloc::Allocator;
use expert_alloc::{Expert, ExpertAlloc};

use common::{ALLOC, expert};

/// Whether `address` is in the expert's memory.
fn is_of<T>(expert: &Expert, address: *const T) -> bool {
    ALLOC.owner_of(address) == Some(expert.key())
}

#[test]
fn hashbrown_maps() {
    let expert = expert("map");
    let mut users = hashbrown::HashMap::new_in(expert.allocator());
    for number in 0..10_000_u64 {
        *users.entry(number % 1000).or_insert(0) += number;
    }
    assert_eq!(users[&7], (0..10).map(|round| round * 1000 + 7).sum::<u64>());
    assert!(is_of(&expert, &users[&7]));
    let held = expert.stats();
    assert!(held.live_bytes >= 1000 * 16 && held.live_blocks == 1, "{held}");
    drop(users);
    assert_eq!(expert.stats().live_blocks, 0);
    assert_eq!(expert.finish().blocks, 0);
}

#[test]
fn vectors_and_boxes_of_allocator_api2_0_2() {
    let expert = expert("0.2");
    let mut numbers = allocator_api2::vec::Vec::new_in(expert.allocator());
    numbers.extend(0..100_000_u32);
    numbers.truncate(10);
    numbers.shrink_to_fit();
    assert_eq!(numbers.iter().sum::<u32>(), 45);
    assert!(is_of(&expert, numbers.as_ptr()));
    let boxed = allocator_api2::boxed::Box::new_in([7_u8; 300], expert.allocator());
    assert!(is_of(&expert, &*boxed));
    let copy = numbers.clone();
    assert!(is_of(&expert, copy.as_ptr()));
    drop((numbers, copy, boxed));
    assert_eq!(expert.stats().live_blocks, 0);
}

#[test]
#[cfg(feature = "allocator-api2-04")]
fn vectors_and_boxes_of_allocator_api2_0_4() {
    let expert = expert("0.4");
    let mut numbers = allocator_api2_04::vec::Vec::new_in(expert.allocator());
    numbers.extend(0..100_000_u32);
    assert_eq!(numbers.len(), 100_000);
    assert!(is_of(&expert, numbers.as_ptr()));
    let boxed = allocator_api2_04::boxed::Box::new_in([7_u8; 300], expert.allocator());
    assert!(is_of(&expert, &*boxed));
    drop((numbers, boxed));
    assert_eq!(expert.stats().live_blocks, 0);
}

#[test]
#[cfg(feature = "allocator-api2-04")]
fn a_bump_arena_over_a_handle() {
    let expert = expert("bump");
    let memory = blink_alloc::BlinkAlloc::new_in(expert.allocator());
    let mut arena = blink_alloc::Blink::new_in(memory);
    for number in 0..10_000_u64 {
        let place = arena.put(number);
        assert!(number % 1000 != 0 || is_of(&expert, place));
    }
    let held = expert.stats();
    assert!(held.live_bytes >= 80_000 && held.live_blocks < 100, "{held}");
    arena.reset();
    drop(arena);
    assert_eq!(expert.stats().live_blocks, 0);
}

#[test]
#[cfg(expert_alloc_allocator)]
fn vectors_and_boxes_of_the_standard_library() {
    let expert = expert("std");
    let mut numbers = Vec::new_in(expert.allocator());
    numbers.extend(0..100_000_u32);
    assert!(is_of(&expert, numbers.as_ptr()));
    let boxed = Box::new_in([7_u8; 300], expert.allocator());
    assert!(is_of(&expert, &*boxed));
    drop((numbers, boxed));
    assert_eq!(expert.stats().live_blocks, 0);
}

#[test]
fn what_is_forgotten_comes_back_with_the_expert() {
    let expert = expert("forgetful");
    for size in 1..=100 {
        std::mem::forget(allocator_api2::vec::Vec::<u64, _>::with_capacity_in(
            size,
            expert.allocator(),
        ));
    }
    let held = expert.stats();
    let reclaimed = expert.finish();
    assert_eq!((reclaimed.blocks, reclaimed.bytes), (100, held.live_bytes));
}

#[test]
fn several_threads_share_a_handle_and_free_each_others_blocks() {
    let expert = expert("threads");
    let handle = expert.allocator();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let sender = sender.clone();
            scope.spawn(move || {
                for length in 0..3000_usize {
                    let mut bytes = allocator_api2::vec::Vec::new_in(handle);
                    bytes.resize(length % 700, length as u8);
                    sender.send(bytes).unwrap();
                }
            });
        }
        drop(sender);
        for bytes in receiver {
            assert!(bytes.iter().all(|byte| *byte as usize % 256 == bytes[0] as usize));
        }
    });
    assert_eq!(expert.stats().live_blocks, 0);
}

/// Grows and shrinks blocks between all sizes and alignments from nothing to beyond a
/// chunk. The content stays, and new bytes are zero if that is asked for.
#[test]
fn every_resize_keeps_the_content() {
    let expert = expert("resizes");
    let handle = expert.allocator();
    let sizes = [0, 1, 24, 100, 1000, 5000, 40_000, 200_000, 3 << 20];
    let aligns = [1, 16, 4096, 65536, 1 << 18, 1 << 26];
    let layouts: Vec<Layout> = sizes
        .iter()
        .flat_map(|&size| aligns.map(|align| Layout::from_size_align(size, align).unwrap()))
        .collect();
    for &old in &layouts {
        for &new in &layouts {
            let block = handle.allocate(old).unwrap().cast::<u8>();
            assert_eq!(block.addr().get() % old.align(), 0);
            // SAFETY: a fresh block of this size.
            unsafe { block.write_bytes(0x5A, old.size()) };
            let grows = new.size() >= old.size();
            let resized = if grows {
                // SAFETY: the live block of this layout, and no smaller.
                unsafe { handle.grow_zeroed(block, old, new) }
            } else {
                // SAFETY: the live block of this layout, and smaller.
                unsafe { handle.shrink(block, old, new) }
            };
            let resized = resized.unwrap();
            assert_eq!(
                (resized.len(), resized.cast::<u8>().addr().get() % new.align()),
                (new.size(), 0)
            );
            // SAFETY: the block has these bytes.
            let bytes = unsafe { resized.as_ref() };
            let kept = old.size().min(new.size());
            assert!(bytes[..kept].iter().all(|&byte| byte == 0x5A), "{old:?} {new:?}");
            assert!(bytes[kept..].iter().all(|&byte| byte == 0), "{old:?} {new:?}");
            // SAFETY: the live block of this layout.
            unsafe { handle.deallocate(resized.cast(), new) };
        }
    }
    assert_eq!(expert.stats().live_blocks, 0);
}

#[test]
fn shrinking_never_fails_at_the_quota_or_after_termination() {
    let expert = ALLOC.expert("full").quota(1 << 20).register().unwrap();
    let mut held = Vec::new();
    for size in [100_000, 5000, 700, 90] {
        loop {
            let mut bytes = allocator_api2::vec::Vec::<u8, _>::new_in(expert.allocator());
            if bytes.try_reserve_exact(size).is_err() {
                break;
            }
            bytes.extend([1, 2, 3]);
            held.push(bytes);
        }
    }
    assert!(expert.stats().refusals >= 4);
    expert.terminate();
    for bytes in &mut held {
        bytes.shrink_to_fit();
        assert_eq!((bytes.capacity(), bytes.as_slice()), (3, &[1, 2, 3][..]));
    }
    drop(held);
    assert_eq!(expert.stats().live_blocks, 0);
}

#[test]
fn empty_blocks_are_no_blocks() {
    let expert = expert("empty");
    let before = expert.stats();
    let layout = Layout::from_size_align(0, 4096).unwrap();
    let block = expert.allocator().allocate(layout).unwrap();
    assert_eq!((block.len(), block.cast::<u8>().addr().get()), (0, 4096));
    // SAFETY: the block of this layout.
    unsafe { expert.allocator().deallocate(block.cast(), layout) };
    assert_eq!(expert.stats(), before);
}

/// Whether a type is an `Allocator`, and whether it is a `GlobalAlloc`.
macro_rules! roles {
    ($type:ty) => {{
        use std::marker::PhantomData;

        struct Asked<T: ?Sized>(PhantomData<T>);
        /// The answers if none of the inherent ones below applies.
        #[allow(dead_code, reason = "depends on the type")]
        trait Neither {
            const ALLOCATOR: bool = false;
            const GLOBAL: bool = false;
        }
        impl<T: ?Sized> Neither for Asked<T> {}
        #[allow(dead_code, reason = "depends on the type")]
        impl<T: Allocator + ?Sized> Asked<T> {
            const ALLOCATOR: bool = true;
        }
        #[allow(dead_code, reason = "depends on the type")]
        impl<T: std::alloc::GlobalAlloc + ?Sized> Asked<T> {
            const GLOBAL: bool = true;
        }
        (<Asked<$type>>::ALLOCATOR, <Asked<$type>>::GLOBAL)
    }};
}

/// The traits have methods of the same names, and a later standard library may
/// implement one for every type that has the other.
#[test]
fn no_type_is_an_allocator_and_a_global_allocator() {
    assert_eq!(roles!(ExpertAlloc), (false, true));
    assert_eq!(roles!(expert_alloc::ExpertHeap), (false, true));
    assert_eq!(roles!(&'static expert_alloc::ExpertHeap), (false, false));
    assert_eq!(roles!(expert_alloc::ExpertHandle<'static>), (true, false));
    assert_eq!(roles!(Expert), (false, false));
}
