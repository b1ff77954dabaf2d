//! A thread's first call gives it a record, and registers the handlers for its end and for
//! `fork`.

use super::fork;
use crate::heap::caches::cache::Cache;
use crate::heap::presence::exit;
use crate::heap::presence::pins::ANYTHING;
use crate::heap::presence::present;
use crate::heap::presence::visits::Pin;
use crate::heap::threads::thread::tending;
use crate::heap::threads::thread::{self, Thread};
use crate::key::ExpertKey;

/// This thread's record. If there is none, it is made, and the thread's end is registered.
#[inline]
pub fn this() -> Option<&'static Thread> {
    match thread::known() {
        Some(thread) => Some(thread),
        None => begin(),
    }
}

#[cold]
#[inline(never)]
fn begin() -> Option<&'static Thread> {
    let thread = thread::begin()?;
    fork::prepare();
    exit::call_at_thread_end(tending::end);
    Some(thread)
}

/// This thread's cache for the host.
pub fn host_cache() -> Option<&'static Cache> {
    this()?.host_cache()
}

/// Pins this thread for a call that came in by `key` alone.
#[inline]
pub fn pin(key: ExpertKey) -> Pin {
    pin_word(key.into_raw())
}

/// Pins this thread for a look at memory that it does not own.
#[inline]
pub fn pin_anything() -> Pin {
    pin_word(ANYTHING)
}

#[inline]
fn pin_word(word: usize) -> Pin {
    match present::mine() {
        Some(mine) => Pin::new(mine, word),
        None => pin_unknown(word),
    }
}

#[cold]
#[inline(never)]
fn pin_unknown(word: usize) -> Pin {
    match this() {
        Some(thread) => Pin::new(thread.home().presence(), word),
        None => Pin::without_record(),
    }
}
