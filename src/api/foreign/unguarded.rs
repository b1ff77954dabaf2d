//! On other systems an exception that is not Rust's ends the process, and so does the end
//! of the thread.

use core::ffi::c_void;

#[cfg(feature = "capi")]
use super::Function;
use super::Note;

/// # Safety
///
/// - S1 the function may be called with the words, from this thread.
#[cfg(feature = "capi")]
pub(super) unsafe fn returns(
    function: Function,
    one: *mut c_void,
    two: *mut c_void,
    _: &mut Note,
) -> bool {
    // SAFETY: S1.
    unsafe { function(one, two) };
    true
}

/// As above, for a function of one word.
///
/// # Safety
///
/// - S1 the function may be called with the word, from this thread.
pub(super) unsafe fn returns_of_one(
    function: unsafe extern "C-unwind" fn(*mut c_void),
    word: *mut c_void,
    _: &mut Note,
) -> bool {
    // SAFETY: S1.
    unsafe { function(word) };
    true
}

/// There is nothing to learn here.
pub(crate) fn prepare() {}

/// Calls `f`; no end of a thread is ever put off here.
#[cfg(feature = "capi")]
pub(crate) fn put_off<T>(f: impl FnOnce() -> T) -> (T, Option<Exit>) {
    (f(), None)
}

/// The end of a thread that was put off, which does not exist on this system.
#[cfg(feature = "capi")]
pub(crate) enum Exit {}

#[cfg(feature = "capi")]
impl Exit {
    /// # Safety
    ///
    /// - S1 no caller's frame has anything to drop.
    pub(crate) unsafe fn go_on(self) -> ! {
        match self {}
    }
}
