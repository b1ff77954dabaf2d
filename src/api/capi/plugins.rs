//! The calls of `include/expert_plugin.h` for hosts: the table of calls, keys of
//! plug-ins, the probe for a second heap.

use core::alloc::Layout;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::transmute;
use core::ptr::NonNull;

use super::{
    EXPERTMEMORYSTATS, EXPERTRECLAIMED, ExpertAllocAligned, ExpertAllocMemory, ExpertCheck,
    ExpertFreeMemory, ExpertGetMemoryStats, ExpertMemorySize, ExpertOnReclaim, ExpertReallocMemory,
    HEAP, HEXPERTKEY, guarded, key_of, reclaim, register,
};
use crate::api::identity::{self, ExpertHeapIdentity};
use crate::api::{foreign, lend, netmon};
use crate::engine::{Engine, HOST_KEY};
use crate::expert::home::Home;

/// `EXPERTHOST`: the host's calls, for plug-ins that do not find them by name.
///
/// ```
/// use expert_alloc::capi::*;
///
/// // SAFETY: the table stays for ever.
/// let table: &EXPERTHOST = unsafe { &*ExpertHostTable() };
/// assert_eq!(table.size, size_of::<EXPERTHOST>());
/// ```
#[derive(Debug)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields are those of the header, which describes them")]
pub struct EXPERTHOST {
    pub size: usize,
    pub identity: *const c_void,
    pub allocate: extern "C" fn(HEXPERTKEY, usize, usize) -> *mut c_void,
    pub allocate_zeroed: extern "C" fn(HEXPERTKEY, usize, usize) -> *mut c_void,
    pub release: unsafe extern "C" fn(*mut c_void, usize, usize),
    pub resize: unsafe extern "C" fn(HEXPERTKEY, *mut c_void, usize, usize, usize) -> *mut c_void,
    pub alloc_memory: unsafe extern "system" fn(HEXPERTKEY, usize, *mut u32) -> *mut c_void,
    pub realloc_memory:
        unsafe extern "system" fn(HEXPERTKEY, *mut c_void, usize, *mut u32) -> *mut c_void,
    pub free_memory: extern "system" fn(HEXPERTKEY, *mut c_void) -> u32,
    pub memory_size: extern "system" fn(HEXPERTKEY, *mut c_void) -> usize,
    pub alloc_aligned:
        unsafe extern "system" fn(HEXPERTKEY, usize, usize, c_int, *mut u32) -> *mut c_void,
    pub on_reclaim: unsafe extern "system" fn(
        HEXPERTKEY,
        Option<unsafe extern "C-unwind" fn(*mut c_void)>,
        *mut c_void,
    ) -> u32,
    pub memory_stats: unsafe extern "system" fn(HEXPERTKEY, *mut EXPERTMEMORYSTATS) -> u32,
    pub check: extern "system" fn(HEXPERTKEY) -> u32,
}

// SAFETY: nobody writes to it, and nobody follows its one pointer.
unsafe impl Sync for EXPERTHOST {}

static TABLE: EXPERTHOST = EXPERTHOST {
    size: size_of::<EXPERTHOST>(),
    identity: identity::ADDRESS.0,
    allocate,
    allocate_zeroed,
    release,
    resize,
    alloc_memory: ExpertAllocMemory,
    realloc_memory: ExpertReallocMemory,
    free_memory: ExpertFreeMemory,
    memory_size: ExpertMemorySize,
    alloc_aligned: ExpertAllocAligned,
    on_reclaim: ExpertOnReclaim,
    memory_stats: ExpertGetMemoryStats,
    check: ExpertCheck,
};

/// The host's table, which stays for ever.
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterPlugin(c"plug-in".as_ptr(), 1 << 20, &mut error) };
/// // SAFETY: the table stays for ever.
/// let table = unsafe { &*ExpertHostTable() };
/// let block = (table.allocate)(key, 100, 16);
/// assert_eq!(ExpertOwnerOf(block), key);
/// // SAFETY: the live block of this table, with its size and alignment.
/// unsafe { (table.release)(block, 100, 16) };
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertHostTable() -> *const EXPERTHOST {
    &raw const TABLE
}

extern "C" fn allocate(key: HEXPERTKEY, size: usize, alignment: usize) -> *mut c_void {
    // The case of nearly all requests takes the fewest instructions, and no stack.
    match small(size, alignment).and_then(|layout| lend::take_ready(key.addr(), layout)) {
        Some(block) => block.as_ptr().cast(),
        None => allocate_slow(key, size, alignment),
    }
}

/// The largest size and the largest alignment, in bytes, of requests that take the fast
/// path.
const SMALL: usize = 8 << 10;
const SMALL_ALIGNMENT: usize = 16;

/// The layout, if it is one of those that nearly all requests have.
#[inline(always)]
fn small(size: usize, alignment: usize) -> Option<Layout> {
    // One comparison tests both limits, because 0 - 1 is the largest number.
    let (last, low_bits) = (size.wrapping_sub(1), alignment.wrapping_sub(1));
    if last >= SMALL || low_bits >= SMALL_ALIGNMENT || alignment & low_bits != 0 {
        return None;
    }
    // SAFETY: a power of two, and a size that is far from the largest.
    Some(unsafe { Layout::from_size_align_unchecked(size, alignment) })
}

#[inline(never)]
extern "C" fn allocate_slow(key: HEXPERTKEY, size: usize, alignment: usize) -> *mut c_void {
    let Ok(layout) = Layout::from_size_align(size, alignment) else {
        return core::ptr::null_mut();
    };
    match lend::allocate_at_once(key.addr(), layout) {
        Some(block) => block.as_ptr().cast(),
        None => lend::allocate(key_of(key), layout, false).cast(),
    }
}

extern "C" fn allocate_zeroed(key: HEXPERTKEY, size: usize, alignment: usize) -> *mut c_void {
    match Layout::from_size_align(size, alignment) {
        Ok(layout) => lend::allocate(key_of(key), layout, true).cast(),
        Err(_) => core::ptr::null_mut(),
    }
}

/// # Safety
///
/// - S1 `block` came from this table with this size and alignment, and is live.
unsafe extern "C" fn release(block: *mut c_void, size: usize, alignment: usize) {
    // SAFETY: S1: it was one when it was allocated.
    let layout = unsafe { Layout::from_size_align_unchecked(size, alignment) };
    // SAFETY: S1: no block is null.
    let block = unsafe { NonNull::new_unchecked(block.cast()) };
    // SAFETY: S1.
    unsafe { HEAP.engine().deallocate(block, layout) }
}

/// # Safety
///
/// - S1 as [`release`].
unsafe extern "C" fn resize(
    key: HEXPERTKEY,
    block: *mut c_void,
    size: usize,
    alignment: usize,
    new_size: usize,
) -> *mut c_void {
    let layouts = [size, new_size.max(1)].map(|size| Layout::from_size_align(size, alignment).ok());
    let [Some(layout), Some(new)] = layouts else { return core::ptr::null_mut() };
    // SAFETY: S1; S2: it is the size of a layout, and not 0.
    unsafe { lend::resize(key_of(key), block.cast(), layout, new.size()) }.cast()
}

/// A key for a plug-in that is loaded. Returns null if that fails.
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterPlugin(c"plug-in".as_ptr(), 1 << 20, &mut error) };
/// assert!(error == 0 && !key.is_null());
/// // SAFETY: no plug-in runs, and the report may be null.
/// assert_eq!(unsafe { ExpertReclaimPlugin(key, std::ptr::null_mut()) }, 0);
/// ```
///
/// # Safety
///
/// - S1 `name` is null, or the start of a string that ends with a 0.
/// - S2 `error` is null, or may be written to.
/// - S3 the key is ended as [`ExpertReclaimPlugin`] demands.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertRegisterPlugin(
    name: *const c_char,
    quota: usize,
    error: *mut u32,
) -> HEXPERTKEY {
    let make = |name: &str| {
        let key = netmon::register_child(HEAP, Some(HOST_KEY), name, quota, 0)?;
        lend::to_plugin(key)?;
        Ok(key)
    };
    // SAFETY: S1 and S2.
    unsafe { register(name, error, make) }
}

/// Ends a key of [`ExpertRegisterPlugin`], and takes back all of its memory.
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: a string, and a word that may be written to.
/// let key = unsafe { ExpertRegisterPlugin(c"plug-in".as_ptr(), 1 << 20, &mut error) };
/// // SAFETY: the table stays for ever.
/// let table = unsafe { &*ExpertHostTable() };
/// (table.allocate)(key, 100, 16);                             // and forgets it
/// let mut report = EXPERTRECLAIMED::default();
/// // SAFETY: no plug-in runs, and the report may be written to.
/// assert_eq!(unsafe { ExpertReclaimPlugin(key, &mut report) }, 0);
/// assert_eq!(report.blocks, 1);
/// ```
///
/// # Safety
///
/// - S1 `report` is null, or may be written to.
/// - S2 no code of the plug-in runs any more, and nothing refers to its memory.
#[unsafe(no_mangle)]
pub unsafe extern "system-unwind" fn ExpertReclaimPlugin(
    key: HEXPERTKEY,
    report: *mut EXPERTRECLAIMED,
) -> u32 {
    // SAFETY: S2.
    let end = || unsafe { netmon::reclaim_lent(HEAP, key_of(key)) };
    // SAFETY: S1.
    unsafe { reclaim(report, end) }
}

/// A function of a library, by its name; null if there is none.
type Lookup = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;

/// Finds out whether a library uses this heap. Returns null, or a text that names
/// the problem.
///
/// ```
/// use expert_alloc::capi::*;
///
/// use std::ffi::{c_char, c_void};
///
/// /// A library that has none of the names, and so no heap of its own.
/// unsafe extern "C" fn lookup(_: *mut c_void, _: *const c_char) -> *mut c_void {
///     std::ptr::null_mut()
/// }
/// // SAFETY: the function names no other.
/// assert!(unsafe { ExpertProbePlugin(Some(lookup), std::ptr::null_mut()) }.is_null());
/// ```
///
/// # Safety
///
/// - S1 `lookup` is null, or may be called with `context` and a name, and returns null or
///   the function of this name in a library that is loaded.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertProbePlugin(
    lookup: Option<Lookup>,
    context: *mut c_void,
) -> *const c_char {
    let Some(lookup) = lookup else { return core::ptr::null() };
    let heap_of = |name: &CStr| {
        // SAFETY: S1.
        let found = unsafe { lookup(context, name.as_ptr()) };
        // SAFETY: S1: both names are of functions of this type.
        let identity = (!found.is_null()).then(|| unsafe {
            transmute::<*mut c_void, extern "system" fn() -> *const c_void>(found)
        });
        identity.map(|identity| identity())
    };
    let is_other = |heap: &*const c_void| *heap != ExpertHeapIdentity();
    // The probe asks which heap its calls reach. If there is no answer, it looks for a heap
    // inside the library. A plug-in that is attached by a table answers null before that.
    let reached = heap_of(c"ExpertPluginHeap").filter(|heap| !heap.is_null());
    match (reached, heap_of(c"ExpertHeapIdentity")) {
        (Some(heap), _) if is_other(&heap) => {
            c"the plug-in's calls reach a second heap: it was linked with a copy of expert-alloc. Link it without one, and let the host export the calls (docs/plugins.md)".as_ptr()
        }
        (None, Some(heap)) if is_other(&heap) => {
            c"the plug-in brings a second heap: it contains expert-alloc itself, or needs a shared object that does. A Rust plug-in depends on expert-alloc-plugin instead; one in C is linked without the library (docs/plugins.md)".as_ptr()
        }
        _ => core::ptr::null(),
    }
}

/// As [`ExpertProbePlugin`], for hosts in Rust: `lookup` returns the address of a function
/// of the library, or null.
///
/// ```
/// use expert_alloc::capi;
/// use std::ptr;
///
/// // A library without any of the names has no heap.
/// // SAFETY: it names no function.
/// assert_eq!(unsafe { capi::probe(|_| ptr::null_mut()) }, Ok(()));
/// ```
///
/// # Errors
///
/// The problem, in words.
///
/// # Safety
///
/// - S1 `lookup` returns null or the function of this name in a library that is loaded.
pub unsafe fn probe(lookup: impl FnMut(&CStr) -> *mut c_void) -> Result<(), &'static str> {
    /// # Safety
    ///
    /// - S1 `context` is the address of an `F`, `name` that of a string.
    unsafe extern "C" fn call<F: FnMut(&CStr) -> *mut c_void>(
        context: *mut c_void,
        name: *const c_char,
    ) -> *mut c_void {
        // SAFETY: S1.
        let lookup = unsafe { &mut *context.cast::<F>() };
        // SAFETY: S1.
        let name = unsafe { CStr::from_ptr(name) };
        guarded(|| Ok(lookup(name))).unwrap_or(core::ptr::null_mut())
    }

    fn caller<F: FnMut(&CStr) -> *mut c_void>(_: &F) -> Lookup {
        call::<F>
    }

    let mut lookup = lookup;
    let (call, context) = (caller(&lookup), (&raw mut lookup).cast());
    // SAFETY: S1.
    let why = unsafe { ExpertProbePlugin(Some(call), context) };
    if why.is_null() {
        return Ok(());
    }
    // SAFETY: a string of ours, which is text.
    Err(unsafe { CStr::from_ptr(why) }.to_str().unwrap_or("a second heap"))
}

/// Calls `f` in the scope of `key`, as a host calls into a plug-in of any language.
/// Any end other than a return is an error.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi};
///
/// let expert = ExpertAlloc::new().expert("careful").register()?;
/// let mut sum = 0;
/// // SAFETY: it returns.
/// let code = unsafe { capi::call(expert.key(), || sum = 6 * 7) };
/// assert_eq!((code, sum), (0, 42));
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// The result is 0 or an `NMERR` code: 69 if `f` threw, panicked, left by `longjmp`, or
/// called `pthread_exit`. The thread then goes on in the host.
///
/// # Safety
///
/// - S1 if `f` is left by `longjmp`, or ends the thread, no frame of Rust code inside `f`
///   has a value to drop.
pub unsafe fn call(key: crate::ExpertKey, f: impl FnOnce()) -> u32 {
    /// # Safety
    ///
    /// - S1 `context` is the address of an `Option<F>` that only this call uses.
    unsafe extern "C-unwind" fn call<F: FnOnce()>(context: *mut c_void) {
        // SAFETY: S1.
        if let Some(f) = unsafe { &mut *context.cast::<Option<F>>() }.take() {
            f();
        }
    }

    fn caller<F: FnOnce()>(_: &Option<F>) -> unsafe extern "C-unwind" fn(*mut c_void) {
        call::<F>
    }

    let mut f = Some(f);
    let (call, context) = (caller(&f), (&raw mut f).cast());
    let call = foreign::Call { function: call, context };
    // SAFETY: S1. The thread is the host's, so a plug-in that asks for the thread's end
    // only causes an error.
    unsafe { super::scopes::call_in(super::handle(key), call) }.0
}
