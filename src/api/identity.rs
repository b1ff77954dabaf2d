//! The identity of a heap. A process must have one heap; comparing two addresses
//! tells whether a library contains a second one.
//!
//! Every build with `std` has the call, whatever its features, so a library that contains
//! this crate can be asked.

use core::ffi::c_void;

/// A byte whose address differs in each copy of this crate. It is writable, because the
/// linker merges equal constants.
static IDENTITY: crate::sync::AtomicUsize = crate::sync::AtomicUsize::new(0);

/// The address of that byte, as a constant.
#[cfg(feature = "capi")]
pub(crate) const ADDRESS: Address = Address((&raw const IDENTITY).cast());

/// An address that is only compared, never followed.
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
