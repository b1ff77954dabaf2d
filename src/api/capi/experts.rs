//! What an expert calls: the four calls of Network Monitor, and alignment.

use core::ffi::{c_int, c_void};

use super::{HEAP, HEXPERTKEY, code, guarded, key_of, pointer};
use crate::api::netmon;

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

/// Allocates a block of `size` bytes for `key`, aligned to `alignment` bytes, and
/// zero-filled where `zeroed` is not 0. Freed, resized and measured by the calls
/// above; it keeps its alignment.
///
/// # Safety
///
/// - S1 `error` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertAllocAligned(
    key: HEXPERTKEY,
    size: usize,
    alignment: usize,
    zeroed: c_int,
    error: *mut u32,
) -> *mut c_void {
    let result = guarded(|| netmon::alloc_aligned(HEAP, key_of(key), size, alignment, zeroed != 0));
    // SAFETY: S1.
    unsafe { pointer(result, error) }
}

/// Whether the expert may go on: 0, or why not.
#[unsafe(no_mangle)]
pub extern "system" fn ExpertCheck(key: HEXPERTKEY) -> u32 {
    code(guarded(|| netmon::check(HEAP, key_of(key))))
}
