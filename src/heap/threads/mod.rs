//! Threads: their caches and desks, and the owners that they allocate for.
//!
//! - [`current`]: the words that the fast paths read: the current cache, and the cache found
//!   last.
//! - [`thread`]: a thread's record: its caches and desks. [`thread::seats`]: the seats of
//!   owners; [`thread::tending`]: handling of changes by others, and the end of a thread;
//!   [`thread::giving_back`]: empty spans go back, even those of threads that sleep.
//! - [`scopes`]: the owners that the thread allocates for through the global allocator.
//! - [`relief`]: memory that a thread gives back when a quota refuses.

pub mod current;
pub mod relief;
pub mod scopes;
pub mod thread;
