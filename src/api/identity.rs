//! The identity of a heap. A process must have one heap; comparing two addresses
//! tells whether a library contains a second one.
//!
//! The call is there in every build for a host, whatever its features, so that a
//! library with this crate in it can be asked.

use core::ffi::c_void;

/// An address that no other copy of this crate has. One byte that is written: the
/// linker folds equal constants.
static IDENTITY: crate::sync::AtomicUsize = crate::sync::AtomicUsize::new(0);

/// The address of that, as a constant.
#[cfg(feature = "capi")]
pub(crate) const ADDRESS: Address = Address((&raw const IDENTITY).cast());

/// An address that is only compared.
#[cfg(feature = "capi")]
pub(crate) struct Address(pub(crate) *const c_void);

/// The identity of the heap in this copy of the crate.
///
/// ```
/// # #[cfg(feature = "capi")] {
/// use expert_alloc::capi;
///
/// // SAFETY: the table stays for ever.
/// let table = unsafe { &*capi::ExpertHostTable() };
/// assert_eq!(table.identity, capi::ExpertHeapIdentity());
/// # }
/// ```
#[allow(non_snake_case, reason = "the name is that of the header")]
#[unsafe(no_mangle)]
pub extern "system" fn ExpertHeapIdentity() -> *const c_void {
    (&raw const IDENTITY).cast()
}
