//! The figures of experts, and a list of them.

use core::ffi::{c_char, c_void};

use super::{HEAP, HEXPERTKEY, code, guarded, handle_of, key_of, write};
use crate::api::by_key;
use crate::api::foreign;
use crate::error::Error;
use crate::expert::owned_name::{NAME_BYTES, NameCopy};
use crate::expert::report;
use crate::expert::stats::Stats;
use crate::expert::visit::State;

/// `EXPERTMEMORYSTATS`: see [`Stats`](crate::Stats).
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let key = handle(expert.key());
/// let mut stats = EXPERTMEMORYSTATS::default();
/// // SAFETY: `stats` may be written to.
/// assert_eq!(unsafe { ExpertGetMemoryStats(key, &mut stats) }, 0);
/// assert_eq!(stats, EXPERTMEMORYSTATS::default(), "nothing yet");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EXPERTMEMORYSTATS {
    /// Bytes in blocks handed out and not freed.
    pub live_bytes: usize,
    /// Blocks handed out and not freed.
    pub live_blocks: usize,
    /// The highest `charged_bytes` so far.
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

impl From<Stats> for EXPERTMEMORYSTATS {
    fn from(held: Stats) -> Self {
        Self {
            live_bytes: held.live_bytes,
            live_blocks: held.live_blocks,
            peak_bytes: held.peak_bytes,
            charged_bytes: held.charged_bytes,
            quota: held.quota,
            allocations: held.allocations,
            frees: held.frees,
            refusals: held.refusals,
        }
    }
}

/// `EXPERTINFO`: see [`ExpertSnapshot`](crate::ExpertSnapshot).
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let key = handle(expert.key());
/// let mut info = EXPERTINFO::default();
/// // SAFETY: `info` may be written to.
/// assert_eq!(unsafe { ExpertGetInfo(key, &mut info) }, 0);
/// assert!(info.parent.is_null());
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct EXPERTINFO {
    /// Its name, ended by a 0.
    pub name: [c_char; NAME_BYTES + 1],
    /// The key of its parent, or of the nearest one above that has not ended;
    /// null for none.
    pub parent: HEXPERTKEY,
    /// The soft limit of what is charged, in bytes; 0 for none.
    pub soft_quota: usize,
    /// Whether it may allocate, and the reason if not: an `EXPERT_STATE`.
    pub state: u32,
}

impl Default for EXPERTINFO {
    fn default() -> Self {
        let parent = core::ptr::null_mut();
        Self { name: [0; NAME_BYTES + 1], parent, soft_quota: 0, state: 0 }
    }
}

/// The `EXPERT_STATE_…` of the header.
fn number_of(state: State) -> u32 {
    match state {
        State::Live => 0,
        State::Terminated => 1,
        State::Overdrawn => 2,
        State::ParentStopped => 3,
        State::Closing => 4,
    }
}

/// A name as C has it, ended by a 0.
pub(super) fn name_of(name: &NameCopy) -> [c_char; NAME_BYTES + 1] {
    let mut bytes = [0; NAME_BYTES + 1];
    for (to, &byte) in bytes.iter_mut().zip(name.as_str().as_bytes()) {
        *to = byte as c_char;
    }
    bytes
}

/// Writes the result, or a default, and returns the code.
///
/// # Safety
///
/// - S1 `to` is null, or may be written to.
pub(super) unsafe fn give<T: Copy + Default>(result: Result<T, Error>, to: *mut T) -> u32 {
    if to.is_null() {
        return Error::InvalidPointer.nmerr();
    }
    // SAFETY: S1.
    unsafe { write(to, result.unwrap_or_default()) };
    code(result)
}

/// What `key` holds.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let key = handle(expert.key());
/// expert.alloc(100)?;
/// let mut stats = EXPERTMEMORYSTATS::default();
/// // SAFETY: `stats` may be written to.
/// assert_eq!(unsafe { ExpertGetMemoryStats(key, &mut stats) }, 0);
/// assert_eq!((stats.live_blocks, stats.allocations), (1, 1));
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// # Safety
///
/// - S1 `stats` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertGetMemoryStats(
    key: HEXPERTKEY,
    stats: *mut EXPERTMEMORYSTATS,
) -> u32 {
    // SAFETY: S1.
    unsafe {
        give(guarded(|| by_key::stats(HEAP, key_of(key)).map(EXPERTMEMORYSTATS::from)), stats)
    }
}

/// The figures of `key` and all its children; for the host's key, those of all
/// experts.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let key = handle(expert.key());
/// let child = ExpertAlloc::new().expert("child").parent(&expert).register()?;
/// child.alloc(100)?;
/// let mut stats = EXPERTMEMORYSTATS::default();
/// // SAFETY: `stats` may be written to.
/// assert_eq!(unsafe { ExpertGetSubtreeStats(key, &mut stats) }, 0);
/// assert_eq!((stats.live_blocks, expert.stats().live_blocks), (1, 0));
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// # Safety
///
/// - S1 `stats` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertGetSubtreeStats(
    key: HEXPERTKEY,
    stats: *mut EXPERTMEMORYSTATS,
) -> u32 {
    let result = guarded(|| by_key::subtree(HEAP, key_of(key)).map(EXPERTMEMORYSTATS::from));
    // SAFETY: S1.
    unsafe { give(result, stats) }
}

/// The expert of `key`: name, parent, state, soft quota.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let key = handle(expert.key());
/// let mut info = EXPERTINFO::default();
/// // SAFETY: `info` may be written to.
/// assert_eq!(unsafe { ExpertGetInfo(key, &mut info) }, 0);
/// // SAFETY: it ends with a 0.
/// let name = unsafe { std::ffi::CStr::from_ptr(info.name.as_ptr()) };
/// assert_eq!((name, info.state), (c"one", 0), "EXPERT_STATE_LIVE");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// # Safety
///
/// - S1 `info` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertGetInfo(key: HEXPERTKEY, info: *mut EXPERTINFO) -> u32 {
    let result = guarded(|| {
        let row = report::row(HEAP, key_of(key).ok_or(Error::InvalidKey)?)?;
        let name = name_of(&row.name);
        let (parent, soft_quota) = (handle_of(row.parent), row.soft_quota);
        Ok(EXPERTINFO { name, parent, soft_quota, state: number_of(row.state) })
    });
    // SAFETY: S1.
    unsafe { give(result, info) }
}

/// Calls `callback` with the host's key, then with that of each expert.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
/// use std::ffi::c_void;
///
/// let expert = ExpertAlloc::new().expert("one").register()?;
/// let key = handle(expert.key());
/// unsafe extern "C-unwind" fn count(_: HEXPERTKEY, context: *mut c_void) {
///     // SAFETY: the address of the number below.
///     unsafe { *context.cast::<usize>() += 1 }
/// }
/// let mut keys = 0_usize;
/// // SAFETY: the callback gets the number that it expects.
/// assert_eq!(unsafe { ExpertEnumerate(Some(count), (&raw mut keys).cast()) }, 0);
/// assert!(keys >= 2, "the host's and the expert's");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// # Safety
///
/// - S1 `callback` is null, or may be called with a key and `context`, from this
///   thread.
#[unsafe(no_mangle)]
pub unsafe extern "system-unwind" fn ExpertEnumerate(
    callback: Option<unsafe extern "C-unwind" fn(HEXPERTKEY, *mut c_void)>,
    context: *mut c_void,
) -> u32 {
    let Some(callback) = callback else {
        return Error::InvalidPointer.nmerr();
    };
    let (all, exit) = foreign::put_off(|| {
        // A `longjmp` out of the callback loses nothing, because nothing is held between
        // its calls.
        report::keys(HEAP).all(|key| {
            // SAFETY: S1.
            unsafe { foreign::returns_from(callback, [handle_of(Some(key)), context]) }
        })
    });
    if let Some(exit) = exit {
        // SAFETY: S1: nothing is left to drop here, and the callers are C.
        unsafe { exit.go_on() }
    }
    if all { code(Ok(())) } else { Error::CleanupFailed.nmerr() }
}
