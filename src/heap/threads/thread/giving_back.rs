//! Gives back empty spans of a thread, which other threads may do while it sleeps
//! (PRESENT3).

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

/// Ends empty spans in the caches of all other threads. The spans that their bins are
/// filled from stay, because only the threads themselves can end these. `f` selects the
/// caches.
pub fn end_empty_spans_of_others(f: impl Fn(&Cache) -> bool) {
    for thread in made() {
        thread.home.presence().visit(|| {
            thread.home.caches().filter(|cache| f(cache)).for_each(Cache::end_set_aside);
        });
    }
}

/// Ends empty spans in the caches of all other threads, which keep fewer from then on.
pub fn end_all_of_others() {
    for thread in made() {
        thread.home.presence().visit(|| {
            thread.home.caches().for_each(Cache::end_set_aside);
            thread.home.idle().give_extra();
        });
    }
}

/// Gives back memory that the owner of `number` is charged for and does not use: this
/// thread's credit, and empty spans in the owner's caches of all threads.
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

/// Gives back the empty spans of this thread's caches.
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

/// Notes in the child of a `fork` that only this thread keeps spans.
#[cfg(unix)]
pub fn be_only() {
    IdleSlices::be_only(known().map(|thread| thread.home.idle()));
}

/// Gives back the pages of cache records that are not in use.
pub fn purge_records() {
    CACHES.purge();
}

/// Takes the locks of pools and records without a guard, for `fork`.
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
