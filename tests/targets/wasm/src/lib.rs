//! The fixed engine in pages that it gets by growing a WebAssembly memory, run
//! by `run.mjs` under Node.

#![no_std]

use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use expert_alloc::ExpertHeap;

#[path = "../../tour.rs"]
mod tour;

/// Bytes in a page of WebAssembly memory.
const PAGE: usize = 64 << 10;

/// Returns 0 if all is well, otherwise the address of a text, whose length is in the high
/// half.
#[unsafe(no_mangle)]
pub extern "C" fn run() -> u64 {
    let Some(memory) = grow(2) else { return text("the memory does not grow") };
    match tour::tour(memory, 40, 1_000) {
        None => 0,
        Some(what) => text(what),
    }
}

/// Tests a heap in the last `len` addresses of a memory that has all of them; the result is
/// as above.
#[unsafe(no_mangle)]
pub extern "C" fn run_at_the_top(len: usize) -> u64 {
    static HEAP: ExpertHeap = ExpertHeap::empty();
    let start = core::ptr::with_exposed_provenance_mut(0usize.wrapping_sub(len));
    // SAFETY: the pages did not exist before, so nothing else refers to them.
    let usable = unsafe { HEAP.add_region(start, len) };
    if usable > len || usable + 64 < len {
        return text("a region at the top is not used");
    }
    at_the_top(&HEAP).err().map_or(0, text)
}

fn at_the_top(heap: &'static ExpertHeap) -> Result<(), &'static str> {
    let expert = heap.expert("top").register().map_err(|_| "no expert")?;
    let mut all = 0;
    while expert.alloc(100).is_ok() {
        all += 1;
    }
    if all == 0 {
        return Err("no memory");
    }
    let last = expert.alloc(1).or_else(|_| Err("none is left"));
    if let Ok(block) = last {
        let grown = expert.realloc(block.as_ptr(), 2).map_err(|_| "no realloc")?;
        all += 1;
        if heap.owner_of(grown.as_ptr()) != Some(expert.key()) {
            return Err("whose?");
        }
    }
    heap.check().map_err(|_| "a rule is broken")?;
    if heap.owner_of(core::ptr::without_provenance::<u8>(usize::MAX)).is_some() {
        return Err("the last address is a block's");
    }
    if expert.finish().blocks != all { Err("the blocks did not come back") } else { Ok(()) }
}

/// New pages at the end of the memory, which no other code uses.
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
