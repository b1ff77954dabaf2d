//! Who a thread is, and what others may ask of it.
//!
//! - [`token`]: the word that tells a thread from all others.
//! - [`present`]: a thread as others see it, and its lock.
//! - [`pins`]: what a thread keeps in place while it looks at what it does not own.
//! - [`visits`]: to pin, and to look for pins before something is taken away.
//! - [`exit`]: how the end of a thread is learned of.

pub mod exit;
pub mod pins;
pub mod present;
pub mod token;
pub mod visits;
