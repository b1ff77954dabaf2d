//! Entry points: the three of Network Monitor, and a macro for others. No entry point
//! unwinds.

use core::ffi::c_char;

use crate::error::Error;
use crate::run::{Configuration, Run};
use crate::table::EnumInfo;

/// A plug-in: see [`plugin!`](crate::plugin).
///
/// ```
/// use expert_alloc_plugin::{Configuration, Error, Plugin, Run};
///
/// struct Counter;
///
/// impl Plugin for Counter {
///     const NAME: &str = "counter";
///
///     fn configure(configuration: &mut Configuration) -> Result<(), Error> {
///         configuration.set(&[1])
///     }
///
///     fn run(run: &mut Run) -> Result<(), Error> {
///         run.set_result(run.data().len() as u64);
///         Ok(())
///     }
/// }
/// ```
pub trait Plugin {
    /// Its name: up to 63 bytes.
    const NAME: &'static str;

    /// Its description, of up to 191 bytes.
    const DESCRIPTION: &'static str = "";

    /// Its version.
    const VERSION: u32 = 1;

    /// Makes or changes its configuration.
    ///
    /// ```
    /// use expert_alloc_plugin::{Configuration, Error, Plugin, Run};
    ///
    /// struct Counter;
    ///
    /// impl Plugin for Counter {
    ///     const NAME: &str = "counter";
    ///
    ///     fn configure(configuration: &mut Configuration) -> Result<(), Error> {
    ///         configuration.set(&[1])
    ///     }
    ///
    ///     fn run(run: &mut Run) -> Result<(), Error> {
    ///         run.set_result(run.data().len() as u64);
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The error for the host.
    fn configure(configuration: &mut Configuration<'_>) -> Result<(), Error> {
        let _ = configuration;
        Ok(())
    }

    /// Does its work.
    ///
    /// ```
    /// use expert_alloc_plugin::{Configuration, Error, Plugin, Run};
    ///
    /// struct Counter;
    ///
    /// impl Plugin for Counter {
    ///     const NAME: &str = "counter";
    ///
    ///     fn configure(configuration: &mut Configuration) -> Result<(), Error> {
    ///         configuration.set(&[1])
    ///     }
    ///
    ///     fn run(run: &mut Run) -> Result<(), Error> {
    ///         run.set_result(run.data().len() as u64);
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The error for the host.
    fn run(run: &mut Run<'_>) -> Result<(), Error>;
}

/// The entry point `Register`: fills the host's structure.
///
/// ```
/// use expert_alloc_plugin::{EnumInfo, Error, Plugin, Run, register};
///
/// struct Nothing;
///
/// impl Plugin for Nothing {
///     const NAME: &str = "nothing";
///
///     fn run(_: &mut Run) -> Result<(), Error> {
///         Ok(())
///     }
/// }
///
/// let mut info = EnumInfo { name: [0; 64], description: [0; 192], version: 0 };
/// // SAFETY: `info` may be written to.
/// assert_eq!(unsafe { register::<Nothing>(&mut info) }, 0);
/// assert_eq!(info.version, 1);
/// ```
///
/// # Safety
///
/// - S1 `info` is null, or may be written to.
pub unsafe fn register<P: Plugin>(info: *mut EnumInfo) -> u32 {
    // SAFETY: S1.
    let Some(info) = (unsafe { info.as_mut() }) else {
        return Error::INVALID_PARAMETER.code();
    };
    fill(&mut info.name, P::NAME);
    fill(&mut info.description, P::DESCRIPTION);
    info.version = P::VERSION;
    0
}

/// Copies a text, ended by a 0.
fn fill(to: &mut [c_char], text: &str) {
    let last = to.len() - 1;
    to.fill(0);
    for (to, &byte) in to[..last].iter_mut().zip(text.as_bytes()) {
        *to = byte as c_char;
    }
}

/// Makes the host's heap the global allocator of this plug-in, and defines the probe and
/// the entry point by which the host attaches the plug-in. Write it once in a library.
///
/// It is for plug-ins with entry points of their own: see [`entry!`](crate::entry).
///
/// ```no_run
/// expert_alloc_plugin::heap!();
///
/// expert_alloc_plugin::entry! {
///     /// Adds.
///     ///
///     /// # Safety
///     ///
///     /// - S1 the sum may be written to.
///     unsafe fn add(one: u32, other: u32, sum: *mut u32) {
///         // SAFETY: S1.
///         unsafe { sum.write(one + other) };
///         Ok(())
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! heap {
    () => {
        #[global_allocator]
        static EXPERT_ALLOC_PLUGIN_HEAP: $crate::Heap = $crate::Heap;

        /// Attaches this plug-in to its host.
        ///
        /// # Safety
        ///
        /// As [`attach`]($crate::attach).
        #[allow(non_snake_case, reason = "the name is that of the header")]
        #[unsafe(no_mangle)]
        pub unsafe extern "system" fn ExpertPluginAttach(
            host: *const $crate::Host,
            key: *mut $crate::macros::c_void,
        ) -> u32 {
            // SAFETY: the contract is the same.
            $crate::Error::code_of(unsafe { $crate::attach(host, key) })
        }

        /// The identity of the heap that the calls of this plug-in reach.
        #[allow(non_snake_case, reason = "the name is that of the header")]
        #[unsafe(no_mangle)]
        pub extern "system" fn ExpertPluginHeap() -> *const $crate::macros::c_void {
            $crate::macros::identity()
        }
    };
}

/// Makes a type a plug-in: its allocator is the host's heap, and its entry points are
/// `Register`, `Configure` and `Run`. Write it once in a library.
///
/// ```no_run
/// use expert_alloc_plugin::{Error, Plugin, Run, plugin};
///
/// plugin!(Bytes);
///
/// struct Bytes;
///
/// impl Plugin for Bytes {
///     const NAME: &str = "bytes";
///
///     fn run(run: &mut Run) -> Result<(), Error> {
///         run.set_result(run.data().len() as u64);
///         Ok(())
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! plugin {
    ($plugin:ty) => {
        $crate::heap!();

        /// Gives the host the name and the description of this plug-in.
        ///
        /// # Safety
        ///
        /// As `expert_plugin.h` has it.
        #[allow(non_snake_case, reason = "the name is that of the header")]
        #[unsafe(no_mangle)]
        pub unsafe extern "system" fn Register(info: *mut $crate::EnumInfo) -> u32 {
            // SAFETY: the contract is the same.
            $crate::caught!(unsafe { $crate::register::<$plugin>(info) })
        }

        /// Makes or changes the configuration.
        ///
        /// # Safety
        ///
        /// As `expert_plugin.h` has it.
        #[allow(non_snake_case, reason = "the name is that of the header")]
        #[unsafe(no_mangle)]
        pub unsafe extern "system" fn Configure(
            key: *mut $crate::macros::c_void,
            config: *mut *mut $crate::macros::c_void,
            _startup: *const $crate::macros::c_void,
        ) -> u32 {
            // SAFETY: the contract is the same.
            $crate::caught!(unsafe { $crate::macros::configure::<$plugin>(key, config) })
        }

        /// Does the work.
        ///
        /// # Safety
        ///
        /// As `expert_plugin.h` has it.
        #[allow(non_snake_case, reason = "the name is that of the header")]
        #[unsafe(no_mangle)]
        pub unsafe extern "system" fn Run(
            key: *mut $crate::macros::c_void,
            config: *const $crate::macros::c_void,
            startup: *mut $crate::macros::c_void,
        ) -> u32 {
            // SAFETY: the contract is the same.
            $crate::caught!(unsafe { $crate::macros::run::<$plugin>(key, config, startup) })
        }
    };
}

/// Defines an entry point of the plug-in's own, a `fn` or an `unsafe fn`. It is exported under its
/// name, with C's calling convention. Its body returns a `Result<(), Error>`, and the host gets the
/// code. A panic is [`Error::INTERNAL_EXCEPTION`].
///
/// ```no_run
/// expert_alloc_plugin::heap!();
///
/// expert_alloc_plugin::entry! {
///     /// Nothing to do.
///     fn rest() {
///         Ok(())
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! entry {
    ($(#[$about:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$about])*
        #[unsafe(no_mangle)]
        pub extern "system" fn $name($($argument: $type),*) -> u32 {
            let body = || -> ::core::result::Result<(), $crate::Error> { $body };
            $crate::caught!($crate::Error::code_of(body()))
        }
    };
    ($(#[$about:meta])* unsafe fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$about])*
        #[unsafe(no_mangle)]
        pub unsafe extern "system" fn $name($($argument: $type),*) -> u32 {
            let body = || -> ::core::result::Result<(), $crate::Error> { $body };
            $crate::caught!($crate::Error::code_of(body()))
        }
    };
}

/// The code of an expression's result; 69 if it panics.
#[doc(hidden)]
#[macro_export]
macro_rules! caught {
    ($code:expr) => {{
        use ::std::panic::{AssertUnwindSafe, catch_unwind};
        match catch_unwind(AssertUnwindSafe(|| $code)) {
            Ok(code) => code,
            Err(payload) => {
                // The payload may be of any type, and may panic once more when it is
                // dropped.
                if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                    ::core::mem::forget(again);
                }
                $crate::Error::INTERNAL_EXCEPTION.code()
            }
        }
    }};
}
