//! Keys of runs, and their calls.

use core::ffi::c_void;
use core::ptr::NonNull;

use crate::attach::host;
use crate::error::Error;
use crate::table::RawKey;

/// The key of a run: blocks that are allocated with it are freed when the run ends, at the
/// latest. Any thread may use it; once the run has ended, calls refuse it.
///
/// Blocks are zero-filled and aligned to 16 bytes, and a program reaches them through raw
/// pointers. The calls check every argument and follow no pointer. In the examples below,
/// `key` is the result of [`Run::key`](crate::Run::key).
///
/// ```
/// use expert_alloc_plugin::{Error, Key};
///
/// // Not attached: this program has no host.
/// assert_eq!(Key::from_raw(std::ptr::null_mut()).alloc(100), Err(Error::INVALID_KEY));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Key(RawKey);

// SAFETY: it is a number, which is not followed.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

/// The memory of a key: `EXPERTMEMORYSTATS`. Sizes are in bytes.
///
/// ```
/// use expert_alloc_plugin::Error;
///
/// # let key = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/key.rs"));
/// let stats = key.stats()?;                // of the key `run.key()`
/// assert_eq!((stats.live_blocks, stats.quota), (0, 1 << 20));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stats {
    /// Bytes in blocks handed out and not freed.
    pub live_bytes: usize,
    /// Blocks handed out and not freed.
    pub live_blocks: usize,
    /// The highest `charged_bytes` so far.
    pub peak_bytes: usize,
    /// The bytes that count against the quota.
    pub charged_bytes: usize,
    /// The limit of `charged_bytes`; 0 for none.
    pub quota: usize,
    /// Blocks handed out so far.
    pub allocations: u64,
    /// Blocks freed so far.
    pub frees: u64,
    /// Requests refused.
    pub refusals: u64,
}

impl Key {
    /// The key that the host gave, as an argument of an entry point.
    ///
    /// ```
    /// use expert_alloc_plugin::{Error, Key};
    ///
    /// # let key = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/key.rs"));
    /// let argument = key.into_raw();
    /// assert_eq!(Key::from_raw(argument), key);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub const fn from_raw(key: *mut c_void) -> Self {
        Self(key)
    }

    /// The key in the form that C code uses.
    ///
    /// ```
    /// use expert_alloc_plugin::{Error, Key};
    ///
    /// # let key = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/key.rs"));
    /// assert!(!key.into_raw().is_null());
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub const fn into_raw(self) -> *mut c_void {
        self.0
    }

    /// A block of `size` bytes.
    ///
    /// ```
    /// use expert_alloc_plugin::Error;
    ///
    /// # let key = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/key.rs"));
    /// let block = key.alloc(100)?;
    /// // SAFETY: the first byte of a live block.
    /// assert_eq!(unsafe { block.read() }, 0);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::OUT_OF_MEMORY`], [`Error::TERMINATE`], [`Error::INVALID_KEY`].
    pub fn alloc(self, size: usize) -> Result<NonNull<u8>, Error> {
        let mut code = 0;
        // SAFETY: `code` may be written to.
        let block = unsafe { (host().alloc_memory)(self.0, size, &raw mut code) };
        block_or(block, code)
    }

    /// As [`alloc`](Self::alloc), but aligned to a power of two, and zero-filled only if
    /// `zeroed`.
    ///
    /// ```
    /// use expert_alloc_plugin::Error;
    ///
    /// # let key = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/key.rs"));
    /// let block = key.alloc_aligned(100, 64, true)?;
    /// assert_eq!(block.addr().get() % 64, 0);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc); [`Error::INVALID_PARAMETER`] if the alignment is invalid.
    pub fn alloc_aligned(
        self,
        size: usize,
        alignment: usize,
        zeroed: bool,
    ) -> Result<NonNull<u8>, Error> {
        let (mut code, zeroed) = (0, i32::from(zeroed));
        let error = &raw mut code;
        // SAFETY: `code` may be written to.
        let block = unsafe { (host().alloc_aligned)(self.0, size, alignment, zeroed, error) };
        block_or(block, code)
    }

    /// Resizes a block of this key; for null, allocates a new one.
    ///
    /// ```
    /// use expert_alloc_plugin::Error;
    ///
    /// # let key = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/key.rs"));
    /// let block = key.alloc(100)?;
    /// let block = key.realloc(block.as_ptr(), 200)?;
    /// assert_eq!(key.size(block.as_ptr()), 200);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc) and [`free`](Self::free); the block is then untouched.
    pub fn realloc(self, block: *mut u8, size: usize) -> Result<NonNull<u8>, Error> {
        let mut code = 0;
        let error = &raw mut code;
        // SAFETY: `code` may be written to.
        let block = unsafe { (host().realloc_memory)(self.0, block.cast(), size, error) };
        block_or(block, code)
    }

    /// Frees a block of this key. If the run must stop, it frees the block and then returns
    /// the error.
    ///
    /// ```
    /// use expert_alloc_plugin::Error;
    ///
    /// # let key = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/key.rs"));
    /// let block = key.alloc(100)?.as_ptr();
    /// assert_eq!(key.free(block), Ok(()));
    /// assert_eq!(key.free(block), Err(Error::INVALID_PARAMETER));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::INVALID_PARAMETER`], [`Error::ACCESS_DENIED`], [`Error::TERMINATE`].
    pub fn free(self, block: *mut u8) -> Result<(), Error> {
        Error::from_code((host().free_memory)(self.0, block.cast()))
    }

    /// The size that was asked for of a block of this key; 0 for any other address.
    ///
    /// ```
    /// use expert_alloc_plugin::Error;
    ///
    /// # let key = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/key.rs"));
    /// let block = key.alloc(100)?.as_ptr();
    /// assert_eq!(key.size(block), 100);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn size(self, block: *mut u8) -> usize {
        (host().memory_size)(self.0, block.cast())
    }

    /// Whether the run may go on.
    ///
    /// ```
    /// use expert_alloc_plugin::Error;
    ///
    /// # let key = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/key.rs"));
    /// for step in 0..1000 {
    ///     key.check()?;                      // an error ends the loop
    ///     # let _ = step;
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TERMINATE`], [`Error::INVALID_KEY`].
    pub fn check(self) -> Result<(), Error> {
        Error::from_code((host().check)(self.0))
    }

    /// What it holds.
    ///
    /// ```
    /// use expert_alloc_plugin::Error;
    ///
    /// # let key = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/key.rs"));
    /// key.alloc(100)?;
    /// assert_eq!(key.stats()?.live_blocks, 1);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::INVALID_KEY`].
    pub fn stats(self) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        // SAFETY: `stats` may be written to.
        Error::from_code(unsafe { (host().memory_stats)(self.0, &raw mut stats) })?;
        Ok(stats)
    }

    /// Registers a function to call when the run ends, before its memory is freed.
    ///
    /// ```
    /// use expert_alloc_plugin::Error;
    /// use std::ffi::c_void;
    /// use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    ///
    /// static IS_OPEN: AtomicBool = AtomicBool::new(true);
    ///
    /// unsafe extern "C-unwind" fn close(_: *mut c_void) {
    ///     IS_OPEN.store(false, Relaxed);
    /// }
    ///
    /// # let key = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/key.rs"));
    /// // SAFETY: `close` may be called with anything, from any thread, and does not unwind.
    /// unsafe { key.on_reclaim(close, std::ptr::null_mut()) }?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::OUT_OF_MEMORY`], [`Error::TERMINATE`], [`Error::INVALID_KEY`].
    ///
    /// # Safety
    ///
    /// - S1 `cleanup` may be called once with `context`, from any thread, until the
    ///   run's key has ended; it does not unwind.
    pub unsafe fn on_reclaim(
        self,
        cleanup: unsafe extern "C-unwind" fn(*mut c_void),
        context: *mut c_void,
    ) -> Result<(), Error> {
        // SAFETY: S1.
        Error::from_code(unsafe { (host().on_reclaim)(self.0, Some(cleanup), context) })
    }
}

fn block_or(block: *mut c_void, code: u32) -> Result<NonNull<u8>, Error> {
    Error::from_code(code)?;
    NonNull::new(block.cast()).ok_or(Error::OUT_OF_MEMORY)
}
