//! A program that shows how much an allocator adds to firmware: `.ci/targets sizes` builds
//! it once with each allocator, and prints the sizes of its sections. It is linked, not
//! run.

#![no_std]
#![no_main]

use core::alloc::{GlobalAlloc, Layout};
use core::hint::black_box;
use core::panic::PanicInfo;

mod heap;

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {}
}

/// Gives the heap its memory, allocates, resizes and frees.
///
/// # Safety
///
/// - S1 `memory` is `len` bytes that nothing else uses.
#[unsafe(no_mangle)]
unsafe extern "C" fn measured(memory: *mut u8, len: usize) {
    // SAFETY: S1.
    unsafe { heap::add(memory, len) };
    let Ok(layout) = Layout::from_size_align(black_box(40), black_box(8)) else { return };
    let heap = black_box(&heap::HEAP as &dyn GlobalAlloc);
    // SAFETY: the layout is not of size 0.
    let block = unsafe { heap.alloc(layout) };
    // SAFETY: a block with its layout, or null, which this is not run with.
    let block = unsafe { heap.realloc(block, layout, black_box(80)) };
    // SAFETY: as above.
    unsafe { heap.dealloc(block, layout) };
    #[cfg(feature = "experts")]
    black_box(heap::experts());
}
