//! What the host calls: experts begin, change and end.

use core::ffi::{c_char, c_void};

use super::{HEAP, HEXPERTKEY, code, guarded, handle_of, key_of, pointer, reclaim, register};
use crate::api::foreign;
use crate::api::netmon;
use crate::engine::HOST_KEY;
use crate::error::Error;
use crate::expert::stats::Reclaimed;

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
    let make = |name: &str| netmon::register_child(HEAP, Some(HOST_KEY), name, quota, 0);
    // SAFETY: S1 and S2.
    unsafe { register(name, error, make) }
}

/// As [`ExpertRegisterKey`], below a parent whose quota counts too; the host's
/// key for none.
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
#[unsafe(no_mangle)]
pub extern "system" fn ExpertSetQuota(key: HEXPERTKEY, quota: usize) -> u32 {
    code(guarded(|| netmon::set_quota(HEAP, key_of(key), quota)))
}

/// Changes the soft quota from now on; 0 for none.
#[unsafe(no_mangle)]
pub extern "system" fn ExpertSetSoftQuota(key: HEXPERTKEY, soft_quota: usize) -> u32 {
    code(guarded(|| netmon::set_soft_quota(HEAP, key_of(key), soft_quota)))
}

/// Gives free memory back to the system at once.
#[unsafe(no_mangle)]
pub extern "system" fn ExpertPurge() {
    // Nothing to report: what could not be given back stays.
    let _ = guarded(|| {
        HEAP.purge();
        Ok(())
    });
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
pub unsafe extern "system-unwind" fn ExpertReclaimKey(
    key: HEXPERTKEY,
    report: *mut EXPERTRECLAIMED,
) -> u32 {
    // SAFETY: S1.
    unsafe { reclaim(report, || netmon::reclaim(HEAP, key_of(key))) }
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

/// Whose block `memory` points to or into; null for what is not the heap's.
#[unsafe(no_mangle)]
pub extern "system" fn ExpertOwnerOf(memory: *const c_void) -> HEXPERTKEY {
    handle_of(guarded(|| Ok(HEAP.owner_of(memory))).ok().flatten())
}
