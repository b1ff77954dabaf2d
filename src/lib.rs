#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]

mod account;
mod engine;
mod error;
mod key;
mod sync;

pub use error::Error;
pub use key::ExpertKey;
