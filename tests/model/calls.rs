//! The C calls with keys as numbers, and their codes, for callers whose keys and pointers
//! may be any word.

#![allow(non_snake_case, reason = "the names of the header")]

use std::ffi::{c_char, c_void};

pub const SUCCESS: u32 = 0;
pub const OUT_OF_MEMORY: u32 = 19;
pub const ACCESS_DENIED: u32 = 74;
pub const INVALID_PARAMETER: u32 = 76;
pub const TERMINATE: u32 = 125;
pub const INVALID_HANDLE: u32 = 130;

unsafe extern "system" {
    pub unsafe fn ExpertRegisterKey(name: *const c_char, quota: usize, error: *mut u32) -> usize;
    pub unsafe fn ExpertAllocMemory(key: usize, size: usize, error: *mut u32) -> *mut c_void;
    pub unsafe fn ExpertReallocMemory(
        key: usize,
        memory: *mut c_void,
        size: usize,
        error: *mut u32,
    ) -> *mut c_void;
    pub safe fn ExpertFreeMemory(key: usize, memory: *mut c_void) -> u32;
    pub safe fn ExpertMemorySize(key: usize, memory: *mut c_void) -> usize;
    pub safe fn ExpertTerminateKey(key: usize) -> u32;
    pub unsafe fn ExpertReclaimKey(key: usize, report: *mut c_void) -> u32;
    pub unsafe fn ExpertTransferMemory(
        from: usize,
        memory: *mut c_void,
        to: usize,
        error: *mut u32,
    ) -> *mut c_void;
    pub safe fn ExpertOwnerOf(memory: *const c_void) -> usize;
}
