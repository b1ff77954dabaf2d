//! The fixed engine: a heap in the memory that it is given, for systems
//! without an operating system.

mod block;
#[cfg(feature = "testing")]
mod check;
mod engine;
mod header;
mod index;
mod lock;
mod owner;
mod region;
mod requests;
#[cfg(feature = "testing")]
pub mod shadow;
mod store;

#[cfg(feature = "testing")]
pub use check::Checked;
pub(crate) use engine::{FixedEngine, Pin};
#[cfg(feature = "critical-section")]
pub use lock::CriticalSectionLock;
pub use lock::SpinLock;
pub(crate) use owner::{Directory, Entry, Owner};
