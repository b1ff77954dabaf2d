//! The C calls of `include/expert_alloc.h`, which describes them.
//!
//! Arguments are checked and translated here, nothing else. No panic leaves a call; a panic
//! becomes [`Error::CleanupFailed`], `NMERR_INTERNAL_EXCEPTION`.
//!
//! ```text
//!  experts  what a plug-in calls            host     what its host calls
//!  figures  what experts hold               scopes   enter, leave, call
//!  holders  who holds most                  limits   quotas, all of a request
//!  observe  events, told and asked          plugins  tables, and keys of libraries
//! ```
//!
//! ```
//! use expert_alloc::capi::*;
//!
//! let mut error = 0;
//! // SAFETY: a string, and a word that may be written to.
//! let key = unsafe { ExpertRegisterKey(c"top-users".as_ptr(), 64 << 20, &mut error) };
//! // SAFETY: `error` may be written to.
//! let block = unsafe { ExpertAllocMemory(key, 4096, &mut error) };
//! assert_eq!((error, ExpertOwnerOf(block)), (0, key));
//! let mut report = EXPERTRECLAIMED::default();
//! // SAFETY: the report may be written to.
//! assert_eq!(unsafe { ExpertReclaimKey(key, &mut report) }, 0);
//! assert_eq!(report.blocks, 1);
//! ```

#![allow(non_snake_case, reason = "the names are those of the header")]
#![allow(clippy::upper_case_acronyms, reason = "the names are those of the header")]

mod experts;
mod figures;
mod holders;
mod host;
mod limits;
mod observe;
mod plugins;
mod scopes;

use core::ffi::{CStr, c_char, c_void};
use core::ptr::NonNull;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use experts::*;
pub use figures::*;
pub use holders::*;
pub use host::*;
pub use limits::*;
pub use observe::*;
pub use plugins::*;
pub use scopes::*;

pub use crate::api::identity::ExpertHeapIdentity;
use crate::api::{ExpertAlloc, foreign, netmon};
use crate::error::Error;
use crate::expert::stats::Reclaimed;
use crate::key::ExpertKey;

/// `HEXPERTKEY`: a key as an opaque pointer that is never followed.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let key: HEXPERTKEY = handle(ExpertAlloc::new().host().key());
/// assert!(!key.is_null());
/// ```
pub type HEXPERTKEY = *mut c_void;

/// `NMERR_SUCCESS`.
const SUCCESS: u32 = 0;

const HEAP: ExpertAlloc = ExpertAlloc::new();

fn key_of(key: HEXPERTKEY) -> netmon::Key {
    ExpertKey::from_raw(key.addr())
}

/// The key in the form that C code uses.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi};
///
/// let key = ExpertAlloc::new().host().key();
/// assert_eq!(capi::handle(key).addr(), key.into_raw());
/// ```
#[must_use]
pub fn handle(key: ExpertKey) -> HEXPERTKEY {
    handle_of(Some(key))
}

fn handle_of(key: netmon::Key) -> HEXPERTKEY {
    core::ptr::without_provenance_mut(key.map_or(0, ExpertKey::into_raw))
}

/// Calls `f`; a panic in it becomes an error.
fn guarded<T>(f: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        // Dropping it might panic again.
        core::mem::forget(payload);
        Err(Error::CleanupFailed)
    })
}

fn code<T>(result: Result<T, Error>) -> u32 {
    result.err().map_or(SUCCESS, Error::nmerr)
}

/// # Safety
///
/// - S1 `to` is null, or a `T` may be written there.
unsafe fn write<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: S1.
        unsafe { to.write_unaligned(value) };
    }
}

/// Calls `f`, always writes the code, and returns the pointer or null.
///
/// # Safety
///
/// - S1 `error` is null, or may be written to.
unsafe fn pointer(error: *mut u32, f: impl FnOnce() -> Result<NonNull<u8>, Error>) -> *mut c_void {
    // The inside of the guard returns two words, because a `Result` would be copied in
    // pieces.
    let (block, code) = guarded(|| match f() {
        Ok(block) => Ok((block.as_ptr(), SUCCESS)),
        Err(why) => Ok((core::ptr::null_mut(), why.nmerr())),
    })
    .unwrap_or_else(|why| (core::ptr::null_mut(), why.nmerr()));
    // SAFETY: S1.
    unsafe { write(error, code) };
    block.cast()
}

/// Makes an expert of this name with `make`, and returns its key, or null.
///
/// # Safety
///
/// - S1 `name` is null, or the start of a string that ends with a 0.
/// - S2 `error` is null, or may be written to.
unsafe fn register(
    name: *const c_char,
    error: *mut u32,
    make: impl FnOnce(&str) -> Result<ExpertKey, Error>,
) -> HEXPERTKEY {
    // SAFETY: S1.
    let name = unsafe { text(name) };
    let result = guarded(|| make(name));
    // SAFETY: S2.
    unsafe { write(error, code(result)) };
    handle_of(result.ok())
}

/// Ends an expert with `end`, and then ends this thread if a clean-up asked for that.
///
/// # Safety
///
/// - S1 `report` is null, or may be written to.
unsafe fn reclaim(
    report: *mut EXPERTRECLAIMED,
    end: impl FnOnce() -> Result<Reclaimed, Error>,
) -> u32 {
    let (result, exit) = foreign::put_off(|| guarded(end));
    let reclaimed = result.unwrap_or_default();
    // SAFETY: S1.
    unsafe { write(report, reclaimed.into()) };
    if let Some(exit) = exit {
        // SAFETY: S1: nothing is left to drop here or in the calls that call this
        // one, and their callers are C.
        unsafe { exit.go_on() }
    }
    if reclaimed.cleanups_failed != 0 { Error::CleanupFailed.nmerr() } else { code(result) }
}

/// The text at `name`, up to the first byte that is not UTF-8; empty for null.
///
/// # Safety
///
/// - S1 `name` is null, or the start of a string that ends with a 0, for as long
///   as the result is used.
unsafe fn text<'a>(name: *const c_char) -> &'a str {
    if name.is_null() {
        return "";
    }
    // SAFETY: S1.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_bytes().utf8_chunks().next().map_or("", |chunk| chunk.valid())
}
