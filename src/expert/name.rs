//! Names of experts in reports. The key identifies; names do not have to be unique.
//!
//! A slot may be recycled while other threads read its name for a report. So a name is kept
//! in atomic words, and a reader reads the words and then the slot's generation again.
//! Words of two different names are never looked at as text.

use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

#[cfg(feature = "std")]
use crate::expert::hosted::Beside;

/// The way in which a home keeps the names of its experts.
///
/// # Safety
///
/// - S1 [`get`](Self::get) and [`read`](Self::read) give the text that was last given
///   to [`set`](Self::set), if their own duties are met.
pub unsafe trait Name: Send + Sync + 'static {
    /// The type that a caller gives at registration.
    type Given<'n>: Copy;
    /// The name as words, perhaps of two names.
    type Words: Copy;
    /// A copy that outlives the slot.
    type Copied: Copy + AsRef<str> + Send + Sync + 'static;

    /// The rest of a slot beside such a name: hosts have more than small systems.
    #[cfg(feature = "std")]
    type Beside: Beside;

    /// The name of a slot that was never taken.
    const NEW: Self;

    /// Writes the name. Writes the name, while the slot's generation is even.
    fn set(&self, name: Self::Given<'_>);

    /// Loads the words, which may be changing.
    fn load(&self) -> Self::Words;

    /// The text that words hold.
    ///
    /// # Safety
    ///
    /// - S1 all of `words` are of one name.
    unsafe fn read(words: Self::Words) -> Self::Copied;

    /// The name, read in place.
    ///
    /// # Safety
    ///
    /// - S1 no one calls [`set`](Self::set) while the result is in use.
    unsafe fn get(&self) -> &str;

    /// The name of the host.
    fn host() -> Self::Copied;
}

/// A name that stays where it is: two words in the slot, for small systems.
#[cfg_attr(feature = "std", allow(dead_code, reason = "for homes without an operating system"))]
pub struct StaticName {
    start: AtomicPtr<u8>,
    length: AtomicUsize,
}

// SAFETY: S1: both put together the start and the length that `set` took apart.
unsafe impl Name for StaticName {
    type Given<'n> = &'static str;
    type Words = (*mut u8, usize);
    type Copied = &'static str;
    #[cfg(feature = "std")]
    type Beside = ();

    const NEW: Self =
        Self { start: AtomicPtr::new(core::ptr::null_mut()), length: AtomicUsize::new(0) };

    fn set(&self, name: &'static str) {
        self.start.store(name.as_ptr().cast_mut(), Relaxed);
        self.length.store(name.len(), Relaxed);
    }

    fn load(&self) -> (*mut u8, usize) {
        (self.start.load(Relaxed), self.length.load(Relaxed))
    }

    unsafe fn read((start, length): (*mut u8, usize)) -> &'static str {
        if start.is_null() {
            return "";
        }
        // SAFETY: S1: both are of one `&'static str` that `set` took apart.
        let bytes = unsafe { core::slice::from_raw_parts(start, length) };
        // SAFETY: as above, so the bytes are UTF-8.
        unsafe { core::str::from_utf8_unchecked(bytes) }
    }

    unsafe fn get(&self) -> &str {
        // SAFETY: S1: the words do not change, so they are of one name.
        unsafe { Self::read(self.load()) }
    }

    fn host() -> &'static str {
        "host"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let name = StaticName::NEW;
        // SAFETY: S1: this thread alone knows the name.
        assert_eq!(unsafe { name.get() }, "");
        name.set("top-users");
        // SAFETY: S1: this thread alone knows the name.
        assert_eq!(unsafe { name.get() }, "top-users");
    }
}
