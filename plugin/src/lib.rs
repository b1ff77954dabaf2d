#![doc = include_str!("../README.md")]
#![no_std]

mod attach;
mod entry;
mod error;
mod heap;
mod key;
mod run;
mod table;

pub use attach::attach;
pub use entry::{Plugin, register};
pub use error::Error;
pub use heap::Heap;
pub use key::{Key, Stats};
pub use run::{Configuration, Run};
pub use table::{EnumInfo, Host, StartupInfo};

/// Items that the macros use.
#[doc(hidden)]
pub mod macros {
    pub use crate::attach::identity;
    pub use crate::run::{configure, run};
    pub use core::ffi::c_void;
}
