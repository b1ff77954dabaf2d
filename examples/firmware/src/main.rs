//! Firmware that hosts three modules of different origin in one heap of 16 KiB
//! (an LM3S6965 board with a Cortex-M3, as QEMU emulates it):
//!
//! - `logger` leaks: it forgets every other block;
//! - `parser` overruns its quota, and is refused;
//! - `radio` is interrupted in the middle of allocations by a timer interrupt
//!   whose handler allocates from the same heap for `sampler`.
//!
//! The host task prints the report, ends each module, checks that all of its memory came
//! back, and reports success as the exit status.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use cortex_m::interrupt::Mutex;
use cortex_m::peripheral::SYST;
use cortex_m_rt::{entry, exception};
use cortex_m_semihosting::{debug, hprintln};
use expert_alloc::fixed::CriticalSectionLock;
use expert_alloc::{Error, Expert, ExpertHeap};

type Heap = ExpertHeap<CriticalSectionLock>;
type Module = Expert<&'static Heap>;

const HEAP_SIZE: usize = 16 << 10;

#[global_allocator]
static HEAP: Heap = Heap::empty();

/// The expert that the interrupt handler allocates for.
static SAMPLER: Mutex<RefCell<Option<Module>>> = Mutex::new(RefCell::new(None));

/// Blocks that the handler has allocated, and those it has freed again.
static SAMPLES: AtomicU32 = AtomicU32::new(0);
static RELEASED: AtomicU32 = AtomicU32::new(0);

#[entry]
fn main() -> ! {
    static mut REGION: [MaybeUninit<u8>; HEAP_SIZE] = [MaybeUninit::uninit(); HEAP_SIZE];
    // SAFETY: the region is this heap's alone: `entry` gives it to `main` only.
    let usable = unsafe { HEAP.add_region(REGION.as_mut_ptr().cast(), HEAP_SIZE) };
    hprintln!("heap: {} of {} bytes for blocks", usable, HEAP_SIZE);
    hprintln!("static: {} bytes for the empty heap", size_of::<Heap>());

    match host_task() {
        Ok(()) => {
            hprintln!("all experts ended, nothing is left");
            debug::exit(debug::EXIT_SUCCESS);
        }
        Err(what) => fail(what),
    }
    loop {}
}

/// Runs the modules, prints the table, and takes everything back.
fn host_task() -> Result<(), &'static str> {
    let logger = HEAP.expert("logger").register().map_err(IntoText::into_text)?;
    let parser = HEAP.expert("parser").quota(2048).register().map_err(IntoText::into_text)?;
    let radio = HEAP.expert("radio").quota(4096).register().map_err(IntoText::into_text)?;
    let sampler = HEAP.expert("sampler").quota(1024).register().map_err(IntoText::into_text)?;
    let before = HEAP.host().stats();

    log_and_leak(&logger)?;
    overrun(&parser)?;
    transmit_while_interrupted(&radio, sampler)?;
    let host = Box::new([0_u32; 8]);

    hprintln!("{}", HEAP.report());

    let leaked = logger.stats().live_blocks;
    check(leaked == 16, "the logger should have leaked 16 blocks")?;
    let reclaimed = logger.finish();
    hprintln!("logger: {}", reclaimed);
    check(reclaimed.blocks == leaked, "the logger's leak did not come back")?;

    let refused = parser.stats().refusals;
    let reclaimed = parser.finish();
    hprintln!("parser: {}", reclaimed);
    check(refused == 1 && reclaimed.blocks > 0, "the parser was not refused")?;

    let held = radio.stats().live_blocks;
    let reclaimed = radio.finish();
    hprintln!("radio: {}", reclaimed);
    check(reclaimed.blocks == held, "the radio's blocks did not come back")?;

    let Some(sampler) = cortex_m::interrupt::free(|cs| SAMPLER.borrow(cs).take()) else {
        return Err("the sampler is gone");
    };
    let (made, freed) = (SAMPLES.load(Relaxed), RELEASED.load(Relaxed));
    hprintln!("sampler: {} blocks from the interrupt handler, {} freed there", made, freed);
    let reclaimed = sampler.finish();
    hprintln!("sampler: {}", reclaimed);
    check(made > 100, "the interrupt handler has hardly run")?;
    check(reclaimed.blocks == (made - freed) as usize, "samples did not come back")?;

    drop(host);
    check(HEAP.host().stats().live_blocks == before.live_blocks, "the host has lost a block")?;
    check(HEAP.stats().live_blocks == before.live_blocks, "blocks are left")
}

/// Writes lines and forgets every other one.
fn log_and_leak(logger: &Module) -> Result<(), &'static str> {
    for line in 0..32_usize {
        let block = logger.alloc(20 + line).map_err(IntoText::into_text)?;
        // SAFETY: the block is live, and at least this long.
        unsafe { block.write_bytes(b'.', 20 + line) };
        if line % 2 == 0 {
            logger.free(block.as_ptr()).map_err(IntoText::into_text)?;
            check(
                logger.free(block.as_ptr()) == Err(Error::InvalidPointer),
                "a block was freed twice",
            )?;
        }
    }
    Ok(())
}

/// Allocates until it is refused, like a parser with endless input.
fn overrun(parser: &Module) -> Result<(), &'static str> {
    loop {
        match parser.alloc(100) {
            Ok(block) => check(HEAP.owner_of(block.as_ptr()) == Some(parser.key()), "whose?")?,
            Err(Error::QuotaExceeded) => return Ok(()),
            Err(error) => return Err(error.into_text()),
        }
    }
}

/// Allocates and frees while the timer interrupts it at different moments.
fn transmit_while_interrupted(radio: &Module, sampler: Module) -> Result<(), &'static str> {
    let Some(mut peripherals) = cortex_m::Peripherals::take() else {
        return Err("no peripherals");
    };
    cortex_m::interrupt::free(|cs| SAMPLER.borrow(cs).replace(Some(sampler)));
    let timer = &mut peripherals.SYST;
    timer.set_reload(997);
    timer.clear_current();
    timer.enable_counter();
    timer.enable_interrupt();

    let mut frames: Vec<NonNull<u8>> = Vec::new();
    let mut round = 0_usize;
    while SAMPLES.load(Relaxed) < 500 {
        round += 1;
        // A reload that changes all the time meets every instruction of an allocation.
        timer.set_reload(600 + (round * 7 % 401) as u32);
        let frame = radio.alloc(round * 13 % 200).map_err(IntoText::into_text)?;
        frames.push(frame);
        if frames.len() > 8 {
            let oldest = frames.remove(round % frames.len());
            radio.free(oldest.as_ptr()).map_err(IntoText::into_text)?;
        }
        check(round < 1_000_000, "the timer does not interrupt")?;
    }
    stop(timer);
    hprintln!("radio: {} allocations, interrupted {} times", round, SAMPLES.load(Relaxed));
    Ok(())
}

fn stop(timer: &mut SYST) {
    timer.disable_interrupt();
    timer.disable_counter();
}

/// The interrupt handler allocates too, and keeps a few of its blocks.
#[exception]
fn SysTick() {
    static mut KEPT: [Option<NonNull<u8>>; 6] = [None; 6];
    cortex_m::interrupt::free(|cs| {
        let sampler = SAMPLER.borrow(cs).borrow();
        let Some(sampler) = sampler.as_ref() else { return };
        let count = SAMPLES.load(Relaxed);
        let kept = &mut KEPT[count as usize % KEPT.len()];
        if let Some(old) = kept.take() {
            if sampler.free(old.as_ptr()).is_ok() {
                RELEASED.store(RELEASED.load(Relaxed) + 1, Relaxed);
            }
        }
        if let Ok(sample) = sampler.alloc(8 + count as usize % 64) {
            *kept = Some(sample);
            SAMPLES.store(count + 1, Relaxed);
        }
    });
}

fn check(holds: bool, what: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(what) }
}

/// Errors as the texts that this program fails with.
trait IntoText {
    fn into_text(self) -> &'static str;
}

impl IntoText for Error {
    fn into_text(self) -> &'static str {
        match self {
            Error::OutOfMemory => "out of memory",
            Error::QuotaExceeded => "over quota",
            _ => "a call was refused",
        }
    }
}

fn fail(what: &str) {
    hprintln!("FAILED: {}", what);
    debug::exit(debug::EXIT_FAILURE);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
