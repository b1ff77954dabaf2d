//! Tests the C calls from many threads while their keys are reclaimed. Each call sees its
//! expert whole, told to stop, or not at all, and nothing is left over.

mod common;
mod model;

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed};

use common::ALLOC;
#[cfg(feature = "testing-delays")]
use expert_alloc::testing::{Window, entered, set_delays};
use model::calls::*;
use model::dice::Dice;
use model::run::walk;

const KEYS: usize = 4;

static STOP: AtomicBool = AtomicBool::new(false);

fn register() -> usize {
    // SAFETY: a string; no code is wanted.
    unsafe { ExpertRegisterKey(c"racing".as_ptr(), 0, null_mut()) }
}

/// A block that some thread was given: owner and address. The two may not belong together,
/// and by now the block may have another owner, or be free.
#[derive(Default)]
struct Known {
    owner: AtomicUsize,
    memory: AtomicPtr<c_void>,
}

impl Known {
    fn set(&self, owner: usize, memory: *mut c_void) {
        self.owner.store(owner, Relaxed);
        self.memory.store(memory, Relaxed);
    }
}

/// Whether this is a possible answer of a call on a block.
fn is_allowed(code: u32) -> bool {
    let of_keys = [SUCCESS, OUT_OF_MEMORY, TERMINATE, INVALID_HANDLE];
    of_keys.contains(&code) || matches!(code, ACCESS_DENIED | INVALID_PARAMETER)
}

/// Calls and calls. The threads do not touch the memory, because it may be taken back at
/// any moment.
fn call(keys: &[AtomicUsize; KEYS], known: &[Known], seed: u64) -> usize {
    let mut dice = Dice::Seed(seed);
    let mut calls = 0;
    while !STOP.load(Relaxed) {
        let key = keys[dice.below(KEYS)].load(Relaxed);
        let to = keys[dice.below(KEYS)].load(Relaxed);
        let place = &known[dice.below(known.len())];
        let (owner, memory) = (place.owner.load(Relaxed), place.memory.load(Relaxed));
        // Sometimes it is another thread's block.
        let owner = if dice.below(4) == 0 { key } else { owner };
        let size = dice.size(200 << 10);
        let mut code = 77;
        calls += 1;
        match dice.below(8) {
            0..=2 => {
                // SAFETY: a place for the code.
                place.set(key, unsafe { ExpertAllocMemory(key, size, &raw mut code) });
                assert!(
                    matches!(code, SUCCESS | OUT_OF_MEMORY | TERMINATE | INVALID_HANDLE),
                    "{code}"
                );
            }
            3 if !memory.is_null() => {
                // SAFETY: a place for the code.
                let moved = unsafe { ExpertReallocMemory(owner, memory, size, &raw mut code) };
                assert!(is_allowed(code), "{code}");
                if code == 0 {
                    place.set(owner, moved);
                }
            }
            4 if !memory.is_null() => {
                // SAFETY: a place for the code.
                let moved = unsafe { ExpertTransferMemory(owner, memory, to, &raw mut code) };
                assert!(is_allowed(code), "{code}");
                if code == 0 {
                    place.set(to, moved);
                }
            }
            5 => {
                ExpertMemorySize(owner, memory);
                ExpertOwnerOf(memory);
            }
            _ => {
                let code = ExpertFreeMemory(owner, memory);
                assert!(is_allowed(code) && code != OUT_OF_MEMORY, "{code}");
                if dice.below(4) > 0 {
                    place.set(0, null_mut());
                }
            }
        }
    }
    calls
}

fn keys_are_reclaimed_under_calls() {
    walk();
    let keys: [AtomicUsize; KEYS] = core::array::from_fn(|_| AtomicUsize::new(register()));
    // Half of the threads share their blocks, so calls meet at one block.
    let known: [[Known; 64]; 3] =
        core::array::from_fn(|_| core::array::from_fn(|_| Known::default()));
    let rounds = if cfg!(debug_assertions) { 500 } else { 3000 };
    let calls = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|seed: usize| {
                scope.spawn({
                    let (keys, known) = (&keys, &known[seed.min(2)]);
                    move || call(keys, known, seed as u64)
                })
            })
            .collect();
        for round in 0..rounds {
            let new = register();
            let old = keys[round % KEYS].swap(new, Relaxed);
            // SAFETY: no report is wanted.
            assert_eq!(unsafe { ExpertReclaimKey(old, null_mut()) }, 0);
            if round % 64 == 0 {
                ALLOC.purge();
            }
        }
        STOP.store(true, Relaxed);
        callers.into_iter().map(|caller| caller.join().unwrap()).sum::<usize>()
    });
    for key in &keys {
        // SAFETY: no report is wanted.
        assert_eq!(unsafe { ExpertReclaimKey(key.load(Relaxed), null_mut()) }, 0);
    }
    let after = walk();
    println!("  {calls} calls, {rounds} experts; {after:?}");
    #[cfg(feature = "testing-delays")]
    for window in [Window::KeyAllocate, Window::KeyFree, Window::KeyTake, Window::KeyTaken] {
        assert!(entered(window) > 0, "{window:?} was not tried");
    }
    assert_eq!(ALLOC.snapshot().experts.len(), 1, "the host is left");
    assert_eq!(after.heaps, 2, "the host and the common one are left: {after:?}");
}

fn main() {
    #[cfg(feature = "testing-delays")]
    set_delays(8);
    common::run_alone(&[("keys_are_reclaimed_under_calls", keys_are_reclaimed_under_calls)]);
}
