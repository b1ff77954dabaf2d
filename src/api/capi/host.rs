//! Calls for hosts: experts begin, change and end.

use core::ffi::{c_char, c_void};

use super::{HEAP, HEXPERTKEY, code, guarded, handle_of, key_of, pointer, reclaim, register};
use crate::api::foreign;
use crate::api::{by_key, netmon};
use crate::engine::HOST_KEY;
use crate::error::Error;
use crate::expert::stats::Reclaimed;

/// `EXPERTRECLAIMED`: see [`Reclaimed`](crate::Reclaimed).
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterKey(c"top-users".as_ptr(), 64 << 20, &mut error) };
/// // SAFETY: `error` may be written to.
/// unsafe { ExpertAllocMemory(key, 100, &mut error) };
/// let mut report = EXPERTRECLAIMED::default();
/// // SAFETY: the report may be written to.
/// assert_eq!(unsafe { ExpertReclaimKey(key, &mut report) }, 0);
/// assert_eq!((report.blocks, report.cleanups_run), (1, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EXPERTRECLAIMED {
    /// Blocks that were still live and were taken back.
    pub blocks: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Blocks that belong to the host now.
    pub adopted_blocks: usize,
    /// Their bytes.
    pub adopted_bytes: usize,
    /// Clean-ups that were run.
    pub cleanups_run: usize,
    /// Clean-ups that failed.
    pub cleanups_failed: usize,
    /// How long the end took, in nanoseconds.
    pub elapsed_ns: u64,
}

impl From<Reclaimed> for EXPERTRECLAIMED {
    fn from(reclaimed: Reclaimed) -> Self {
        Self {
            blocks: reclaimed.blocks,
            bytes: reclaimed.bytes,
            adopted_blocks: reclaimed.adopted_blocks,
            adopted_bytes: reclaimed.adopted_bytes,
            cleanups_run: reclaimed.cleanups_run,
            cleanups_failed: reclaimed.cleanups_failed,
            elapsed_ns: reclaimed.elapsed.as_nanos().try_into().unwrap_or(u64::MAX),
        }
    }
}

/// Registers an expert that is known by its key alone. Returns null if that fails.
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterKey(c"top-users".as_ptr(), 64 << 20, &mut error) };
/// assert!(error == 0 && !key.is_null());
/// // SAFETY: the report may be null.
/// assert_eq!(unsafe { ExpertReclaimKey(key, std::ptr::null_mut()) }, 0);
/// ```
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
    let make = |name: &str| netmon::register_child(HEAP, Some(HOST_KEY), name, quota, 0);
    // SAFETY: S1 and S2.
    unsafe { register(name, error, make) }
}

/// As [`ExpertRegisterKey`], with a parent, whose quota limits the child, too; the
/// host's key stands for no parent.
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterKey(c"top-users".as_ptr(), 64 << 20, &mut error) };
/// // SAFETY: a string, and a word that may be written to.
/// let child = unsafe { ExpertRegisterChild(key, c"query".as_ptr(), 0, 0, &mut error) };
/// // SAFETY: `error` may be written to.
/// let block = unsafe { ExpertAllocMemory(child, 65 << 20, &mut error) };
/// assert_eq!((block.is_null(), error), (true, 19), "NMERR_OUT_OF_MEMORY: the parent's quota");
/// ```
///
/// # Safety
///
/// - S1 `name` is null, or the start of a string that ends with a 0.
/// - S2 `error` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertRegisterChild(
    parent: HEXPERTKEY,
    name: *const c_char,
    quota: usize,
    soft_quota: usize,
    error: *mut u32,
) -> HEXPERTKEY {
    let parent = key_of(parent);
    let make = |name: &str| netmon::register_child(HEAP, parent, name, quota, soft_quota);
    // SAFETY: S1 and S2.
    unsafe { register(name, error, make) }
}

/// Changes the quota from now on; 0 for none.
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterKey(c"top-users".as_ptr(), 64 << 20, &mut error) };
/// assert_eq!(ExpertSetQuota(key, 1 << 20), 0);
/// // SAFETY: `error` may be written to.
/// let block = unsafe { ExpertAllocMemory(key, 2 << 20, &mut error) };
/// assert!(block.is_null());
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertSetQuota(key: HEXPERTKEY, quota: usize) -> u32 {
    code(guarded(|| by_key::set_quota(HEAP, key_of(key), quota)))
}

/// Changes the soft quota from now on; 0 for none.
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterKey(c"top-users".as_ptr(), 64 << 20, &mut error) };
/// assert_eq!(ExpertSetSoftQuota(key, 1 << 20), 0);
/// let mut info = EXPERTINFO::default();
/// // SAFETY: `info` may be written to.
/// unsafe { ExpertGetInfo(key, &mut info) };
/// assert_eq!(info.soft_quota, 1 << 20);
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertSetSoftQuota(key: HEXPERTKEY, soft_quota: usize) -> u32 {
    code(guarded(|| by_key::set_soft_quota(HEAP, key_of(key), soft_quota)))
}

/// Gives free memory back to the system at once.
///
/// ```
/// expert_alloc::capi::ExpertPurge();
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertPurge() {
    // There is no error to report, because memory that could not be given back stays.
    let _ = guarded(|| {
        HEAP.purge();
        Ok(())
    });
}

/// Tells an expert to stop, for good.
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterKey(c"top-users".as_ptr(), 64 << 20, &mut error) };
/// assert_eq!(ExpertTerminateKey(key), 0);
/// // SAFETY: `error` may be written to.
/// let block = unsafe { ExpertAllocMemory(key, 100, &mut error) };
/// assert_eq!((block.is_null(), error), (true, 125), "NMERR_EXPERT_TERMINATE");
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertTerminateKey(key: HEXPERTKEY) -> u32 {
    code(guarded(|| netmon::terminate(HEAP, key_of(key))))
}

/// Ends an expert: runs its clean-ups, takes its memory back.
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterKey(c"top-users".as_ptr(), 64 << 20, &mut error) };
/// // SAFETY: `error` may be written to.
/// let block = unsafe { ExpertAllocMemory(key, 100, &mut error) };
/// // SAFETY: the report may be null.
/// assert_eq!(unsafe { ExpertReclaimKey(key, std::ptr::null_mut()) }, 0);
/// assert_eq!(ExpertFreeMemory(key, block), 130, "NMERR_INVALID_EXPERT_HANDLE");
/// ```
///
/// # Safety
///
/// - S1 `report` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system-unwind" fn ExpertReclaimKey(
    key: HEXPERTKEY,
    report: *mut EXPERTRECLAIMED,
) -> u32 {
    // SAFETY: S1.
    unsafe { reclaim(report, || netmon::reclaim(HEAP, key_of(key))) }
}

/// As [`ExpertReclaimKey`], with the blocks that the expert has allocated in scopes: none
/// of them becomes the host's.
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterKey(c"query".as_ptr(), 0, &mut error) };
/// let mut report = EXPERTRECLAIMED::default();
/// // SAFETY: the report may be written to, and nothing was allocated in a scope.
/// assert_eq!(unsafe { ExpertReclaimAll(key, &mut report) }, 0);
/// assert_eq!(report.adopted_blocks, 0);
/// ```
///
/// # Safety
///
/// - S1 `report` is null, or may be written to.
/// - S2 nothing refers any more to what the expert has allocated in scopes, and no thread
///   is in a scope of it, at the latest when the last clean-up has returned.
#[unsafe(no_mangle)]
pub unsafe extern "system-unwind" fn ExpertReclaimAll(
    key: HEXPERTKEY,
    report: *mut EXPERTRECLAIMED,
) -> u32 {
    // SAFETY: S2.
    let end = || unsafe { netmon::reclaim_all(HEAP, key_of(key)) };
    // SAFETY: S1.
    unsafe { reclaim(report, end) }
}

/// Transfers a block from `from` to `to`. Returns its new address, or null.
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterKey(c"top-users".as_ptr(), 64 << 20, &mut error) };
/// let host = handle(expert_alloc::ExpertAlloc::new().host().key());
/// // SAFETY: `error` may be written to.
/// let block = unsafe { ExpertAllocMemory(key, 100, &mut error) };
/// // SAFETY: `error` may be written to.
/// let block = unsafe { ExpertTransferMemory(key, block, host, &mut error) };
/// // SAFETY: the report may be null.
/// assert_eq!(unsafe { ExpertReclaimKey(key, std::ptr::null_mut()) }, 0);
/// assert_eq!(ExpertMemorySize(host, block), 100, "it outlives the expert");
/// ```
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
    // SAFETY: S1.
    unsafe { pointer(error, || netmon::transfer(HEAP, key_of(from), memory.cast(), key_of(to))) }
}

/// Registers a function to call when the expert ends, before its memory is freed.
///
/// ```
/// use expert_alloc::capi::*;
///
/// use std::ffi::c_void;
/// use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
///
/// static CLOSED: AtomicBool = AtomicBool::new(false);
/// unsafe extern "C-unwind" fn close(_: *mut c_void) {
///     CLOSED.store(true, Relaxed);
/// }
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterKey(c"top-users".as_ptr(), 64 << 20, &mut error) };
/// // SAFETY: the function may be called with null, from any thread.
/// assert_eq!(unsafe { ExpertOnReclaim(key, Some(close), std::ptr::null_mut()) }, 0);
/// // SAFETY: the report may be null.
/// assert_eq!(unsafe { ExpertReclaimKey(key, std::ptr::null_mut()) }, 0);
/// assert!(CLOSED.load(Relaxed));
/// ```
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

/// The owner of the block that `memory` points to or into; null if the heap has no
/// such block.
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterKey(c"top-users".as_ptr(), 64 << 20, &mut error) };
/// // SAFETY: `error` may be written to.
/// let block = unsafe { ExpertAllocMemory(key, 100, &mut error) };
/// assert_eq!(ExpertOwnerOf(block.wrapping_byte_add(99)), key);
/// assert!(ExpertOwnerOf((&raw const error).cast()).is_null(), "on the stack");
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertOwnerOf(memory: *const c_void) -> HEXPERTKEY {
    handle_of(guarded(|| Ok(HEAP.owner_of(memory))).ok().flatten())
}
