//! A thread's first call: it gets a record, its end will be seen to, and so will a `fork`.

use super::fork;
use crate::heap::caches::cache::Cache;
use crate::heap::presence::exit;
use crate::heap::presence::pins::ANYTHING;
use crate::heap::presence::present::Presence;
use crate::heap::presence::visits::Pin;
use crate::heap::threads::thread::tending;
use crate::heap::threads::thread::{self, Thread};
use crate::key::ExpertKey;

/// This thread's record, made and set up for the thread's end if need be.
pub fn this() -> Option<&'static Thread> {
    if let Some(thread) = thread::known() {
        return Some(thread);
    }
    let thread = thread::begin()?;
    fork::prepare();
    exit::call_at_thread_end(tending::end);
    Some(thread)
}

/// This thread's cache for what belongs to the host.
pub fn host_cache() -> Option<&'static Cache> {
    this()?.host_cache()
}

/// Pins this thread for a call that came in by `key` alone.
pub fn pin(key: ExpertKey) -> Pin {
    Pin::new(presence(), key.into_raw())
}

/// Pins this thread for a look at memory that it does not own.
pub fn pin_anything() -> Pin {
    Pin::new(presence(), ANYTHING)
}

fn presence() -> Option<&'static Presence> {
    this().map(|thread| thread.home().presence())
}
