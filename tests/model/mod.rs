//! The shadow model: one [`Op`](op::Op), one interpreter, one shadow that knows every
//! block's owner, content and size. The shadow tests and the fuzz targets share it.
//!
//! The same operations run in two ways:
//!
//! - *exact*: one thread at a time has the baton, so every figure can be predicted, and the
//!   walker can run after each operation;
//! - *free*: all threads at once, so that the races happen; if a race makes an answer
//!   uncertain, it must be one of the possible answers, and the walker runs when all
//!   threads rest.
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
