//! Threads: what each has, and for whom it allocates.
//!
//! - [`current`]: the words that the fast paths read: the current cache, the one found last.
//! - [`thread`]: a thread's record: its caches and desks. [`thread::seats`]: where an owner
//!   is seated; [`thread::tending`]: how the thread sees to what others did, and its end;
//!   [`thread::giving_back`]: what is empty goes back, also of threads that sleep.
//! - [`scopes`]: for whom the thread allocates through the global allocator.
//! - [`relief`]: what a thread gives back when a quota refuses.

pub mod current;
pub mod relief;
pub mod scopes;
pub mod thread;
