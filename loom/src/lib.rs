//! Models of what the library does without a lock, or across one.
//!
//! Each model is small: two or three threads and a few blocks, so that loom
//! can go through every order of their steps and every value that the orderings
//! allow a load to see. A data race on a `loom` cell fails a model as well.
//!
//! A model proves nothing that cannot fail: beside each protocol stand twins
//! with a mistake in them, which must fail. So must all models of a file when an
//! ordering in it is weakened.

#![allow(dead_code, reason = "the models are tests, and use a part of each file")]

#[path = "../../src/account.rs"]
mod account;
#[path = "../../src/lock.rs"]
mod lock;
#[path = "../../src/heap/pins.rs"]
mod pins;
#[path = "../../src/heap/remote.rs"]
mod remote;
#[path = "../../src/sync.rs"]
mod sync;
#[path = "../../src/wait.rs"]
mod wait;

#[cfg(test)]
mod abandon;
#[cfg(test)]
mod accounts;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod locks;
#[cfg(test)]
mod visits;
