//! The fixed engine: a heap in memory that the program gives it, for systems
//! without an operating system. [`ExpertHeap`](crate::ExpertHeap) is its face;
//! here are the locks that it can have.
//!
//! It is a TLSF heap (Masmano and others, 2004: two-level segregated fit) whose
//! every block says in its header whose it is. It is not made for many cores:
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
//! What it costs, asserted when it is compiled: 8 bytes before each block on every
//! target, and with it a multiple of 32 (on 32-bit targets of 8, from 16 on); at most
//! 1 KiB for a heap without memory; at most 64 bytes for the slot of an expert on
//! 32-bit targets. On 64-bit targets a new block of up to 32 KiB that is to be aligned to
//! more, up to 256, may keep what is behind it up to the next such address, where there is
//! room and quota. Of each region up to 86 bytes (30 on 32-bit targets) are lost, and on
//! 64-bit targets 800 of the first in each 4 GiB but those that the heap began in.
//!
//! What is bounded: allocating, freeing, and resizing in place take a number of
//! steps that does not depend on the number of blocks (124 instructions for
//! `alloc` and `dealloc` of 64 bytes into a hole on x86-64, among 10 blocks as
//! among 100,000). Ending an expert, and asking for the owner of an address
//! inside a block, walk over the blocks. Filling and copying take the time that
//! the bytes take, mostly outside of the lock. No call panics, which a program
//! in `examples/firmware` proves by linking.
//!
//! # Whose address is it
//!
//! The raw calls trust no pointer. An address is compared with the bounds of
//! the regions, and only then the words before it are read. Those words are a
//! header if they have the check that goes with their address and this heap (a
//! heap's region may lie in a block of another one), if the size they say stays
//! within the region, and if there is a header behind them too; where a header
//! stops being one, it is overwritten. So wild, interior and stale pointers are
//! found out in a bounded number of steps. What was not written by the heap
//! passes all this by chance only, once in a hundred million even if it looks like
//! a header of a raw block of the caller's; what an attacker writes who knows how
//! is another matter.
//!
//! # A table
//!
//! ```
//! use expert_alloc::{ExpertHeap, fixed::SpinLock};
//!
//! // In firmware: CriticalSectionLock instead of SpinLock, of the feature
//! // `critical-section`; and #[global_allocator] for what `alloc` takes.
//! static HEAP: ExpertHeap<SpinLock> = ExpertHeap::empty();
//! static mut REGION: [u64; 2048] = [0; 2048];   // 16 KiB
//!
//! // SAFETY: nothing else uses the region.
//! unsafe { HEAP.add_region((&raw mut REGION).cast(), 16 << 10) };
//! let radio = HEAP.expert("radio").quota(4 << 10).register()?;
//! let frame = radio.alloc(100)?;                // or collections over radio.allocator()
//! assert_eq!(HEAP.owner_of(frame.as_ptr()), Some(radio.key()));
//! println!("{}", HEAP.report());                // hprintln! on a board
//! println!("{}", radio.finish());               // what it had not freed is back
//! # Ok::<(), expert_alloc::Error>(())
//! ```
//!
//! The guide's page on firmware (`docs/firmware.md`) has the same from `cargo new`
//! on for a Cortex-M3 board. Targets without compare-and-swap (Cortex-M0) need the
//! feature `critical-section`. An interrupt handler must not end an expert: ending
//! waits for those who print a report.

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
