//! Calls to foreign code, perhaps in C++, which return whatever that code throws.
//!
//! A panic of this library's own runtime is caught as usual. Rust cannot catch any other
//! exception, not even that of another copy of its runtime: it would abort the process. So
//! on Linux on x86-64 the call goes through a frame that handles those (`guard`); elsewhere
//! they abort.
//!
//! The end of a thread (`pthread_exit`, a cancellation) unwinds too. It stops at
//! the same place, and goes on when a caller in C has finished: see [`put_off`].
//! `longjmp` does not unwind: see [`leave`](super::leave).

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
mod guard;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(miri))))]
#[path = "unguarded.rs"]
mod guard;

use core::ffi::c_void;
use std::any::Any;
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) use guard::prepare;
#[cfg(feature = "capi")]
pub(crate) use guard::{Exit, put_off};

/// A function of two words, as the guarded call calls it.
type Function = unsafe extern "C-unwind" fn(*mut c_void, *mut c_void);

/// The end of a call that did not return.
pub(crate) enum Thrown {
    /// A panic of this library's runtime, with its payload.
    Panic(Box<dyn Any + Send>),
    /// An exception of another runtime, which was deleted.
    Foreign(Note),
}

/// The runtime that an exception was of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64", not(miri))),
    allow(dead_code, reason = "nothing foreign is caught there")
)]
pub(crate) enum Foreign {
    /// Another copy of Rust's runtime.
    Rust,
    /// Of C++.
    Cpp,
    /// No runtime: `pthread_exit` or a cancellation asked for the end of the thread.
    Exit,
    /// The runtime of this class: eight bytes that name a vendor and a language.
    Other(u64),
}

/// Bytes of a type's name that are kept.
const NAME: usize = 80;

/// The notes on an exception, which need no memory of their own.
pub(crate) struct Note {
    pub(crate) what: Foreign,
    name: [u8; NAME],
    length: usize,
}

impl Note {
    const NONE: Self = Self { what: Foreign::Other(0), name: [0; NAME], length: 0 };

    /// The mangled name of the type that was thrown; empty if it is not known.
    pub(crate) fn name(&self) -> &str {
        let name = self.name[..self.length].utf8_chunks().next();
        name.map_or("", |chunk| chunk.valid())
    }

    #[cfg_attr(
        not(all(target_os = "linux", target_arch = "x86_64", not(miri))),
        allow(dead_code, reason = "nothing foreign is caught there")
    )]
    fn set_name(&mut self, name: &[u8]) {
        self.length = name.len().min(NAME);
        self.name[..self.length].copy_from_slice(&name[..self.length]);
    }
}

/// A closure that has not been called, or what it returned.
struct Trip<T, F> {
    closure: Option<F>,
    result: Option<T>,
}

/// Calls `f`.
///
/// # Errors
///
/// How it ended otherwise.
pub(crate) fn call<T, F: FnOnce() -> T>(f: F) -> Result<T, Thrown> {
    /// # Safety
    ///
    /// - S1 the context is a trip that no other code uses meanwhile.
    unsafe extern "C-unwind" fn travel<T, F: FnOnce() -> T>(context: *mut c_void) {
        // SAFETY: S1.
        let trip = unsafe { &mut *context.cast::<Trip<T, F>>() };
        trip.result = trip.closure.take().map(|closure| closure());
    }

    let mut trip = Trip { closure: Some(f), result: None };
    let context = (&raw mut trip).cast();
    let mut note = Note::NONE;
    // SAFETY: S1: a trip of these types, used again only when this is over.
    let travelled = catch_unwind(AssertUnwindSafe(|| unsafe {
        guard::returns_of_one(travel::<T, F>, context, &mut note)
    }));
    match (travelled, trip.result) {
        (Ok(true), Some(result)) => Ok(result),
        (Ok(_), _) => Err(Thrown::Foreign(note)),
        (Err(payload), _) => Err(Thrown::Panic(payload)),
    }
}

/// A function and its argument.
#[cfg(feature = "capi")]
pub(crate) struct Call {
    pub(crate) function: unsafe extern "C-unwind" fn(*mut c_void),
    pub(crate) context: *mut c_void,
}

// SAFETY: the pointer is not followed here, and the caller has promised that the function
// may be called with it from any thread.
#[cfg(feature = "capi")]
unsafe impl Send for Call {}

#[cfg(feature = "capi")]
impl Call {
    /// Calls the function. Any end other than a return becomes a panic here; the end of the
    /// thread is [put off](put_off).
    ///
    /// # Safety
    ///
    /// - S1 the function may be called with the context, from this thread.
    pub(crate) unsafe fn call(self) {
        // SAFETY: S1.
        if !unsafe { guard::returns_of_one(self.function, self.context, &mut { Note::NONE }) } {
            std::panic::resume_unwind(Box::new("a foreign exception"));
        }
    }

    /// Calls the function, and returns whether the function returned. The end of the thread
    /// is [put off](put_off).
    ///
    /// # Safety
    ///
    /// - S1 the function may be called with the context, from this thread.
    pub(crate) unsafe fn returns(&self) -> bool {
        // SAFETY: S1.
        caught(|note| unsafe { guard::returns_of_one(self.function, self.context, note) })
    }
}

/// Calls `function` with two words, and returns whether it returned. The end of the thread
/// is [put off](put_off).
///
/// # Safety
///
/// - S1 the function may be called with these words, from this thread.
#[cfg(feature = "capi")]
pub(crate) unsafe fn returns_from(function: Function, words: [*mut c_void; 2]) -> bool {
    // SAFETY: S1.
    caught(|note| unsafe { guard::returns(function, words[0], words[1], note) })
}

/// The result of `call`, or `false` for a panic of this library's own runtime, which passes
/// the guard.
#[cfg(feature = "capi")]
fn caught(call: impl FnOnce(&mut Note) -> bool) -> bool {
    let call = || call(&mut { Note::NONE });
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        // Dropping it might panic again.
        core::mem::forget(payload);
        false
    })
}
