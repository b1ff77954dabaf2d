//! For this crate's own tests: the walker, page-source failures and delays on demand,
//! and which slow paths were entered. Not a part of the public interface.

#![allow(missing_docs, reason = "not a part of the public interface")]

pub use crate::heap::check::{Broken, Checked, check, check_zero};
pub use crate::heap::{HeapStats, Path, count, stats, table_bytes};
pub use crate::source::mapped_bytes;
pub use crate::source::testing::{fail_after, failures, heal};
#[cfg(feature = "testing-delays")]
pub use crate::sync::set_delays;
