//! The first calls of threads, the ends of owners, and the memory that ended owners leave.
//!
//! - [`arrival`]: a thread's first call, and pins. (`end` in `threads/thread` has the end
//!   of a thread.)
//! - [`fork`]: the locks and threads when the process forks.
//! - [`handover`]: the end of an owner, whose memory is taken back or adopted by the host.
//! - [`sweep`]: blocks of ended owners in common spans.
//! - [`usage`]: the blocks of an owner, added up.

pub mod arrival;
pub mod fork;
pub mod handover;
pub mod sweep;
pub mod usage;
