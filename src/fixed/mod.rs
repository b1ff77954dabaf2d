//! The fixed engine: a heap in memory that the program gives it, for systems without an
//! operating system. [`ExpertHeap`](crate::ExpertHeap) is its public type; this module has
//! the locks that it can have.
//!
//! It is a TLSF heap (Masmano and others, 2004: two-level segregated fit) in which
//! every block has its owner's tag in its header. It is not made for many cores:
//! one lock guards the whole heap.
//!
//! ```text
//!  engine    the heap as the expert layer wants it
//!  heap      the requests behind a lock
//!  requests  blocks and owners together: every change is charged in the step
//!  owner     counts of an owner; from a block's tag to the owner
//!  store     blocks: find, take, release, resize
//!  walk      from an address to its block, from an owner to all of its blocks
//!  windows   free blocks by address        region   memory tiled with blocks
//!  index     free blocks by size           class    sizes that share a list
//!  block     headers, links and footers in memory
//!  header    headers as words              link     links as words
//!  lock      spin, critical section
//! ```
//!
//! # Costs
//!
//! The compiler asserts these. Each block has a header of 8 bytes on every target. Block
//! and header together take a multiple of 32 bytes (on 32-bit targets a multiple of 8, and
//! at least 16). A heap without memory takes at most 1 KiB, and the slot of an expert at
//! most 64 bytes on 32-bit targets. Each region loses up to 86 bytes (30 on 32-bit
//! targets). On 64-bit targets the first region in each 4 GiB of addresses, except those
//! that the heap began in, gives up 800 bytes more. There, a new block of up to 32 KiB with
//! an alignment of more than 32 and up to 256 may keep the bytes behind it up to the next
//! such address, if memory and quota have room.
//!
//! # Bounds
//!
//! Allocating, freeing, and resizing in place take a number of steps that does not
//! depend on the number of blocks: 124 instructions for `alloc` and `dealloc` of 64
//! bytes into a hole on x86-64, among 10 blocks as among 100,000. Ending an expert, and
//! asking for the owner of an address inside a block, walk over the blocks. Filling and
//! copying take time in bytes, mostly outside of the lock. No call panics: a program in
//! `examples/firmware` proves that by linking.
//!
//! # Whose address is it
//!
//! The raw calls trust no pointer. They compare an address with the bounds of the regions,
//! and only then read the words before it. Those words are a header if they have the check
//! that goes with their address and this heap (a heap's region may lie in a block of
//! another one), if their size stays within the region, and if there is a header behind
//! them too. When a header stops being one, the heap overwrites it. So the calls recognise
//! wild, interior and stale pointers in a bounded number of steps. Data that the heap did
//! not write passes by chance only: once in a hundred million tries, even if it looks like
//! a header of a raw block of the caller. The check does not stop an attacker who computes
//! it.
//!
//! # A table
//!
//! ```
//! use expert_alloc::{ExpertHeap, fixed::SpinLock};
//!
//! // In firmware: CriticalSectionLock instead of SpinLock, of the feature
//! // `critical-section`; and #[global_allocator] for the blocks of `alloc`.
//! static HEAP: ExpertHeap<SpinLock> = ExpertHeap::empty();
//! static mut REGION: [u64; 2048] = [0; 2048];   // 16 KiB
//!
//! // SAFETY: nothing else uses the region.
//! unsafe { HEAP.add_region((&raw mut REGION).cast(), 16 << 10) };
//! let radio = HEAP.expert("radio").quota(4 << 10).register()?;
//! let frame = radio.alloc(100)?;                // or collections over radio.allocator()
//! assert_eq!(HEAP.owner_of(frame.as_ptr()), Some(radio.key()));
//! println!("{}", HEAP.report());                // hprintln! on a board
//! println!("{}", radio.finish());               // everything is back
//! # Ok::<(), expert_alloc::Error>(())
//! ```
//!
//! The guide's page on firmware (`docs/firmware.md`) shows a whole program for a Cortex-M3
//! board, from `cargo new` on. Targets without compare-and-swap (Cortex-M0) need the
//! feature `critical-section`. An interrupt handler must not end an expert, because the end
//! waits for code that prints a report.

mod block;
#[cfg(feature = "testing")]
mod check;
mod class;
mod engine;
mod header;
mod heap;
mod index;
mod link;
mod lock;
mod owner;
mod region;
mod requests;
#[cfg(feature = "testing")]
#[doc(hidden)]
#[path = "../../tests/inside/shadow/mod.rs"]
pub mod shadow;
mod store;
mod walk;
mod windows;

#[cfg(feature = "testing")]
#[doc(hidden)]
pub use check::Checked;
pub(crate) use heap::{FixedEngine, Pin};
#[cfg(feature = "critical-section")]
pub use lock::CriticalSectionLock;
pub use lock::SpinLock;
pub(crate) use owner::{Directory, Entry, Owner};
