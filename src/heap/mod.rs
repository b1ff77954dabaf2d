//! The host engine: chunks > spans > blocks, thread caches, remote frees.
//!
//! Read `geometry` (the sizes), `span` (the tag), `cache` (the fast path),
//! `refill` and `local` (its cold halves), `pressure` (quotas), then `handover`
//! (how an expert's memory comes back).

mod arrival;
mod base;
mod blocks;
mod caches;
#[cfg(feature = "testing")]
pub mod check;
mod common;
mod fork;
mod handover;
mod host;
mod large;
mod local;
mod lookup;
mod owners;
mod pages;
mod presence;
mod pressure;
mod raw;
mod relief;
mod requests;
mod resize;
mod scopes;
mod seated;
mod spans;
mod sweep;
mod thread;
mod tls;
mod usage;

pub use arrival::pin;
#[cfg(feature = "testing")]
pub use base::paths::{Path, count};
#[cfg(feature = "testing")]
pub use base::tables::mapped_bytes as table_bytes;
pub use blocks::{alloc, alloc_zeroed, dealloc};
#[cfg(feature = "capi")]
pub use host::leave_all;
pub use host::{Entered, HostEngine, current_key, enter, leave};
pub use presence::visits::Pin;
pub use resize::realloc;

pub use crate::source::system_limit;

/// Totals of the process-wide heap.
///
/// ```
/// let memory = expert_alloc::ExpertAlloc::new().memory();
/// println!("{} MiB mapped in {} chunks", memory.mapped_bytes >> 20, memory.chunks);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapStats {
    /// Bytes of address space had from the page source.
    pub mapped_bytes: usize,
    /// Chunks mapped now.
    pub chunks: usize,
    /// Slices of 64 KiB given back to the system so far, their addresses kept.
    pub purged_slices: usize,
    /// Frees refused so far: of blocks that were free already, or no blocks.
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

/// Gives back what nobody wanted since the last call, of all threads: for a thread that
/// calls this again and again.
pub fn purge_unused() {
    sweep::sweep();
    thread::end_empty_spans_of_others(|_| true);
    pages::purging::purge_unused();
}

/// Gives free physical memory back to the system at once: what is empty in
/// this thread's caches, and every free slice. Time in what is given back.
pub fn purge() {
    thread::tend();
    sweep::sweep();
    thread::end_empty_spans();
    thread::end_empty_spans_of_others(|_| true);
    pages::purging::purge();
}
