//! Packages as a user has them, made, built and run by Cargo: the README's, and
//! programs for several compilers.

mod package;
mod readme;
#[cfg(unix)]
mod standard_allocator;
