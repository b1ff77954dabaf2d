//! Tests which work is done under the lock (LOCKED2, LOCKED3), by a lock that has hooks.

use std::alloc::GlobalAlloc;
use std::cell::RefCell;
use std::mem::MaybeUninit;

use allocator_api2::alloc::Allocator;
use expert_alloc::ExpertHeap;
use expert_alloc::fixed::SpinLock;
use lock_api::RawMutex;

use crate::{fill, give, is_filled, layout, resize, take, write};

/// A lock that calls the thread's hook before it is taken, and after it is let go.
struct Hooked(SpinLock);

type Hook = Box<dyn FnMut(bool)>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

fn call_hook(taking: bool) {
    // The hook's own calls to the heap call no hook.
    let hook = HOOK.try_with(|hook| hook.borrow_mut().take()).ok().flatten();
    if let Some(mut hook) = hook {
        hook(taking);
        HOOK.with(|place| *place.borrow_mut() = Some(hook));
    }
}

// SAFETY: as the lock within.
unsafe impl RawMutex for Hooked {
    const INIT: Self = Self(SpinLock::INIT);

    type GuardMarker = <SpinLock as RawMutex>::GuardMarker;

    fn lock(&self) {
        call_hook(true);
        RawMutex::lock(&self.0);
    }

    fn try_lock(&self) -> bool {
        RawMutex::try_lock(&self.0)
    }

    unsafe fn unlock(&self) {
        // SAFETY: as the caller promises.
        unsafe { RawMutex::unlock(&self.0) };
        call_hook(false);
    }
}

fn hooked(size: usize) -> &'static ExpertHeap<Hooked> {
    let heap: &'static ExpertHeap<Hooked> = Box::leak(Box::new(ExpertHeap::empty()));
    let memory: &'static mut [MaybeUninit<u8>] = vec![MaybeUninit::uninit(); size].leak();
    // SAFETY: leaked memory is nobody else's.
    assert_ne!(unsafe { heap.add_region(memory.as_mut_ptr().cast(), size) }, 0);
    heap
}

/// Calls `act` with a hook.
fn with_hook<T>(hook: impl FnMut(bool) + 'static, act: impl FnOnce() -> T) -> T {
    HOOK.with(|place| *place.borrow_mut() = Some(Box::new(hook)));
    let done = act();
    HOOK.with(|place| *place.borrow_mut() = None);
    done
}

/// Changes the content of the old block once the lock is let go for the first time, and
/// again before it is taken for the second time. A copy that is made in between, without
/// the lock, has the first change only.
fn copied_unlocked(block: *mut u8, size: usize, act: impl FnOnce() -> *mut u8) {
    write(block, size, 1);
    let mut events = 0;
    let moved = with_hook(
        move |_| {
            events += 1;
            if events == 2 || events == 3 {
                write(block, size, events);
            }
        },
        act,
    );
    assert!(!moved.is_null() && moved != block, "{size} bytes moved");
    assert!(is_filled(moved, size, 2), "{size} bytes were copied under the lock");
}

#[test]
fn what_is_large_is_not_copied_under_the_lock() {
    for (old, new, align) in [(16_400, 30_000, 8), (50_000, 60_000, 8), (20_000, 30_000, 64)] {
        let heap = hooked(1 << 20);
        let had = layout(old, align);
        // SAFETY: no size is 0.
        let block = unsafe { heap.alloc(had) };
        take(heap, 200);
        // SAFETY: a live block with its layout.
        copied_unlocked(block, old, || unsafe { heap.realloc(block, had, new) });
        heap.check().unwrap();
    }
    // Only a search finds room for this block.
    let heap = hooked(256 << 10);
    let block = (take(heap, 20_000), take(heap, 8)).0;
    let hole = (take(heap, 30_000), take(heap, 8)).0;
    fill(heap);
    give(heap, hole, 30_000);
    copied_unlocked(block, 20_000, || resize(heap, block, 20_000, 30_000));
    heap.check().unwrap();
    // Of an expert.
    let heap = hooked(256 << 10);
    let expert = heap.expert("large").register().unwrap();
    let (old, new) = (layout(20_000, 8), layout(30_000, 8));
    let block = expert.allocator().allocate(old).unwrap().cast::<u8>();
    expert.alloc(200).unwrap();
    copied_unlocked(block.as_ptr(), 20_000, || {
        // SAFETY: a live block with its layout.
        unsafe { expert.allocator().grow(block, old, new) }.unwrap().cast().as_ptr()
    });
    heap.check().unwrap();
}

#[test]
fn a_raw_block_is_none_while_it_is_moved_or_filled() {
    let heap = hooked(64 << 10);
    let expert: &'static _ = Box::leak(Box::new(heap.expert("racing").register().unwrap()));
    let block = expert.alloc(500).unwrap().as_ptr();
    expert.alloc(200).unwrap();
    // After the lock is released for the first time, the old block is no raw block.
    let mut unlocked = 0;
    let moved = with_hook(
        move |taking| {
            unlocked += usize::from(!taking);
            if unlocked > 0 {
                assert_eq!(expert.size(block), 0, "half-way");
            }
        },
        || expert.realloc(block, 5_000).unwrap().as_ptr(),
    );
    assert_ne!(moved, block);
    // At the place of the next block, there is no raw block until it is filled.
    write(moved, 5_000, 7);
    expert.free(moved).unwrap();
    let again = with_hook(
        move |_| {
            assert!(expert.size(moved) == 0 || is_filled(moved, 5_000, 0), "not yet filled");
        },
        || expert.alloc(5_000).unwrap().as_ptr(),
    );
    assert_eq!(again, moved);
    heap.check().unwrap();
}

/// How often the lock is taken.
#[cfg(target_pointer_width = "64")]
fn locks<T>(act: impl FnOnce() -> T) -> (usize, T) {
    let count = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = count.clone();
    let done = with_hook(move |taking| counted.set(counted.get() + usize::from(taking)), act);
    (count.get(), done)
}

#[test]
#[cfg(target_pointer_width = "64")]
fn what_is_small_is_moved_without_taking_the_lock_again() {
    let heap = hooked(256 << 10);
    let block = (take(heap, 16_384), take(heap, 8)).0;
    let (count, moved) = locks(|| resize(heap, block, 16_384, 20_000));
    assert!(moved != block && count == 1, "{count}");
    // The block is larger than the hole.
    take(heap, 17_000);
    let (count, again) = locks(|| resize(heap, moved, 20_000, 30_000));
    assert!(again != moved && count == 2, "{count}");
}

#[test]
fn nothing_is_filled_under_the_lock() {
    let heap = hooked(64 << 10);
    let expert = heap.expert("zeros").register().unwrap();
    let handle = expert.allocator();
    let large = layout(5_000, 16);
    let dirty = || {
        let block = handle.allocate(large).unwrap().cast::<u8>();
        write(block.as_ptr(), 5_000, 7);
        // SAFETY: a live block with its layout.
        unsafe { handle.deallocate(block, large) };
        block
    };
    // SAFETY: memory of the heap.
    let middle =
        |block: std::ptr::NonNull<u8>| unsafe { block.as_ptr().wrapping_add(2_500).read() };
    let place = dirty();
    let block = with_hook(
        move |taking| assert!(taking || middle(place) == 7),
        || handle.allocate_zeroed(large).unwrap().cast::<u8>(),
    );
    assert!(block == place && is_filled(block.as_ptr(), 5_000, 0));
    // SAFETY: a live block with its layout.
    unsafe { handle.deallocate(block, large) };
    let place = dirty();
    let mut unlocked = 0;
    let block = with_hook(
        move |taking| {
            assert!(!taking || unlocked == 0 || middle(place) == 0, "filled later");
            unlocked += usize::from(!taking);
            assert!(taking || unlocked > 1 || middle(place) == 7, "filled before");
        },
        || expert.alloc(5_000).unwrap(),
    );
    assert!(block == place && is_filled(block.as_ptr(), 5_000, 0));
}
