#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]

mod account;
mod engine;
mod error;
#[cfg(feature = "std")]
mod heap;
mod key;
#[cfg(feature = "std")]
mod source;
mod sync;

pub use error::Error;
pub use key::ExpertKey;
