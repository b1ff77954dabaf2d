//! Counts the instructions of a piece of code, exactly, without valgrind:
//! the processor's trap flag raises a signal after each one.
//!
//! An instruction takes about a microsecond, so use it for short pieces. A repeated string
//! instruction counts once per repetition.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static STEPS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_step(_signal: libc::c_int) {
    STEPS.store(STEPS.load(Relaxed) + 1, Relaxed);
}

/// Counts single steps of the thread that made it.
pub struct Stepper {
    /// The count of an empty piece of code.
    empty: u64,
}

impl Stepper {
    /// Takes over the signal that the trap flag raises.
    pub fn new() -> Self {
        // SAFETY: `sigaction` is a plain C structure; all zero is a value of it.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_step as *const () as usize;
        // SAFETY: the action is initialised, the handler only touches an
        // atomic, and nothing else in this program uses this signal.
        let code =
            unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut()) };
        assert_eq!(code, 0, "the signal can be taken over");
        let mut stepper = Self { empty: 0 };
        stepper.empty = stepper.count(|| ()).1;
        assert!(stepper.empty > 0, "this system does not let a program step through itself");
        stepper
    }

    /// Runs `work`, and returns how many instructions it took.
    #[inline(never)]
    pub fn count<T>(&self, work: impl FnOnce() -> T) -> (T, u64) {
        STEPS.store(0, Relaxed);
        set_trap_flag();
        let result = work();
        clear_trap_flag();
        (result, STEPS.load(Relaxed).saturating_sub(self.empty))
    }
}

#[inline(always)]
fn set_trap_flag() {
    // SAFETY: the handler is in place; the stack is as before at the end, and
    // only the trap flag differs.
    unsafe {
        std::arch::asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq");
    }
}

#[inline(always)]
fn clear_trap_flag() {
    // SAFETY: the stack is as before at the end, and only the trap flag
    // differs.
    unsafe {
        std::arch::asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq");
    }
}
