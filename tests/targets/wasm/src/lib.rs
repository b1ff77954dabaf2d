//! The fixed engine in pages that it gets by growing a WebAssembly memory, run
//! by `run.mjs` under Node.

#![no_std]

use core::mem::MaybeUninit;
use core::panic::PanicInfo;

#[path = "../../tour.rs"]
mod tour;

/// Bytes in a page of WebAssembly memory.
const PAGE: usize = 64 << 10;

/// 0 where all is well; else the address of a text, whose length is in the
/// high half.
#[unsafe(no_mangle)]
pub extern "C" fn run() -> u64 {
    let Some(memory) = grow(2) else { return text("the memory does not grow") };
    match tour::tour(memory, 40, 1_000) {
        None => 0,
        Some(what) => text(what),
    }
}

/// New pages at the end of the memory, which are nobody else's.
fn grow(pages: usize) -> Option<&'static mut [MaybeUninit<u8>]> {
    let before = core::arch::wasm32::memory_grow(0, pages);
    if before == usize::MAX {
        return None;
    }
    let start = core::ptr::with_exposed_provenance_mut(before * PAGE);
    // SAFETY: the pages did not exist before, so nothing else refers to them.
    Some(unsafe { core::slice::from_raw_parts_mut(start, pages * PAGE) })
}

fn text(what: &'static str) -> u64 {
    (what.len() as u64) << 32 | what.as_ptr().addr() as u64
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
