//! A thread's first call, and the pins of threads that may never have called.

use crate::heap::presence::pins::ANYTHING;
use crate::heap::presence::visits::Pin;
use crate::heap::thread::{self, Thread};
use crate::key::ExpertKey;

/// Pins this thread for a call that came in by `key` alone.
pub fn pin(key: ExpertKey) -> Pin {
    Pin::new(thread::this().map(Thread::presence), key.into_raw())
}

/// Pins this thread for a look at memory that it does not own.
pub fn pin_anything() -> Pin {
    Pin::new(thread::this().map(Thread::presence), ANYTHING)
}
