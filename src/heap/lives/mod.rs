//! How threads begin, how owners end, and what the ended ones leave.
//!
//! - [`arrival`]: a thread's first call, and pins. (Its end is `end` in `threads/thread`.)
//! - [`fork`]: all locks and all threads, when the process forks.
//! - [`handover`]: the end of an owner: its memory is taken back, or adopted by the host.
//! - [`sweep`]: what is left in common spans of owners that have ended.
//! - [`usage`]: what an owner holds, added up.

pub mod arrival;
pub mod fork;
pub mod handover;
pub mod sweep;
pub mod usage;
