//! Models of the library's protocols without a lock, or across locks.
//!
//! Each model is small: two or three threads and a few blocks, so that loom
//! can go through every order of their steps and every value that the orderings
//! allow a load to see. A data race on a `loom` cell fails a model as well.
//!
//! If a file of the library is small and needs little else, it is part of the model, with
//! loom's atomics. Otherwise the model repeats the protocol and names the functions that it
//! follows. A change of these functions must change the model.
//!
//! loom remembers only the last access to each word. If a thread loads a word and then
//! stores it, loom no longer knows that another thread had loaded it before, and does not
//! try the opposite order of that load and the store. Therefore, if one thread only reads a
//! word, the writing thread stores a value that it knows, without a load.
//!
//! A model that cannot fail proves nothing. So each protocol has twins with a mistake,
//! which must fail. All models of a file must also fail when an ordering in it is weakened.

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
mod sleepers;
#[cfg(test)]
mod tags;
#[cfg(test)]
mod visits;
