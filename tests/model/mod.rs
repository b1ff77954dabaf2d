//! The shadow model: one [`Op`](op::Op), one interpreter, one shadow that
//! knows every block's owner, content and size. Shared by the stress runs and
//! the fuzz targets.
//!
//! Two ways to run the same operations:
//!
//! - *exact*: one thread at a time has the baton, so that every figure can be
//!   foretold and the walker can run after each operation;
//! - *free*: all threads at once, so that the races happen; what a race makes
//!   uncertain is checked for being one of the possible answers, and the
//!   walker runs when all threads rest.
//!
//! The model's own tables have their full size from the start and never grow:
//! they live in the heap under test, which is made to fail.

#![allow(dead_code, reason = "each program uses a part of it")]

pub mod actor;
pub mod calls;
pub mod dice;
pub mod op;
pub mod raw;
pub mod run;
pub mod shadow;
pub mod world;
