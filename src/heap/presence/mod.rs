//! The identity of a thread, and the parts of it that others use.
//!
//! - [`token`]: the word that tells a thread from all others.
//! - [`present`]: a thread as others see it, and its lock.
//! - [`pins`]: a thread's pins, which keep memory and experts in place while it looks at
//!   them.
//! - [`visits`]: pinning, and looking for pins before memory or an expert is taken away.
//! - [`exit`]: notification of the end of a thread.

pub mod exit;
pub mod pins;
pub mod present;
pub mod token;
pub mod visits;
