//! The host engine: chunks > spans > blocks, thread caches, remote frees.
//!
//! Rooms, from the bottom up. Each room uses only those above it in this list, which
//! `tests/layers.rs` checks. The documentation of each room lists its files.
//!
//! 1. `base`: sizes, classes, owner numbers as words, memory for records.
//! 2. `presence`: a thread as others see it: token, lock, pins.
//! 3. `pages`: chunks from the page source, runs of slices out of them, purging.
//! 4. `spans`: headers, the lists of a span's blocks, tags, remote frees.
//! 5. `owners`: heaps, numbers, lines, charges.
//! 6. `caches`: the spans that a thread allocates from for one heap, and the refill of
//!    empty bins.
//! 7. `threads`: a thread's caches, desks and scopes.
//! 8. `lives`: beginnings of threads and ends of owners, sweeps, `fork`.
//! 9. `calls`: allocate, free, resize, look up.
//!
//! On top are `host`, the engine as the expert layer sees it, and `check`, the walker. To
//! read on: `base/geometry` (the sizes), `spans/span` (the tag), `caches/cache` and
//! `calls/ambient` (the fast path), `caches/refill` and `calls/free` (its cold halves),
//! `calls/pressure` (quotas), then `lives/handover` (the end of an expert's memory).

mod base;
mod caches;
mod calls;
#[cfg(feature = "testing")]
pub mod check;
mod host;
mod lives;
mod owners;
mod pages;
mod presence;
mod spans;
mod threads;

#[cfg(feature = "testing")]
pub use base::paths::{Path, count};
#[cfg(feature = "testing")]
pub use base::tables::mapped_bytes as table_bytes;
pub use calls::ambient::{alloc, alloc_zeroed, dealloc};
#[cfg(feature = "capi")]
pub use calls::at_once::FILLED_AT_ONCE;
pub use calls::resize::realloc;
#[cfg(feature = "capi")]
pub use calls::scoped::leave_all;
pub use calls::scoped::{Entered, current_key, leave};
pub use host::{HostEngine, enter};
pub use lives::arrival::pin;
pub use presence::visits::Pin;

pub use crate::source::system_limit;

/// Totals of the process-wide heap.
///
/// ```
/// let memory = expert_alloc::ExpertAlloc::new().memory();
/// println!("{} MiB mapped in {} chunks", memory.mapped_bytes >> 20, memory.chunks);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapStats {
    /// Bytes of address space from the page source.
    pub mapped_bytes: usize,
    /// Chunks mapped now.
    pub chunks: usize,
    /// Slices of 64 KiB given back to the system so far, their addresses kept.
    pub purged_slices: usize,
    /// Frees refused so far, of blocks that were free already or of addresses that are no
    /// blocks.
    pub refused_frees: usize,
}

/// Totals of the process-wide heap.
pub fn stats() -> HeapStats {
    HeapStats {
        mapped_bytes: crate::source::mapped_bytes(),
        chunks: pages::arena::chunks(),
        purged_slices: pages::arena::purged_slices(),
        refused_frees: base::refused::refused_frees(),
    }
}

/// Gives back memory of all threads that was not used since the last call. One thread calls
/// this again and again.
pub fn purge_unused() {
    lives::sweep::sweep();
    threads::thread::giving_back::end_all_of_others();
    pages::purging::purge_unused();
}

/// Gives free physical memory back to the system at once: empty spans of this thread's
/// caches, and every free slice. The time grows with the memory that is given back.
pub fn purge() {
    threads::thread::tending::tend();
    lives::sweep::sweep();
    threads::thread::giving_back::end_empty_spans();
    threads::thread::giving_back::end_all_of_others();
    threads::thread::giving_back::purge_records();
    pages::purging::purge();
}
