//! Quotas, beyond a number for each: all that can be asked for when an expert is
//! registered, and what a host does when a quota is short.

use core::ffi::c_char;

use super::{HEAP, HEXPERTKEY, code, guarded, key_of, register, write};
use crate::api::{by_key, netmon};
use crate::error::Error;
use crate::expert::life::Request;
use crate::expert::slot::OVERDRAFT;

/// `EXPERT_REFUSE_OVERDRAFT`.
const REFUSE_OVERDRAFT: u32 = 1;

/// `EXPERTREQUEST`: see [`ExpertBuilder`](crate::ExpertBuilder).
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let tenant = ExpertAlloc::new().expert("tenant").quota(1 << 20).register()?;
/// let (size, parent) = (size_of::<EXPERTREQUEST>(), handle(tenant.key()));
/// let (quota, soft_quota, guarantee) = (0, 0, 256 << 10);
/// let name = c"steady".as_ptr();
/// let request = EXPERTREQUEST { size, name, parent, quota, soft_quota, guarantee, flags: 0 };
/// // SAFETY: the name is a string; no code is wanted.
/// let key = unsafe { ExpertRegister(&request, std::ptr::null_mut()) };
/// assert!(!key.is_null() && tenant.stats().charged_bytes >= 256 << 10, "it is set aside");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EXPERTREQUEST {
    /// Of this struct, in bytes.
    pub size: usize,
    /// The name, ended by a 0.
    pub name: *const c_char,
    /// The parent's key; the host's for none.
    pub parent: HEXPERTKEY,
    /// The hard limit of what is charged, in bytes; 0 for none.
    pub quota: usize,
    /// The soft limit, in bytes; 0 for none.
    pub soft_quota: usize,
    /// Bytes of the parent's room that are set aside for the child.
    pub guarantee: usize,
    /// `EXPERT_REFUSE_OVERDRAFT`, or 0.
    pub flags: u32,
}

/// As [`ExpertRegisterChild`](super::ExpertRegisterChild), with all that can be asked for.
///
/// ```
/// use expert_alloc::capi::*;
///
/// let mut error = 0;
/// // SAFETY: null is no request.
/// assert!(unsafe { ExpertRegister(std::ptr::null(), &mut error) }.is_null());
/// assert_eq!(error, 76, "NMERR_INVALID_PARAMETER");
/// ```
///
/// # Safety
///
/// - S1 `request` is null, or a struct as long as its `size`, with a name that is null, or
///   the start of a string that ends with a 0.
/// - S2 `error` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertRegister(
    request: *const EXPERTREQUEST,
    error: *mut u32,
) -> HEXPERTKEY {
    // SAFETY: S1: it begins with its size.
    if request.is_null() || unsafe { (*request).size } < size_of::<EXPERTREQUEST>() {
        // SAFETY: S2.
        unsafe { write(error, Error::InvalidPointer.nmerr()) };
        return core::ptr::null_mut();
    }
    // SAFETY: S1.
    let EXPERTREQUEST { name, parent, quota, soft_quota, guarantee, flags, .. } =
        unsafe { request.read() };
    let make = |name: &str| {
        let flags = if flags & REFUSE_OVERDRAFT != 0 { 0 } else { OVERDRAFT };
        let request = Request { name, quota, soft_quota, parent: None, guarantee, flags };
        netmon::register(HEAP, key_of(parent), &request)
    };
    // SAFETY: S1 and S2.
    unsafe { register(name, error, make) }
}

/// Moves `bytes` of the quota of `from` to that of `to`, if they are not in use.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let heap = ExpertAlloc::new();
/// let idle = heap.expert("idle").quota(1 << 20).register()?;
/// let busy = heap.expert("busy").quota(1 << 20).register()?;
/// assert_eq!(ExpertGiveRoom(handle(idle.key()), handle(busy.key()), 512 << 10), 0);
/// assert_eq!((idle.stats().quota, busy.stats().quota), (512 << 10, 1536 << 10));
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertGiveRoom(from: HEXPERTKEY, to: HEXPERTKEY, bytes: usize) -> u32 {
    code(guarded(|| by_key::give_room(HEAP, key_of(from), key_of(to), bytes)))
}

/// Lets an overdrawn expert go on, if what is charged is within the quotas again.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// #[global_allocator]
/// static ALLOC: ExpertAlloc = ExpertAlloc::new();
///
/// let expert = ALLOC.expert("large").quota(64 << 10).register()?;
/// let large = expert.run(|| vec![0_u8; 1 << 20]).unwrap();
/// let key = handle(expert.key());
/// assert_eq!(ExpertForgive(key), 125, "NMERR_EXPERT_TERMINATE: it must still stop");
/// ExpertSetQuota(key, 2 << 20);
/// assert_eq!((ExpertForgive(key), ExpertCheck(key)), (0, 0));
/// # drop(large);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertForgive(key: HEXPERTKEY) -> u32 {
    code(guarded(|| by_key::forgive(HEAP, key_of(key))))
}

/// Gives back what `key` was charged for and does not use, as far as this thread knows it;
/// how many bytes.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let expert = ExpertAlloc::new().expert("was large").register()?;
/// let blocks: Vec<_> = (0..1000).map(|_| expert.alloc(1000).unwrap()).collect();
/// blocks.into_iter().for_each(|block| expert.free(block.as_ptr()).unwrap());
/// assert!(ExpertTrim(handle(expert.key())) > 0);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertTrim(key: HEXPERTKEY) -> usize {
    guarded(|| by_key::trim(HEAP, key_of(key))).unwrap_or(0)
}

/// How many bytes of memory this process may have, by its limits and the machine's memory.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::ExpertSystemLimit};
///
/// assert_eq!(ExpertSystemLimit(), ExpertAlloc::new().system_limit());
/// ```
#[unsafe(no_mangle)]
pub extern "system" fn ExpertSystemLimit() -> usize {
    guarded(|| Ok(HEAP.system_limit())).unwrap_or(usize::MAX)
}
