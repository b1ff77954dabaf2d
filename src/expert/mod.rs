//! Experts: their names and keys, their lives, their quotas and their figures. This layer
//! knows engines only by their trait, and only the addresses of its own tables.
//!
//! ```text
//!  life       register and finish: one function per step
//!  stop       telling an expert to stop        look    telling the observer
//!  family     an expert with all below it      report  rows of all experts
//!  table      the rows as text                 explained  errors with who holds most
//!  serialize  figures for other programs
//!  visit      from a key alone to an expert that cannot end meanwhile
//!  ------------------------------------------------------------------------
//!  home       what a heap brings along to be a home of experts
//!  registry   slots by number, free slots, look-up by key
//!  slot       one expert's account, engine state, name, clean-ups
//!  ------------------------------------------------------------------------
//!  events     the words that an observer is told and asked
//!  largest    who holds most                   stats   figures of one expert
//!  shown      how names and sizes are shown
//!  name       names in place                   owned_name  names copied
//!  hosted     what a host's slot has more      told    what was told already
//!  tasks      whom to wake                     cleanup what to run before the end
//! ```
//!
//! A file uses files of its own part or of those below, and never a file that uses it.

pub(crate) mod cleanup;
#[cfg(feature = "std")]
pub(crate) mod events;
pub(crate) mod explained;
pub(crate) mod family;
pub(crate) mod home;
#[cfg(feature = "std")]
pub(crate) mod hosted;
pub(crate) mod largest;
pub(crate) mod life;
#[cfg(feature = "std")]
pub(crate) mod look;
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
pub(crate) mod shown;
pub(crate) mod slot;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod table;
#[cfg(feature = "std")]
pub(crate) mod tasks;
#[cfg(feature = "std")]
pub(crate) mod told;
pub(crate) mod visit;
