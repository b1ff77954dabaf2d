//! Tests of users' packages, which Cargo builds and runs: that of the README, and programs
//! for several compilers.

mod package;
mod readme;
#[cfg(unix)]
mod standard_allocator;
