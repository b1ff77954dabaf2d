//! The one switch between the real atomics and the model checker's.
//!
//! Everything that is checked under loom takes its atomics from here; `--cfg loom`
//! swaps them. On targets without compare-and-swap the feature `critical-section`
//! stands in for it.

#[cfg(all(not(target_has_atomic = "ptr"), not(feature = "critical-section")))]
compile_error!("this target has no compare-and-swap: enable the feature `critical-section`");

#[cfg(all(not(loom), target_has_atomic = "ptr"))]
#[allow(unused_imports, reason = "not every engine uses all of them")]
pub use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering, fence,
};
#[cfg(all(not(loom), feature = "std"))]
#[allow(unused_imports, reason = "not every engine uses all of them")]
pub use core::sync::atomic::{AtomicI32, AtomicU64};
#[cfg(loom)]
#[allow(unused_imports, reason = "not every engine uses all of them")]
pub use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering, fence,
};
#[cfg(all(not(target_has_atomic = "ptr"), feature = "critical-section"))]
#[allow(unused_imports, reason = "not every engine uses all of them")]
pub use portable_atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering, fence,
};

/// A sequentially consistent fence behind an exchange, whether that succeeded or not. On
/// x86 the exchange is a fence itself: it locks the bus, so all accesses before it are
/// complete, and none behind it has begun. There only the compiler needs the fence.
#[cfg(any(feature = "capi", loom))]
#[inline(always)]
pub fn fence_behind_exchange() {
    #[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), not(any(loom, miri))))]
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(any(target_arch = "x86", target_arch = "x86_64"), not(any(loom, miri)))))]
    fence(Ordering::SeqCst);
}

/// Half of a pointer-sized word: slot numbers and counts of slots.
#[cfg(target_pointer_width = "64")]
pub type Half = u32;
/// Half of a pointer-sized word: slot numbers and counts of slots.
#[cfg(target_pointer_width = "32")]
pub type Half = u16;

/// A [`Half`] that threads share.
#[cfg(target_pointer_width = "32")]
pub type AtomicHalf = AtomicU16;
/// A [`Half`] that threads share.
#[cfg(target_pointer_width = "64")]
pub type AtomicHalf = AtomicU32;

/// Lets other threads run between a read of shared state and the act that trusts it. In
/// tests of races it waits for a random time; otherwise it does nothing.
#[cfg(not(feature = "testing-delays"))]
#[inline(always)]
pub fn delay() {}

#[cfg(feature = "testing-delays")]
pub use delays::{delay, set_delays};

/// Waits of random length, which widen the windows of races. Nothing here allocates, takes
/// a lock or orders memory accesses, so it hides no mistake in an ordering.
#[cfg(feature = "testing-delays")]
mod delays {
    use core::cell::Cell;
    use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::time::Duration;

    /// One in this many calls waits; 0 for none.
    static ONE_IN: AtomicU32 = AtomicU32::new(0);

    std::thread_local! {
        // It is const and has no destructor, so it is there until the thread is gone.
        static STATE: Cell<u64> = const { Cell::new(0) };
    }

    /// Makes one in `one_in` calls of `delay` wait, from now on and in all threads; 0, the
    /// initial value, for none.
    pub fn set_delays(one_in: u32) {
        ONE_IN.store(one_in, Relaxed);
    }

    /// Waits for a random time, or not at all: see [`set_delays`].
    pub fn delay() {
        let one_in = ONE_IN.load(Relaxed);
        if one_in != 0 {
            let random = random();
            if (random >> 32) % u64::from(one_in) == 0 {
                wait(random as u32);
            }
        }
    }

    /// Of 16 waits, 8 give up the core, 6 spin for up to about 10 µs, and 2 sleep. On a
    /// busy machine, all other threads run during a sleep.
    #[cold]
    fn wait(random: u32) {
        match random % 16 {
            0..8 => std::thread::yield_now(),
            8..14 => (0..random >> 4 & 0xFFF).for_each(|_| core::hint::spin_loop()),
            _ => std::thread::sleep(Duration::from_micros(u64::from(random >> 4 & 0xFF))),
        }
    }

    /// The thread's next random number (xorshift64*, Vigna 2016). Threads differ
    /// by the address of their state.
    fn random() -> u64 {
        STATE.with(|state| {
            let mut x = state.get();
            if x == 0 {
                x = core::ptr::from_ref(state).addr() as u64 | 1;
            }
            x ^= x >> 12;
            x ^= x << 25;
            x ^= x >> 27;
            state.set(x);
            x.wrapping_mul(0x2545_F491_4F6C_DD1D)
        })
    }

    #[cfg(test)]
    mod tests {
        use super::{delay, set_delays};
        use std::time::{Duration, Instant};

        #[test]
        fn a_delay_waits_once_it_is_turned_on() {
            // An eighth of the waits are sleeps, of 128 µs on average.
            set_delays(1);
            let began = Instant::now();
            (0..2_000).for_each(|_| delay());
            set_delays(0);
            assert!(began.elapsed() > Duration::from_millis(10), "{:?}", began.elapsed());
        }
    }
}
