//! How what is empty in a thread's structures is given back, also by others while
//! the thread sleeps (PRESENT3).

use core::ptr;

#[cfg(unix)]
use super::POOL;
use super::tending::tend;
use super::{CACHES, known, made};
use crate::heap::base::number::Number;
use crate::heap::caches::cache::Cache;
#[cfg(unix)]
use crate::heap::caches::idle_slices::IdleSlices;
use crate::heap::owners::credit;
use crate::heap::owners::numbers;
use crate::heap::presence::present;

/// Ends what is empty in the caches of all other threads, as far as the threads
/// themselves are not needed for it: what their bins are filled from stays. `f` says in
/// which caches.
pub fn end_empty_spans_of_others(f: impl Fn(&Cache) -> bool) {
    for thread in made() {
        thread.home.presence().visit(|| {
            thread.home.caches().filter(|cache| f(cache)).for_each(Cache::end_set_aside);
        });
    }
}

/// Ends what is empty in the caches of all other threads, which keep less from then on.
pub fn end_all_of_others() {
    for thread in made() {
        thread.home.presence().visit(|| {
            thread.home.caches().for_each(Cache::end_set_aside);
            thread.home.idle().give_extra();
        });
    }
}

/// Gives back what the owner of `number` was charged for and does not use: this thread's
/// credit, and what is empty in the owner's caches, of all threads.
pub fn trim(number: Number) {
    if let Some(thread) = known() {
        let _held = thread.home.presence().hold();
        if let Some(line) = thread.ledger.opened(number) {
            credit::settle(number, line, 0);
        }
        thread.cache_of(number).inspect(|cache| cache.purge());
    }
    if let Some(heap) = numbers::entry(number).heap() {
        end_empty_spans_of_others(|cache| ptr::eq(cache.heap(), heap));
    }
}

/// Gives back what is empty in this thread's caches.
pub fn end_empty_spans() {
    let _held = present::hold();
    tend();
    if let Some(thread) = known() {
        thread.close_ended();
        let lines = thread.ledger.open_lines();
        lines.for_each(|(number, line)| credit::settle(number, line, 0));
    }
    if let Some(thread) = known() {
        thread.home.caches().for_each(Cache::purge);
    }
}

/// No thread keeps anything but this one, which forked: for the child.
#[cfg(unix)]
pub fn be_only() {
    IdleSlices::be_only(known().map(|thread| thread.home.idle()));
}

/// Gives the pages of caches back that nobody uses.
pub fn purge_records() {
    CACHES.purge();
}

/// Keeps pools and records as they are: for `fork`.
#[cfg(unix)]
pub fn lock_forever() {
    POOL.lock_forever();
    CACHES.lock_forever();
}

/// Undoes [`lock_forever`].
///
/// # Safety
///
/// - S1 as for `tables::unlock`.
#[cfg(unix)]
pub unsafe fn unlock() {
    // SAFETY: S1.
    unsafe { CACHES.unlock() };
    // SAFETY: S1.
    unsafe { POOL.unlock() };
}
