//! The C face: the calls of `include/expert_alloc.h`, which describes them.
//!
//! Arguments are checked and translated here, nothing else. No panic leaves a
//! call: it would be [`Error::CleanupFailed`], `NMERR_INTERNAL_EXCEPTION`.

#![allow(non_snake_case, reason = "the names are those of the header")]
#![allow(clippy::upper_case_acronyms, reason = "the names are those of the header")]

use core::ffi::{CStr, c_char, c_void};
use core::ptr::NonNull;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::api::foreign;
use crate::api::netmon;
use crate::api::{ExpertAlloc, ExpertBuilder};
use crate::error::Error;
use crate::key::ExpertKey;

/// `HEXPERTKEY`: a key as an opaque pointer that is never followed.
pub type HEXPERTKEY = *mut c_void;

/// `NMERR_SUCCESS`.
const SUCCESS: u32 = 0;

const HEAP: ExpertAlloc = ExpertAlloc::new();

/// `EXPERTMEMORYSTATS`: see [`Stats`](crate::Stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EXPERTMEMORYSTATS {
    /// Bytes in blocks handed out and not freed.
    pub live_bytes: usize,
    /// Blocks handed out and not freed.
    pub live_blocks: usize,
    /// The most that `charged_bytes` ever was.
    pub peak_bytes: usize,
    /// Bytes that count against the quota.
    pub charged_bytes: usize,
    /// The hard limit of `charged_bytes`; 0 for none.
    pub quota: usize,
    /// Blocks handed out so far.
    pub allocations: u64,
    /// Blocks freed so far.
    pub frees: u64,
    /// Requests refused.
    pub refusals: u64,
}

/// `EXPERTRECLAIMED`: see [`Reclaimed`](crate::Reclaimed).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EXPERTRECLAIMED {
    /// Blocks that were still live and were taken back.
    pub blocks: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Blocks that are the host's now.
    pub adopted_blocks: usize,
    /// Their bytes.
    pub adopted_bytes: usize,
    /// Clean-ups that were run.
    pub cleanups_run: usize,
    /// Those of them that failed.
    pub cleanups_failed: usize,
    /// How long it took, in nanoseconds.
    pub elapsed_ns: u64,
}

fn key_of(key: HEXPERTKEY) -> netmon::Key {
    ExpertKey::from_raw(key.addr())
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
/// - S1 `to` is null, or may be written a `T` to.
unsafe fn write<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: S1.
        unsafe { to.write_unaligned(value) };
    }
}

/// Writes the code, always, and gives the pointer or null.
///
/// # Safety
///
/// - S1 `error` is null, or may be written to.
unsafe fn pointer(result: Result<NonNull<u8>, Error>, error: *mut u32) -> *mut c_void {
    // SAFETY: S1.
    unsafe { write(error, code(result)) };
    result.map_or(core::ptr::null_mut(), |block| block.as_ptr().cast())
}

/// Allocates a block of `size` bytes for `key`, zero-filled, 16-byte aligned.
///
/// # Safety
///
/// - S1 `error` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertAllocMemory(
    key: HEXPERTKEY,
    size: usize,
    error: *mut u32,
) -> *mut c_void {
    let result = guarded(|| netmon::alloc(HEAP, key_of(key), size));
    // SAFETY: S1.
    unsafe { pointer(result, error) }
}

/// Resizes a block of `key`'s; null is answered by a new block.
///
/// # Safety
///
/// - S1 `error` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertReallocMemory(
    key: HEXPERTKEY,
    memory: *mut c_void,
    size: usize,
    error: *mut u32,
) -> *mut c_void {
    let result = guarded(|| netmon::realloc(HEAP, key_of(key), memory.cast(), size));
    // SAFETY: S1.
    unsafe { pointer(result, error) }
}

/// Frees a block of `key`'s.
#[unsafe(no_mangle)]
pub extern "system" fn ExpertFreeMemory(key: HEXPERTKEY, memory: *mut c_void) -> u32 {
    code(guarded(|| netmon::free(HEAP, key_of(key), memory.cast())))
}

/// The bytes asked for of a block of `key`'s; 0 for anything else.
#[unsafe(no_mangle)]
pub extern "system" fn ExpertMemorySize(key: HEXPERTKEY, memory: *mut c_void) -> usize {
    guarded(|| Ok(netmon::size(HEAP, key_of(key), memory.cast()))).unwrap_or(0)
}

/// Makes an expert that is known by its key alone. Null where that fails.
///
/// # Safety
///
/// - S1 `name` is null, or the start of a string that ends with a 0.
/// - S2 `error` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertRegisterKey(
    name: *const c_char,
    quota: usize,
    error: *mut u32,
) -> HEXPERTKEY {
    // SAFETY: S1.
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
    let result = guarded(|| {
        let name = text(name.unwrap_or_default());
        Ok(ExpertBuilder::new(HEAP, name).quota(quota).register()?.into_key())
    });
    // SAFETY: S2.
    unsafe { write(error, code(result)) };
    handle_of(result.ok())
}

/// The name, up to where it stops being text.
fn text(name: &CStr) -> &str {
    let chunk = name.to_bytes().utf8_chunks().next();
    chunk.map_or("", |chunk| chunk.valid())
}

/// Tells an expert to stop, for good.
#[unsafe(no_mangle)]
pub extern "system" fn ExpertTerminateKey(key: HEXPERTKEY) -> u32 {
    code(guarded(|| netmon::terminate(HEAP, key_of(key))))
}

/// Ends an expert: runs its clean-ups, takes its memory back.
///
/// # Safety
///
/// - S1 `report` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertReclaimKey(
    key: HEXPERTKEY,
    report: *mut EXPERTRECLAIMED,
) -> u32 {
    let result = guarded(|| netmon::reclaim(HEAP, key_of(key)));
    let reclaimed = result.unwrap_or_default();
    let row = EXPERTRECLAIMED {
        blocks: reclaimed.blocks,
        bytes: reclaimed.bytes,
        adopted_blocks: reclaimed.adopted_blocks,
        adopted_bytes: reclaimed.adopted_bytes,
        cleanups_run: reclaimed.cleanups_run,
        cleanups_failed: reclaimed.cleanups_failed,
        elapsed_ns: reclaimed.elapsed.as_nanos().try_into().unwrap_or(u64::MAX),
    };
    // SAFETY: S1.
    unsafe { write(report, row) };
    if reclaimed.cleanups_failed != 0 { Error::CleanupFailed.nmerr() } else { code(result) }
}

/// Gives a block of `from`'s to `to`: where it is now, or null.
///
/// # Safety
///
/// - S1 `error` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertTransferMemory(
    from: HEXPERTKEY,
    memory: *mut c_void,
    to: HEXPERTKEY,
    error: *mut u32,
) -> *mut c_void {
    let result = guarded(|| netmon::transfer(HEAP, key_of(from), memory.cast(), key_of(to)));
    // SAFETY: S1.
    unsafe { pointer(result, error) }
}

/// Registers what to call when the expert ends, before its memory goes.
///
/// # Safety
///
/// - S1 `cleanup` is null, or may be called once with `context`, from whatever
///   thread ends the expert.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertOnReclaim(
    key: HEXPERTKEY,
    cleanup: Option<unsafe extern "C-unwind" fn(*mut c_void)>,
    context: *mut c_void,
) -> u32 {
    let Some(cleanup) = cleanup else {
        return Error::InvalidPointer.nmerr();
    };
    let call = foreign::Call { function: cleanup, context };
    // SAFETY: S1, and clean-ups are called once.
    let cleanup = move || unsafe { call.call() };
    code(guarded(|| netmon::on_reclaim(HEAP, key_of(key), cleanup)))
}

/// What `key` holds.
///
/// # Safety
///
/// - S1 `stats` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertGetMemoryStats(
    key: HEXPERTKEY,
    stats: *mut EXPERTMEMORYSTATS,
) -> u32 {
    if stats.is_null() {
        return Error::InvalidPointer.nmerr();
    }
    let result = guarded(|| netmon::stats(HEAP, key_of(key)));
    let held = result.unwrap_or_default();
    let row = EXPERTMEMORYSTATS {
        live_bytes: held.live_bytes,
        live_blocks: held.live_blocks,
        peak_bytes: held.peak_bytes,
        charged_bytes: held.charged_bytes,
        quota: held.quota,
        allocations: held.allocations,
        frees: held.frees,
        refusals: held.refusals,
    };
    // SAFETY: S1.
    unsafe { write(stats, row) };
    code(result)
}

/// Whose block `memory` points to or into; null for what is not the heap's.
#[unsafe(no_mangle)]
pub extern "system" fn ExpertOwnerOf(memory: *const c_void) -> HEXPERTKEY {
    handle_of(guarded(|| Ok(HEAP.owner_of(memory))).ok().flatten())
}
