//! The arguments of `Configure` and `Run`.

use core::ffi::c_void;
use core::{ptr, slice};

use crate::entry::Plugin;
use crate::error::Error;
use crate::key::Key;
use crate::table::{Config, StartupInfo};

/// A run: its key, its data, its configuration, its result.
///
/// ```
/// use expert_alloc_plugin::{Error, Run};
///
/// fn run(run: &mut Run) -> Result<(), Error> {
///     run.set_result(run.data().len() as u64);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Run<'r> {
    key: Key,
    config: *const Config,
    startup: &'r mut StartupInfo,
}

impl<'r> Run<'r> {
    /// The key of the run.
    ///
    /// ```
    /// use expert_alloc_plugin::{Error, Run};
    ///
    /// fn run(run: &mut Run) -> Result<(), Error> {
    ///     let block = run.key().alloc(100)?;            // freed when the run ends
    ///     # let _ = block;
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// The data of the run.
    ///
    /// ```
    /// use expert_alloc_plugin::{Error, Run};
    ///
    /// fn run(run: &mut Run) -> Result<(), Error> {
    ///     let sum = run.data().iter().map(|&byte| u64::from(byte)).sum();
    ///     run.set_result(sum);
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn data(&self) -> &'r [u8] {
        let (data, bytes) = (self.startup.data.cast::<u8>(), self.startup.data_bytes);
        // SAFETY: S1 of `run`.
        if data.is_null() { &[] } else { unsafe { slice::from_raw_parts(data, bytes) } }
    }

    /// The configuration that `configure` has set; empty if there is none.
    ///
    /// ```
    /// use expert_alloc_plugin::{Error, Run};
    ///
    /// fn run(run: &mut Run) -> Result<(), Error> {
    ///     let limit = run.config().first().copied().unwrap_or(100);
    ///     run.set_result(limit.into());
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn config(&self) -> &'r [u8] {
        // SAFETY: S1 of `run`.
        unsafe { bytes_of(self.config) }
    }

    /// Gives the host the result.
    ///
    /// ```
    /// use expert_alloc_plugin::{Error, Run};
    ///
    /// fn run(run: &mut Run) -> Result<(), Error> {
    ///     run.set_result(42);
    ///     Ok(())
    /// }
    /// ```
    pub fn set_result(&mut self, result: u64) {
        self.startup.result = result;
    }

    /// Whether the run may go on; long loops call this.
    ///
    /// ```
    /// use expert_alloc_plugin::{Error, Run};
    ///
    /// fn run(run: &mut Run) -> Result<(), Error> {
    ///     for byte in run.data() {
    ///         run.check()?;
    ///         # let _ = byte;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TERMINATE`].
    pub fn check(&self) -> Result<(), Error> {
        self.key.check()
    }
}

/// A configuration that is being made: a block that outlives the key it was made with.
///
/// ```
/// use expert_alloc_plugin::{Configuration, Error};
///
/// fn configure(configuration: &mut Configuration) -> Result<(), Error> {
///     configuration.set(b"the limit is 100")
/// }
/// ```
#[derive(Debug)]
pub struct Configuration<'c> {
    key: Key,
    config: &'c mut *mut Config,
}

impl Configuration<'_> {
    /// The key of this call.
    ///
    /// ```
    /// use expert_alloc_plugin::{Configuration, Error};
    ///
    /// fn configure(configuration: &mut Configuration) -> Result<(), Error> {
    ///     configuration.key().check()?;
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// The configuration so far; empty at first.
    ///
    /// ```
    /// use expert_alloc_plugin::{Configuration, Error};
    ///
    /// fn configure(configuration: &mut Configuration) -> Result<(), Error> {
    ///     let rounds = configuration.bytes().first().map_or(1, |rounds| rounds + 1);
    ///     configuration.set(&[rounds])?;
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: S2 of `configure`.
        unsafe { bytes_of(*self.config) }
    }

    /// Sets the configuration.
    ///
    /// ```
    /// use expert_alloc_plugin::{Configuration, Error};
    ///
    /// fn configure(configuration: &mut Configuration) -> Result<(), Error> {
    ///     configuration.set(b"the limit is 100")?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Key::realloc`]; the configuration is then unchanged.
    pub fn set(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let length = u32::try_from(bytes.len()).map_err(|_| Error::OUT_OF_MEMORY)?;
        let size = size_of::<Config>().checked_add(bytes.len()).ok_or(Error::OUT_OF_MEMORY)?;
        let block = self.key.realloc((*self.config).cast(), size)?.cast::<Config>();
        // SAFETY: a block of `size` bytes, aligned to 16.
        unsafe { block.write(Config { raw_config_length: length }) };
        // SAFETY: inside the block.
        let content = unsafe { block.add(1) }.cast::<u8>().as_ptr();
        // SAFETY: as many bytes are behind the header, and `bytes` is no part of it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), content, bytes.len()) };
        *self.config = block.as_ptr();
        Ok(())
    }
}

/// The bytes of a configuration.
///
/// # Safety
///
/// - S1 `config` is null, or a configuration with its bytes behind it, for as long as `'a`.
unsafe fn bytes_of<'a>(config: *const Config) -> &'a [u8] {
    // SAFETY: S1.
    let Some(header) = (unsafe { config.as_ref() }) else { return &[] };
    let length = header.raw_config_length as usize;
    // SAFETY: S1.
    let content = unsafe { config.add(1) }.cast::<u8>();
    // SAFETY: S1.
    unsafe { slice::from_raw_parts(content, length) }
}

/// The entry point `Run`, without catching panics.
///
/// # Safety
///
/// - S1 the arguments are as `expert_plugin.h` demands for `Run`.
pub unsafe fn run<P: Plugin>(key: *mut c_void, config: *const c_void, startup: *mut c_void) -> u32 {
    // SAFETY: S1.
    let Some(startup) = (unsafe { startup.cast::<StartupInfo>().as_mut() }) else {
        return Error::INVALID_PARAMETER.code();
    };
    let mut run = Run { key: Key::from_raw(key), config: config.cast(), startup };
    Error::code_of(P::run(&mut run))
}

/// The entry point `Configure`, without catching panics.
///
/// # Safety
///
/// - S1 the arguments are as `expert_plugin.h` demands for `Configure`.
/// - S2 `*config` is null, or a configuration with its bytes behind it.
pub unsafe fn configure<P: Plugin>(key: *mut c_void, config: *mut *mut c_void) -> u32 {
    // SAFETY: S1.
    let Some(config) = (unsafe { config.cast::<*mut Config>().as_mut() }) else {
        return Error::INVALID_PARAMETER.code();
    };
    let mut configuration = Configuration { key: Key::from_raw(key), config };
    Error::code_of(P::configure(&mut configuration))
}
