//! Links only if no call of the heap can panic: the panic handler refers to a symbol that
//! does not exist, so no call may reach it.
//!
//! Printing a report is not among the calls, because `core::fmt` can panic.

#![no_std]
#![no_main]

use core::alloc::{GlobalAlloc, Layout};
use core::hint::black_box;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::debug;
use expert_alloc::ExpertHeap;
use expert_alloc::fixed::CriticalSectionLock;

// Brings in the critical section.
use cortex_m as _;

static HEAP: ExpertHeap<CriticalSectionLock> = ExpertHeap::empty();

#[entry]
fn main() -> ! {
    static mut REGION: [MaybeUninit<u8>; 8 << 10] = [MaybeUninit::uninit(); 8 << 10];
    // SAFETY: the region is this heap's alone: `entry` gives it to `main` only.
    unsafe { HEAP.add_region(REGION.as_mut_ptr().cast(), black_box(8 << 10)) };
    global();
    let done = experts().is_some();
    debug::exit(if done { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {}
}

fn global() {
    let Ok(layout) = Layout::from_size_align(black_box(40), black_box(32)) else { return };
    // SAFETY: the layout is not of size 0, and the block is used with it.
    unsafe {
        let block = HEAP.alloc(layout);
        let block = HEAP.realloc(block, layout, black_box(40));
        HEAP.dealloc(block, layout);
        let block = HEAP.alloc_zeroed(layout);
        HEAP.dealloc(block, layout);
    }
}

fn experts() -> Option<()> {
    let expert = HEAP.expert("calls").quota(black_box(4096)).register().ok()?;
    let child = HEAP.expert("child").parent(&expert).register().ok()?;
    let block = child.alloc(black_box(100)).ok()?;
    let block = child.realloc(block.as_ptr(), black_box(300)).ok()?;
    let block = child.transfer(block.as_ptr(), &expert).ok()?;
    black_box(expert.size(block.as_ptr()));
    black_box(child.free(block.as_ptr()).is_err());
    black_box(HEAP.owner_of(block.as_ptr().wrapping_add(black_box(8))));
    expert.free(block.as_ptr()).ok()?;
    expert.alloc(black_box(64)).ok()?;
    expert.on_reclaim(|| _ = black_box(1)).ok()?;
    child.terminate();
    let _ = black_box((child.stats(), expert.state(), HEAP.get(child.key()).is_some()));
    black_box(HEAP.terminate(expert.key()).is_ok());
    let _ = black_box((child.finish(), expert.finish(), HEAP.stats()));
    Some(())
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        /// Nothing defines this.
        fn a_call_of_the_heap_can_panic() -> !;
    }
    // SAFETY: a program in which this is reachable does not link.
    unsafe { a_call_of_the_heap_can_panic() }
}
