//! Counts the instructions of the fast paths by single steps, and prints a
//! line for each: its name, and the mean of a thousand calls.
//!
//! Each path is a function that is not inlined, under a plain name, so that `objdump` finds
//! it. The cost of the call itself is measured with `nothing` and subtracted, because a
//! path in its caller's code does not have it. `pair_64` has both paths inlined in a loop,
//! whose cost is measured and subtracted.

#[path = "../../common/stepper.rs"]
mod stepper;

use std::alloc::Layout;
use std::ffi::c_void;
use std::hint::black_box;
use std::ptr::NonNull;

use allocator_api2::alloc::Allocator;
use expert_alloc::capi::{self, HEXPERTKEY};
use expert_alloc::{Expert, ExpertAlloc, ExpertHandle, ExpertKey};

use crate::stepper::Stepper;

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

/// Calls that are counted. As many calls come before them and are not counted, because they
/// make the thread's cache and its first spans.
const ROUNDS: u64 = 1_000;

const OF_64: Layout = Layout::new::<[u64; 8]>();

fn main() {
    let stepper = Stepper::new();
    (0..ROUNDS).for_each(|_| pair_64());
    let ((), turns) = stepper.count(|| (0..ROUNDS).for_each(|_| turn()));
    let ((), with_pairs) = stepper.count(|| (0..ROUNDS).for_each(|_| pair_64()));
    let print = |name: &str, total: u64, less: u64| {
        println!("{name} {:.3}", (total as f64 - less as f64) / ROUNDS as f64);
    };
    print("pair_64", with_pairs, turns);

    let (call, _) = pairs(&stepper, nothing, |()| nothing());
    let print = |name: &str, total: u64| print(name, total, call);

    let (alloc, free) = pairs(&stepper, alloc_64, free_64);
    print("alloc_64", alloc);
    print("free_64", free);

    let size = black_box(64);
    let (pair, _) = pairs(&stepper, || pair_of(size), |()| nothing());
    print("pair_of", pair);

    let expert = ALLOC.expert("counted").register().expect("one expert");
    let handle = expert.allocator();
    let (alloc, free) =
        pairs(&stepper, || handle_alloc_64(&handle), |block| handle_free_64(&handle, block));
    print("handle_alloc_64", alloc);
    print("handle_free_64", free);

    let key = capi::handle(expert.key());
    let (alloc, free) = pairs(&stepper, || key_alloc_64(key), |block| key_free_64(key, block));
    print("key_alloc_64", alloc);
    print("key_free_64", free);

    let (scope, _) = pairs(&stepper, || scope(&expert), |()| nothing());
    print("scope", scope);
    {
        let _scope = expert.enter();
        let (alloc, free) = pairs(&stepper, alloc_64, free_64);
        print("alloc_64_in_scope", alloc);
        print("free_64_in_scope", free);
        let (current, _) = pairs(&stepper, current, |_| nothing());
        print("current", current);
    }
    let inherited = expert.run(|| {
        ALLOC.inherit_fn(|| {
            let (alloc, free) = pairs(&stepper, alloc_64, free_64);
            print("alloc_64_inherited", alloc);
            print("free_64_inherited", free);
        })
    });
    inherited.expect("it does not panic")();
}

/// The instructions of all counted calls of `take`, and of `give`, which gets
/// what `take` returned.
fn pairs<T>(stepper: &Stepper, take: impl Fn() -> T, give: impl Fn(T)) -> (u64, u64) {
    let mut totals = (0, 0);
    for round in 0..2 * ROUNDS {
        let (block, taking) = stepper.count(&take);
        let ((), giving) = stepper.count(|| give(block));
        if round >= ROUNDS {
            totals = (totals.0 + taking, totals.1 + giving);
        }
    }
    totals
}

#[unsafe(no_mangle)]
#[inline(never)]
fn nothing() {
    // SAFETY: no instruction at all; the call of this function stays.
    unsafe { std::arch::asm!("", options(nomem, nostack)) };
}

/// Enters a scope and leaves it.
#[unsafe(no_mangle)]
#[inline(never)]
fn scope(expert: &Expert) {
    drop(expert.enter());
}

#[unsafe(no_mangle)]
#[inline(never)]
fn current() -> Option<ExpertKey> {
    ALLOC.current()
}

#[unsafe(no_mangle)]
#[inline(never)]
fn alloc_64() -> *mut u8 {
    // SAFETY: the size is not 0.
    unsafe { std::alloc::alloc(OF_64) }
}

/// Frees what `alloc_64` returned.
#[unsafe(no_mangle)]
#[inline(never)]
fn free_64(block: *mut u8) {
    // SAFETY: `main` gives each block of `alloc_64` once.
    unsafe { std::alloc::dealloc(block, OF_64) };
}

/// An iteration of the loop around `pair_64`, without `pair_64`.
#[inline(always)]
fn turn() {
    black_box(std::ptr::dangling_mut::<u8>());
}

/// Both paths, as they are compiled into a caller's code.
#[inline(always)]
fn pair_64() {
    // SAFETY: the size is not 0.
    let block = black_box(unsafe { std::alloc::alloc(OF_64) });
    // SAFETY: allocated on the line above with this layout.
    unsafe { std::alloc::dealloc(block, OF_64) };
}

/// Allocates and frees a block whose size is not known at compile time.
#[unsafe(no_mangle)]
#[inline(never)]
fn pair_of(size: usize) {
    let layout = Layout::from_size_align(size, 8).expect("a small size");
    // SAFETY: the size is 64.
    let block = black_box(unsafe { std::alloc::alloc(layout) });
    // SAFETY: allocated on the line above with this layout.
    unsafe { std::alloc::dealloc(block, layout) };
}

#[unsafe(no_mangle)]
#[inline(never)]
fn handle_alloc_64(handle: &ExpertHandle<'_>) -> Option<NonNull<u8>> {
    Some(handle.allocate(OF_64).ok()?.cast())
}

/// Frees what `handle_alloc_64` returned for this handle.
#[unsafe(no_mangle)]
#[inline(never)]
fn handle_free_64(handle: &ExpertHandle<'_>, block: Option<NonNull<u8>>) {
    if let Some(block) = block {
        // SAFETY: `main` gives each block of `handle_alloc_64` once.
        unsafe { handle.deallocate(block, OF_64) };
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
fn key_alloc_64(key: HEXPERTKEY) -> *mut c_void {
    // SAFETY: no place for the code.
    unsafe { capi::ExpertAllocMemory(key, 64, std::ptr::null_mut()) }
}

#[unsafe(no_mangle)]
#[inline(never)]
fn key_free_64(key: HEXPERTKEY, block: *mut c_void) {
    assert_eq!(capi::ExpertFreeMemory(key, block), 0);
}
