//! Experts: who they are, how long they live, what they may hold and what
//! they held. Knows engines only by their trait, and no addresses but those
//! of its own tables.
//!
//! ```text
//!  home      what a heap brings along to be a home of experts
//!  life      register, terminate, finish: one function per step
//!  visit     from a key alone to an expert that cannot end meanwhile
//!  stats     figures of one expert         report   rows of all of them
//!  table     the rows as text
//!  family    an expert with all below it
//!  cleanup   what to run before the memory goes
//!  registry  slots by number, free slots, look-up by key
//!  events    what the host's observer is told
//!  tasks     whom to wake when an expert is to stop
//!  slot      one expert's account, engine state, name, clean-ups
//!  name      names in place                owned_name  names copied
//!  serialize figures for other programs
//! ```

pub(crate) mod cleanup;
#[cfg(feature = "std")]
pub(crate) mod events;
pub(crate) mod family;
pub(crate) mod home;
pub(crate) mod life;
#[cfg(all(test, feature = "std"))]
#[path = "../../tests/inside/mock.rs"]
pub(crate) mod mock;
pub(crate) mod name;
#[cfg(feature = "std")]
pub(crate) mod owned_name;
pub(crate) mod registry;
pub(crate) mod report;
#[cfg(feature = "serde")]
mod serialize;
pub(crate) mod slot;
pub(crate) mod stats;
pub(crate) mod table;
#[cfg(feature = "std")]
pub(crate) mod tasks;
pub(crate) mod visit;
