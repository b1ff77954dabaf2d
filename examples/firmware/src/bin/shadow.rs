//! The shadow model of the fixed engine on the board: random operations with
//! the walker after each, in a region of 12 KiB.

#![no_std]
#![no_main]

use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use expert_alloc::fixed::shadow;

// Brings in the critical section.
use cortex_m as _;

const SEEDS: u64 = 20;
const OPERATIONS: u32 = 1_000;

#[entry]
fn main() -> ! {
    static mut MEMORY: [MaybeUninit<u8>; 12 << 10] = [MaybeUninit::uninit(); 12 << 10];
    for seed in 1..=SEEDS {
        let size = 256 << (seed % 6);
        let Some(memory) = MEMORY.get_mut(..size) else { continue };
        match shadow::run(seed, OPERATIONS, memory) {
            Ok(counts) => hprintln!(
                "seed {}, {} bytes: {} allocated, {} moved, {} reclaimed, {} refused",
                seed,
                size,
                counts.allocated,
                counts.moved,
                counts.reclaimed,
                counts.out_of_memory + counts.over_quota
            ),
            Err(failure) => {
                hprintln!("FAILED: seed {}: {:?}", seed, failure);
                debug::exit(debug::EXIT_FAILURE);
            }
        }
    }
    hprintln!("{} operations, no rule broken", SEEDS * u64::from(OPERATIONS));
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
