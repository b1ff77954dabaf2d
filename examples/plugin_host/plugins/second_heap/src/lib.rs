//! A plug-in with a heap of its own, which the host refuses to load.

use expert_alloc::ExpertAlloc;
use std::ffi::c_void;

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

/// The entry point.
#[allow(non_snake_case, reason = "the name is that of the header")]
#[unsafe(no_mangle)]
pub extern "system" fn Run(_: *mut c_void, _: *const c_void, _: *mut c_void) -> u32 {
    u32::from(ALLOC.expert("mine").register().is_err())
}
