//! The host's heap: the table and the key that the host hands over when it loads the
//! plug-in.
//!
//! Invariants
//!
//! - A1 `host` is the table without a host, or one that stays for ever.
//! - A2 `allocate` and `release` are the functions of these names of the table without a
//!   host, or of the one in `host`.
//! - A3 the key is stored before the others, and each changes only once.

use core::ffi::{c_int, c_void};
use core::mem::transmute;
use core::ptr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::error::Error;
use crate::key::Stats;
use crate::table::{AllocateCall, Host, RawKey, ReleaseCall};

/// The words that the allocator reads in each call, side by side. Copies of two of the
/// table's functions are here, so they are found without the table.
struct Attached {
    key: AtomicPtr<c_void>,
    allocate: AtomicPtr<()>,
    release: AtomicPtr<()>,
    host: AtomicPtr<Host>,
}

static ATTACHED: Attached = Attached {
    key: AtomicPtr::new(ptr::null_mut()),
    allocate: AtomicPtr::new(nothing as *mut ()),
    release: AtomicPtr::new(ignore as *mut ()),
    host: AtomicPtr::new((&raw const WITHOUT).cast_mut()),
};

/// The host's table.
#[inline(always)]
pub(crate) fn host() -> &'static Host {
    // Acquire: the key (the Release in `attach`).
    let host = ATTACHED.host.load(Acquire);
    // SAFETY: A1.
    unsafe { &*host }
}

/// The table's `allocate`.
#[inline(always)]
pub(crate) fn allocate() -> AllocateCall {
    // Acquire: the key (the Release in `attach`).
    let function = ATTACHED.allocate.load(Acquire);
    // SAFETY: A2: a function of this type.
    unsafe { transmute::<*mut (), AllocateCall>(function) }
}

/// The table's `release`.
#[inline(always)]
pub(crate) fn release() -> ReleaseCall {
    let function = ATTACHED.release.load(Relaxed);
    // SAFETY: A2: a function of this type.
    unsafe { transmute::<*mut (), ReleaseCall>(function) }
}

/// The key of this plug-in, which owns the blocks of its allocator.
#[inline(always)]
pub(crate) fn library_key() -> RawKey {
    // Relaxed: A3, behind the table or a function.
    ATTACHED.key.load(Relaxed)
}

/// The identity of the heap that the plug-in's calls reach; null before it is attached.
#[must_use]
pub fn identity() -> *const c_void {
    host().identity
}

/// Attaches the plug-in to its host: from then on the host's heap is its allocator. The
/// macros define the entry point that calls this.
///
/// ```
/// use expert_alloc_plugin::{Error, attach};
///
/// // SAFETY: null is no table.
/// let outcome = unsafe { attach(std::ptr::null(), std::ptr::null_mut()) };
/// assert_eq!(outcome, Err(Error::INVALID_PARAMETER));
/// ```
///
/// # Errors
///
/// - [`Error::INVALID_PARAMETER`]: the table is null, or the host is too old.
/// - [`Error::ACCESS_DENIED`]: the plug-in is attached already, with another key, because
///   its library was not unloaded before it was loaded again.
///
/// # Safety
///
/// - S1 `host` is null or a host's table that stays for ever, and `key` is a key that was
///   lent to this plug-in.
/// - S2 no other thread attaches at the same time.
pub unsafe fn attach(host: *const Host, key: *mut c_void) -> Result<(), Error> {
    // SAFETY: S1: null, or begins with its size.
    if host.is_null() || unsafe { (*host).size } < size_of::<Host>() {
        return Err(Error::INVALID_PARAMETER);
    }
    if !ptr::eq(self::host(), &WITHOUT) {
        let is_same = ptr::eq(self::host(), host) && library_key() == key;
        return if is_same { Ok(()) } else { Err(Error::ACCESS_DENIED) };
    }
    // SAFETY: S1: a host's table, of a size that has all fields.
    let table = unsafe { &*host };
    ATTACHED.key.store(key, Relaxed);
    // Release: the key (the Acquires above). No block is released before one was allocated.
    ATTACHED.allocate.store(table.allocate as *mut (), Release);
    ATTACHED.release.store(table.release as *mut (), Release);
    ATTACHED.host.store(host.cast_mut(), Release);
    Ok(())
}

/// The table before the plug-in is attached, which refuses every call.
static WITHOUT: Host = Host {
    size: size_of::<Host>(),
    identity: ptr::null(),
    allocate: nothing,
    allocate_zeroed: nothing,
    release: ignore,
    resize: no_resize,
    alloc_memory: no_alloc,
    realloc_memory: no_realloc,
    free_memory: no_free,
    memory_size: no_size,
    alloc_aligned: no_aligned,
    on_reclaim: no_cleanup,
    memory_stats: no_stats,
    check: no_check,
};

extern "C" fn nothing(_: RawKey, _: usize, _: usize) -> *mut c_void {
    ptr::null_mut()
}

extern "C" fn ignore(_: *mut c_void, _: usize, _: usize) {}

extern "C" fn no_resize(_: RawKey, _: *mut c_void, _: usize, _: usize, _: usize) -> *mut c_void {
    ptr::null_mut()
}

/// # Safety
///
/// - S1 `error` is null, or may be written to.
unsafe extern "system" fn no_alloc(_: RawKey, _: usize, error: *mut u32) -> *mut c_void {
    // SAFETY: S1.
    if let Some(error) = unsafe { error.as_mut() } {
        *error = Error::INVALID_KEY.code();
    }
    ptr::null_mut()
}

/// # Safety
///
/// - S1 as [`no_alloc`].
unsafe extern "system" fn no_realloc(
    key: RawKey,
    _: *mut c_void,
    size: usize,
    error: *mut u32,
) -> *mut c_void {
    // SAFETY: S1.
    unsafe { no_alloc(key, size, error) }
}

extern "system" fn no_free(_: RawKey, _: *mut c_void) -> u32 {
    Error::INVALID_KEY.code()
}

extern "system" fn no_size(_: RawKey, _: *mut c_void) -> usize {
    0
}

/// # Safety
///
/// - S1 as [`no_alloc`].
unsafe extern "system" fn no_aligned(
    key: RawKey,
    size: usize,
    _: usize,
    _: c_int,
    error: *mut u32,
) -> *mut c_void {
    // SAFETY: S1.
    unsafe { no_alloc(key, size, error) }
}

extern "system" fn no_cleanup(
    _: RawKey,
    _: Option<unsafe extern "C-unwind" fn(*mut c_void)>,
    _: *mut c_void,
) -> u32 {
    Error::INVALID_KEY.code()
}

extern "system" fn no_stats(_: RawKey, _: *mut Stats) -> u32 {
    Error::INVALID_KEY.code()
}

extern "system" fn no_check(_: RawKey) -> u32 {
    Error::INVALID_KEY.code()
}
