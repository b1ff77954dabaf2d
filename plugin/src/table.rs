//! The types of `expert_plugin.h`, which host and plug-in share.

use core::ffi::{c_char, c_int, c_void};

use crate::key::Stats;

/// `HEXPERTKEY`.
pub(crate) type RawKey = *mut c_void;

/// A function that hands out a block of a size and an alignment.
pub(crate) type AllocateCall = extern "C" fn(RawKey, usize, usize) -> *mut c_void;

/// A function that takes back a block of a size and an alignment.
pub(crate) type ReleaseCall = unsafe extern "C" fn(*mut c_void, usize, usize);

/// `EXPERTHOST`: the host's calls. The plug-in gets it when it is loaded.
///
/// ```
/// use expert_alloc_plugin::{Error, Host, attach};
/// use std::ffi::c_void;
///
/// // The entry point that `heap!` defines does this.
/// unsafe extern "system" fn attach_to(host: *const Host, key: *mut c_void) -> u32 {
///     // SAFETY: the host calls this once, with its table and a key of this plug-in.
///     Error::code_of(unsafe { attach(host, key) })
/// }
/// ```
#[derive(Debug)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields are those of expert_plugin.h, which describes them")]
pub struct Host {
    pub size: usize,
    pub identity: *const c_void,
    pub allocate: AllocateCall,
    pub allocate_zeroed: extern "C" fn(RawKey, usize, usize) -> *mut c_void,
    pub release: ReleaseCall,
    pub resize: unsafe extern "C" fn(RawKey, *mut c_void, usize, usize, usize) -> *mut c_void,
    pub alloc_memory: unsafe extern "system" fn(RawKey, usize, *mut u32) -> *mut c_void,
    pub realloc_memory:
        unsafe extern "system" fn(RawKey, *mut c_void, usize, *mut u32) -> *mut c_void,
    pub free_memory: extern "system" fn(RawKey, *mut c_void) -> u32,
    pub memory_size: extern "system" fn(RawKey, *mut c_void) -> usize,
    pub alloc_aligned:
        unsafe extern "system" fn(RawKey, usize, usize, c_int, *mut u32) -> *mut c_void,
    pub on_reclaim: unsafe extern "system" fn(
        RawKey,
        Option<unsafe extern "C-unwind" fn(*mut c_void)>,
        *mut c_void,
    ) -> u32,
    pub memory_stats: unsafe extern "system" fn(RawKey, *mut Stats) -> u32,
    pub check: extern "system" fn(RawKey) -> u32,
}

// SAFETY: nobody writes to it, and nobody follows its one pointer.
unsafe impl Sync for Host {}

/// `EXPERTENUMINFO`: the plug-in's name, description and version, written by `Register`.
///
/// ```
/// use expert_alloc_plugin::EnumInfo;
///
/// let info = EnumInfo { name: [0; 64], description: [0; 192], version: 1 };
/// assert_eq!(size_of_val(&info), 64 + 192 + 4);
/// ```
#[derive(Debug)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields are those of expert_plugin.h, which describes them")]
pub struct EnumInfo {
    pub name: [c_char; 64],
    pub description: [c_char; 192],
    pub version: u32,
}

/// `EXPERTCONFIG`: this, and as many bytes behind it.
#[derive(Debug)]
#[repr(C)]
pub struct Config {
    pub(crate) raw_config_length: u32,
}

/// `EXPERTSTARTUPINFO`: the data of a run, and its result.
///
/// ```
/// use expert_alloc_plugin::StartupInfo;
///
/// let data = b"abracadabra";
/// let (size, bytes) = (size_of::<StartupInfo>(), data.len());
/// let startup = StartupInfo { size, data: data.as_ptr().cast(), data_bytes: bytes, result: 0 };
/// assert_eq!(startup.data_bytes, 11);
/// ```
#[derive(Debug)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields are those of expert_plugin.h, which describes them")]
pub struct StartupInfo {
    pub size: usize,
    pub data: *const c_void,
    pub data_bytes: usize,
    pub result: u64,
}
