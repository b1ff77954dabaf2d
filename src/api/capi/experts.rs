//! Calls for plug-ins: the four calls of Network Monitor, and alignment.

use core::ffi::{c_int, c_void};

use super::{HEAP, HEXPERTKEY, SUCCESS, code, guarded, key_of, pointer, write};
use crate::api::netmon;
use crate::heap::FILLED_AT_ONCE;

/// Allocates a block of `size` bytes for `key`, zero-filled, 16-byte aligned.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let key = handle(expert.key());
/// let mut error = 0;
/// // SAFETY: `error` may be written to.
/// let block = unsafe { ExpertAllocMemory(key, 100, &mut error) };
/// assert_eq!((error, expert.stats().live_blocks), (0, 1));
/// // SAFETY: a null may be given.
/// let none = unsafe { ExpertAllocMemory(std::ptr::null_mut(), 100, std::ptr::null_mut()) };
/// assert!(none.is_null(), "no expert has this key");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
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
    // The code stands twice, because a path without a call needs no stack.
    if size > FILLED_AT_ONCE {
        // SAFETY: S1.
        return unsafe { alloc_larger(key, size, error) };
    }
    // SAFETY: S1.
    unsafe { alloc(key, size, error) }
}

/// # Safety
///
/// - S1 as [`ExpertAllocMemory`].
#[inline(never)]
unsafe extern "system" fn alloc_larger(
    key: HEXPERTKEY,
    size: usize,
    error: *mut u32,
) -> *mut c_void {
    // SAFETY: S1.
    unsafe { alloc(key, size, error) }
}

/// # Safety
///
/// - S1 as [`ExpertAllocMemory`].
#[inline(always)]
unsafe fn alloc(key: HEXPERTKEY, size: usize, error: *mut u32) -> *mut c_void {
    // Nearly all calls find a block without the guard, on a path that does not unwind.
    if let Some(block) = netmon::alloc_at_once(HEAP, key_of(key), size) {
        // SAFETY: S1.
        unsafe { write(error, SUCCESS) };
        return block.as_ptr().cast();
    }
    // SAFETY: S1.
    unsafe { alloc_slow(key, size, error) }
}

/// # Safety
///
/// - S1 as [`ExpertAllocMemory`].
#[cold]
#[inline(never)]
unsafe extern "system" fn alloc_slow(key: HEXPERTKEY, size: usize, error: *mut u32) -> *mut c_void {
    // SAFETY: S1.
    unsafe { pointer(error, || netmon::alloc(HEAP, key_of(key), size)) }
}

/// Resizes a block of `key`; for null, allocates a new block.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let key = handle(expert.key());
/// let mut error = 0;
/// // SAFETY: `error` may be written to.
/// let block = unsafe { ExpertAllocMemory(key, 100, &mut error) };
/// // SAFETY: `error` may be written to.
/// let block = unsafe { ExpertReallocMemory(key, block, 5000, &mut error) };
/// assert_eq!((error, ExpertMemorySize(key, block)), (0, 5000));
/// # Ok::<(), expert_alloc::Error>(())
/// ```
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
    // SAFETY: S1.
    unsafe { pointer(error, || netmon::realloc(HEAP, key_of(key), memory.cast(), size)) }
}

/// Frees a block of `key`.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let key = handle(expert.key());
/// let mut error = 0;
/// // SAFETY: `error` may be written to.
/// let block = unsafe { ExpertAllocMemory(key, 100, &mut error) };
/// assert_eq!(ExpertFreeMemory(key, block), 0);
/// assert_eq!(ExpertFreeMemory(key, block), 76, "NMERR_INVALID_PARAMETER: freed already");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertFreeMemory(key: HEXPERTKEY, memory: *mut c_void) -> u32 {
    if netmon::free_at_once(HEAP, key_of(key), memory.cast()) {
        return SUCCESS;
    }
    free_slow(key, memory)
}

#[cold]
#[inline(never)]
extern "system" fn free_slow(key: HEXPERTKEY, memory: *mut c_void) -> u32 {
    code(guarded(|| netmon::free(HEAP, key_of(key), memory.cast())))
}

/// The size that was asked for of a block of `key`; 0 for any other address.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let key = handle(expert.key());
/// let mut error = 0;
/// // SAFETY: `error` may be written to.
/// let block = unsafe { ExpertAllocMemory(key, 100, &mut error) };
/// assert_eq!(ExpertMemorySize(key, block), 100);
/// assert_eq!(ExpertMemorySize(key, block.wrapping_byte_add(1)), 0, "not where a block starts");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertMemorySize(key: HEXPERTKEY, memory: *mut c_void) -> usize {
    guarded(|| Ok(netmon::size(HEAP, key_of(key), memory.cast()))).unwrap_or(0)
}

/// Allocates a block of `size` bytes for `key`, aligned to `alignment` bytes, and
/// zero-filled where `zeroed` is not 0. The calls above free, resize and measure the block,
/// and it keeps its alignment.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let key = handle(expert.key());
/// let mut error = 0;
/// // SAFETY: `error` may be written to.
/// let block = unsafe { ExpertAllocAligned(key, 100, 4096, 1, &mut error) };
/// assert_eq!((error, block.addr() % 4096), (0, 0));
/// assert_eq!(ExpertFreeMemory(key, block), 0);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
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
    // SAFETY: S1.
    unsafe {
        pointer(error, || netmon::alloc_aligned(HEAP, key_of(key), size, alignment, zeroed != 0))
    }
}

/// Whether the expert may go on: 0, or the reason why not.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let key = handle(expert.key());
/// assert_eq!(ExpertCheck(key), 0);
/// expert.terminate();
/// assert_eq!(ExpertCheck(key), 125, "NMERR_EXPERT_TERMINATE");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertCheck(key: HEXPERTKEY) -> u32 {
    code(guarded(|| netmon::check(HEAP, key_of(key))))
}
