//! Who holds most, and errors in words that say so.

use core::ffi::c_char;
use core::fmt::{self, Write};
use core::mem::MaybeUninit;

use super::figures::{give, name_of};
use super::{HEAP, HEXPERTKEY, guarded, handle, key_of};
use crate::api::by_key;
use crate::engine::HOST_KEY;
use crate::error::Error;
use crate::expert::family;
use crate::expert::largest::Largest;
use crate::expert::owned_name::NAME_BYTES;
use crate::expert::visit::Visit;
use crate::key::ExpertKey;

/// How many an [`EXPERTLARGEST`] has room for.
const MOST: usize = 5;

/// `EXPERTHOLDING`: see [`Holding`](crate::Holding).
///
/// ```
/// use expert_alloc::capi::EXPERTHOLDING;
///
/// assert!(EXPERTHOLDING::default().key.is_null());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct EXPERTHOLDING {
    /// Whose.
    pub key: HEXPERTKEY,
    /// Bytes charged to it and all below it.
    pub charged_bytes: usize,
    /// Its name, ended by a 0.
    pub name: [c_char; NAME_BYTES + 1],
}

impl Default for EXPERTHOLDING {
    fn default() -> Self {
        Self { key: core::ptr::null_mut(), charged_bytes: 0, name: [0; NAME_BYTES + 1] }
    }
}

/// `EXPERTLARGEST`: see [`Largest`](crate::Largest).
///
/// ```
/// use expert_alloc::capi::EXPERTLARGEST;
///
/// assert_eq!(EXPERTLARGEST::default().count, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EXPERTLARGEST {
    /// How many there are.
    pub count: usize,
    /// The largest first.
    pub holdings: [EXPERTHOLDING; MOST],
}

impl From<&Largest> for EXPERTLARGEST {
    fn from(largest: &Largest) -> Self {
        let mut all = Self::default();
        for (to, holding) in all.holdings.iter_mut().zip(largest.iter()) {
            let (key, name) = (handle(holding.key), name_of(&holding.name));
            *to = EXPERTHOLDING { key, charged_bytes: holding.charged_bytes, name };
            all.count += 1;
        }
        all
    }
}

/// What `find` finds for a key that is valid; for the host's, who holds most of all.
fn largest(
    key: HEXPERTKEY,
    find: impl FnOnce(ExpertKey) -> Largest,
) -> Result<EXPERTLARGEST, Error> {
    guarded(|| {
        let key = key_of(key).ok_or(Error::InvalidKey)?;
        drop(Visit::new(HEAP, key)?);
        let largest = if key == HOST_KEY { family::largest_of_all(HEAP) } else { find(key) };
        Ok(EXPERTLARGEST::from(&largest))
    })
}

/// Who holds most of the quota that has the least room for `key`.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let heap = ExpertAlloc::new();
/// let tenant = heap.expert("tenant").quota(1 << 20).register()?;
/// let light = heap.expert("light").parent(&tenant).register()?;
/// let heavy = heap.expert("heavy").parent(&tenant).register()?;
/// heavy.alloc(900 << 10)?;
/// let mut largest = EXPERTLARGEST::default();
/// // SAFETY: it may be written to.
/// assert_eq!(unsafe { ExpertGetLargestHolders(handle(light.key()), &mut largest) }, 0);
/// assert_eq!((largest.count, largest.holdings[0].key), (2, handle(heavy.key())));
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// # Safety
///
/// - S1 `holders` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertGetLargestHolders(
    key: HEXPERTKEY,
    holders: *mut EXPERTLARGEST,
) -> u32 {
    let result = largest(key, |key| family::largest(HEAP, family::tightest(HEAP, key)));
    // SAFETY: S1.
    unsafe { give(result, holders) }
}

/// The children of `key` that hold most.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
///
/// let tenant = ExpertAlloc::new().expert("tenant").register()?;
/// let mut largest = EXPERTLARGEST::default();
/// // SAFETY: it may be written to.
/// assert_eq!(unsafe { ExpertGetLargestChildren(handle(tenant.key()), &mut largest) }, 0);
/// assert_eq!(largest.count, 0, "it has none");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// # Safety
///
/// - S1 `children` is null, or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertGetLargestChildren(
    key: HEXPERTKEY,
    children: *mut EXPERTLARGEST,
) -> u32 {
    let result = largest(key, |key| family::largest_children(HEAP, key));
    // SAFETY: S1.
    unsafe { give(result, children) }
}

/// A text that is cut where there is no more room, and how long it is in all.
struct Text<'t> {
    /// With one more for the 0.
    room: &'t mut [MaybeUninit<u8>],
    written: usize,
    length: usize,
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let left = self.room.len().saturating_sub(self.written + 1);
        // Once something was cut, nothing follows.
        let mut end = if self.written == self.length { text.len().min(left) } else { 0 };
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let room = self.room.iter_mut().skip(self.written);
        room.zip(&text.as_bytes()[..end]).for_each(|(to, &byte)| _ = to.write(byte));
        self.written += end;
        self.length += text.len();
        Ok(())
    }
}

/// An error of a call for `key` in words that name the five who hold most, where it is one
/// of too little memory. Writes at most `size` bytes, a 0 behind the text included, and gives
/// the bytes of the whole text without it; 0 for what is no error.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
/// use std::ffi::CStr;
///
/// let query = ExpertAlloc::new().expert("query").quota(1 << 20).register()?;
/// let mut text = [0_u8; 200];
/// // SAFETY: the text may be written to.
/// unsafe { ExpertExplain(handle(query.key()), 19, text.as_mut_ptr().cast(), text.len()) };
/// let text = CStr::from_bytes_until_nul(&text).unwrap().to_str().unwrap();
/// assert!(text.ends_with("(query: 0 B of 1.0 MiB); most is held by query (0 B)"), "{text}");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// # Safety
///
/// - S1 `text` is null, or `size` bytes there may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertExplain(
    key: HEXPERTKEY,
    error: u32,
    text: *mut c_char,
    size: usize,
) -> usize {
    let room: &mut [MaybeUninit<u8>] = if text.is_null() || size > isize::MAX as usize {
        &mut []
    } else {
        // SAFETY: S1, and no object is larger than that.
        unsafe { core::slice::from_raw_parts_mut(text.cast(), size) }
    };
    let mut to = Text { room, written: 0, length: 0 };
    let explained = guarded(|| {
        let key = key_of(key);
        Ok(by_key::error_of(HEAP, key, error).map(|error| match key {
            Some(key) => write!(to, "{}", HEAP.explain(key, error)),
            None => write!(to, "{error}"),
        }))
    });
    debug_assert!(!matches!(explained, Ok(Some(Err(_)))), "nothing refuses to be written");
    if let Some(end) = to.room.get_mut(to.written) {
        end.write(0);
    }
    to.length
}
