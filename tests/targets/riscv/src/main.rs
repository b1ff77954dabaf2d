//! The fixed engine on QEMU's RISC-V machine `virt`, without an operating system: it writes
//! to the serial port, and the exit status of QEMU tells whether the tests passed.

#![no_std]
#![no_main]

use core::fmt::Write;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use riscv_rt::entry;

#[path = "../../tour.rs"]
mod tour;

static mut MEMORY: [MaybeUninit<u8>; 16 << 10] = [MaybeUninit::uninit(); 16 << 10];

#[entry]
fn main() -> ! {
    let memory = &raw mut MEMORY;
    // SAFETY: there is one thread, which takes this reference once.
    let memory = unsafe { &mut *memory };
    match tour::tour(memory, 20, 1_000) {
        None => {
            let _ = writeln!(Serial, "riscv32imac: experts and 20000 operations, no rule broken");
            exit(0x5555)
        }
        Some(what) => {
            let _ = writeln!(Serial, "FAILED: {what}");
            exit(1 << 16 | 0x3333)
        }
    }
}

/// The serial port of `virt`.
struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let port = core::ptr::with_exposed_provenance_mut::<u8>(0x1000_0000);
        for byte in text.bytes() {
            // SAFETY: the machine has its port there, which takes bytes at any time.
            unsafe { port.write_volatile(byte) };
        }
        Ok(())
    }
}

/// Ends QEMU by the machine's test device: 0x5555 is success.
fn exit(status: u32) -> ! {
    let device = core::ptr::with_exposed_provenance_mut::<u32>(0x10_0000);
    // SAFETY: the machine has its test device there.
    unsafe { device.write_volatile(status) };
    loop {}
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Serial, "{info}");
    exit(1 << 16 | 0x3333)
}
