//! Waiting of one thread for another.
//!
//! A thread that waits by polling, even with yields in between, keeps every thread of a
//! lower real-time priority off its core. One of these may be the thread that it waits for.
//! So after some rounds a waiter sleeps: until a word changes, where the system can wait
//! for that, or for a while.

use crate::sync::{AtomicU32, Ordering::Relaxed};

/// How many rounds a waiter looks before it asks the system to wait. The locks are
/// held for about ten nanoseconds each time, if their holder runs at all; in case
/// it does not, each round ends with a yield.
#[cfg(not(loom))]
const ROUNDS: u32 = 16;
/// How often it looks in each round.
#[cfg(not(loom))]
const LOOKS: u32 = 16;

/// Polls `word` for a few rounds, until it is `wanted`. Returns whether it became `wanted`.
#[cfg(not(loom))]
pub fn look_for(wanted: u32, word: &AtomicU32) -> bool {
    for _ in 0..ROUNDS {
        for _ in 0..LOOKS {
            if word.load(Relaxed) == wanted {
                return true;
            }
            core::hint::spin_loop();
        }
        std::thread::yield_now();
    }
    false
}

/// Looks once.
#[cfg(loom)]
pub fn look_for(wanted: u32, word: &AtomicU32) -> bool {
    word.load(Relaxed) == wanted
}

/// Threads that wait for a word to change.
pub struct Waiters {
    #[cfg(loom)]
    model: model::Queue,
}

impl Waiters {
    /// Nobody.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {}
    }

    /// Nobody.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self { model: model::Queue::new() }
    }

    /// Waits until another thread wakes this one, unless `word` is not `expected` any more.
    /// May return early; the caller looks again.
    pub fn wait(&self, word: &AtomicU32, expected: u32) {
        #[cfg(not(loom))]
        system::wait(word, expected);
        #[cfg(loom)]
        self.model.wait(word, expected);
    }

    /// Wakes one thread that waits for `word`, if there is one. The caller changed it
    /// before.
    pub fn wake_one(&self, word: &AtomicU32) {
        #[cfg(not(loom))]
        system::wake_one(word);
        #[cfg(loom)]
        self.model.wake_one(word);
    }
}

/// The system's wait for a word.
#[cfg(all(not(loom), any(target_os = "linux", target_os = "android")))]
mod system {
    use core::ptr;

    use crate::sync::AtomicU32;

    const NO_LIMIT: *const libc::timespec = ptr::null();

    pub fn wait(word: &AtomicU32, expected: u32) {
        let how = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the kernel only reads the word, which lives as long as its borrow.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), how, expected, NO_LIMIT) };
    }

    pub fn wake_one(word: &AtomicU32) {
        let how = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the kernel only takes the address.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), how, 1) };
    }
}

/// Sleeps instead of waiting for a word, so no thread must be woken.
#[cfg(all(not(loom), not(any(target_os = "linux", target_os = "android"))))]
mod system {
    use super::Backoff;
    use crate::sync::{AtomicU32, Ordering::Relaxed};

    pub fn wait(word: &AtomicU32, expected: u32) {
        let mut backoff = Backoff::new();
        while word.load(Relaxed) == expected {
            backoff.pause();
        }
    }

    pub fn wake_one(_: &AtomicU32) {}
}

/// A waiter that is not woken: at first it only looks, then it yields, and then it sleeps,
/// each time twice as long as before.
#[cfg(not(loom))]
pub struct Backoff {
    rounds: u32,
}

#[cfg(not(loom))]
impl Backoff {
    /// The rounds in which a waiter only looks.
    const SPINS: u32 = 64;
    /// The rounds after them in which it only yields.
    const YIELDS: u32 = 64;
    /// The longest sleep is 2^10 microseconds.
    const LONGEST: u32 = 10;

    /// A waiter that has not waited yet.
    pub fn new() -> Self {
        Self { rounds: 0 }
    }

    /// How often this waiter has waited.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Lets others run for a while.
    pub fn pause(&mut self) {
        match self.rounds.checked_sub(Self::SPINS + Self::YIELDS) {
            None if self.rounds < Self::SPINS => core::hint::spin_loop(),
            None => std::thread::yield_now(),
            Some(sleeps) => {
                let micros = 1 << sleeps.min(Self::LONGEST);
                std::thread::sleep(core::time::Duration::from_micros(micros));
            }
        }
        self.rounds = self.rounds.saturating_add(1);
    }
}

/// The system's part, for the model checker: reading the word and falling asleep
/// are one step, so that a wake in between is not lost.
#[cfg(loom)]
mod model {
    use loom::sync::{Condvar, Mutex};

    use crate::sync::{AtomicU32, Ordering::Relaxed};

    pub struct Queue {
        gate: Mutex<()>,
        woken: Condvar,
    }

    impl Queue {
        pub fn new() -> Self {
            Self { gate: Mutex::new(()), woken: Condvar::new() }
        }

        pub fn wait(&self, word: &AtomicU32, expected: u32) {
            let gate = self.gate.lock().unwrap();
            if word.load(Relaxed) == expected {
                drop(self.woken.wait(gate).unwrap());
            }
        }

        pub fn wake_one(&self, _: &AtomicU32) {
            let gate = self.gate.lock().unwrap();
            self.woken.notify_one();
            drop(gate);
        }
    }
}
