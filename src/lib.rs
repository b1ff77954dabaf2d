#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]

mod account;
mod engine;
mod error;
pub mod fixed;
mod key;
mod sync;

pub use error::Error;
pub use key::ExpertKey;
