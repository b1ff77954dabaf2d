//! Models of what the library does without a lock, or across one.
//!
//! Each model is small: two or three threads and a few blocks, so that loom
//! can go through every order of their steps and every value that the orderings
//! allow a load to see. A data race on a `loom` cell fails a model as well.
//!
//! Where the library's own file is small and needs little else, it is part of the
//! model, with loom's atomics; elsewhere the model repeats the protocol and names the
//! functions that it follows: who changes those changes the model.
//!
//! loom remembers of each word the last access only: a thread that loads a word and
//! then stores it hides from loom that another had loaded it before, so that the order
//! of that load and the store is not turned round. Hence, where one thread only reads,
//! the one that writes stores what it knows, without a load.
//!
//! A model proves nothing that cannot fail: beside each protocol stand twins
//! with a mistake in them, which must fail. So must all models of a file when an
//! ordering in it is weakened.

#![allow(dead_code, reason = "the models are tests, and use a part of each file")]

#[path = "../../src/account/mod.rs"]
mod account;
#[path = "../../src/lock.rs"]
mod lock;
#[path = "../../src/heap/presence/pins.rs"]
mod pins;
#[path = "../../src/heap/spans/remote.rs"]
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
mod at_once;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod locks;
#[cfg(test)]
mod numbers;
#[cfg(test)]
mod records;
#[cfg(test)]
mod tags;
#[cfg(test)]
mod visits;
