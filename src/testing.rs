//! The walker, page-source failures and delays on demand, and counts of slow paths, for
//! this crate's own tests. It is not a part of the public interface.

#![allow(missing_docs, reason = "not a part of the public interface")]

use crate::api::ExpertAlloc;
use crate::expert::home::Home;
use crate::key::ExpertKey;

pub use crate::heap::check::{Broken, Checked, check, check_zero};
pub use crate::heap::{HeapStats, Path, count, stats, table_bytes};
pub use crate::source::mapped_bytes;
pub use crate::source::testing::{
    Call, fail_after, fail_beyond, fail_calls_after, failed, failures, heal, leftovers,
};
#[cfg(feature = "testing-delays")]
pub use crate::sync::{Window, entered, set_delays};

/// Makes `key` the next one of its slot, as if all experts in between had come and
/// gone. The slot is that of an expert that has ended, and free.
///
/// # Panics
///
/// Panics if there is no such slot, if it is taken, or if the key cannot be given out.
pub fn set_next_key(key: ExpertKey) {
    let slot = ExpertAlloc::new().registry().slot_of(key).expect("a slot that was taken");
    assert!(key.generation() % 2 == 1, "the generation of a valid key is odd");
    slot.skip_to_generation(key.generation() - 1);
}
