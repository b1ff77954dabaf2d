//! Names on hosts are copied, so a caller need not keep them.

use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::expert::hosted::Hosted;
use crate::expert::name::Name;

/// The longest name kept on hosts, in bytes; a longer one is cut at a
/// character boundary.
pub(crate) const NAME_BYTES: usize = 63;

const WORDS: usize = (NAME_BYTES + 1) / size_of::<usize>();

/// An owned copy of a name of up to 63 bytes, with the length in the last byte.
pub struct OwnedName([AtomicUsize; WORDS]);

// SAFETY: S1: both read back the bytes and the length that `set` wrote.
unsafe impl Name for OwnedName {
    type Given<'n> = &'n str;
    type Words = [usize; WORDS];
    type Copied = NameCopy;
    type Beside = Hosted;

    const NEW: Self = Self([const { AtomicUsize::new(0) }; WORDS]);

    fn set(&self, name: &str) {
        let bytes = NameCopy::new(name).bytes;
        for (word, bytes) in self.0.iter().zip(bytes.chunks_exact(size_of::<usize>())) {
            let mut value = [0; size_of::<usize>()];
            value.copy_from_slice(bytes);
            word.store(usize::from_ne_bytes(value), Relaxed);
        }
    }

    fn load(&self) -> [usize; WORDS] {
        core::array::from_fn(|index| self.0[index].load(Relaxed))
    }

    unsafe fn read(words: [usize; WORDS]) -> NameCopy {
        let mut bytes = [0; NAME_BYTES + 1];
        for (to, word) in bytes.chunks_exact_mut(size_of::<usize>()).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        NameCopy { bytes }
    }

    unsafe fn get(&self) -> &str {
        let bytes = NonNull::from(&self.0).cast::<[u8; NAME_BYTES + 1]>();
        // SAFETY: the words are as many plain bytes, and S1 keeps all from writing.
        text(unsafe { bytes.as_ref() })
    }

    fn host() -> NameCopy {
        NameCopy::new("host")
    }
}

/// A name of at most 63 bytes, by value, so reading a report needs no memory.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let heap = ExpertAlloc::new();
/// let expert = heap.expert("top-users").register()?;
/// let name = expert.snapshot().name;
/// let _ = expert.finish();
/// assert_eq!(name.as_str(), "top-users");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NameCopy {
    bytes: [u8; NAME_BYTES + 1],
}

impl NameCopy {
    pub(crate) fn new(name: &str) -> Self {
        let mut length = name.len().min(NAME_BYTES);
        while !name.is_char_boundary(length) {
            length -= 1;
        }
        let mut bytes = [0; NAME_BYTES + 1];
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        bytes[NAME_BYTES] = length as u8;
        Self { bytes }
    }

    /// The name.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let long = heap.expert(&"x".repeat(100)).register()?;
    /// assert_eq!(long.snapshot().name.as_str().len(), 63);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        text(&self.bytes)
    }
}

/// The text before the length in the last byte.
fn text(bytes: &[u8; NAME_BYTES + 1]) -> &str {
    let length = usize::from(bytes[NAME_BYTES]).min(NAME_BYTES);
    core::str::from_utf8(&bytes[..length]).unwrap_or("?")
}

impl AsRef<str> for NameCopy {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Deref for NameCopy {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for NameCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for NameCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(given: &str) -> NameCopy {
        let name = OwnedName::NEW;
        name.set(given);
        // SAFETY: S1: this thread alone knows the name.
        let copied = unsafe { OwnedName::read(name.load()) };
        // SAFETY: S1: this thread alone knows the name.
        assert_eq!(copied.as_str(), unsafe { name.get() });
        copied
    }

    #[test]
    fn names_come_back() {
        assert_eq!(&*round_trip("top-users"), "top-users");
        assert_eq!(&*round_trip(""), "");
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(&*round_trip(&"ü".repeat(40)), "ü".repeat(31));
        assert_eq!(round_trip(&"x".repeat(63)).len(), 63);
        assert_eq!(round_trip(&"x".repeat(64)).len(), 63);
    }
}
