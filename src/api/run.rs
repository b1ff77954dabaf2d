//! Running an expert's code, and the outcome.

use core::fmt;
use std::any::Any;
use std::boxed::Box;
use std::format;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::{String, ToString};
use std::vec::Vec;

use crate::api::expert::Expert;
use crate::api::foreign::{self, Foreign, Note, Thrown};
use crate::api::panics;
use crate::error::Error;
use crate::expert::explained::Explained;
use crate::expert::home::Ambient;
use crate::expert::look;
use crate::expert::visit::State;

impl<H: Ambient> Expert<H> {
    /// Calls `f` in a scope of this expert and catches its panic. On Linux on x86-64 it
    /// also catches an exception that is not Rust's, or that of a library with a Rust
    /// runtime of its own. (Elsewhere these abort the process, as Rust defines it.)
    ///
    /// A panic may leave values that `f` borrows mutably half changed, as when a thread
    /// panics.
    ///
    /// ```
    /// use expert_alloc::{ExpertAlloc, FailureKind};
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("careless").register()?;
    /// assert_eq!(expert.run(|| 6 * 7).unwrap(), 42);
    /// let failure = expert.run(|| panic!("out of cheese")).unwrap_err();
    /// assert_eq!(failure.kind(), FailureKind::Panicked);
    /// assert_eq!(failure.message(), Some("out of cheese"));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Failure`], which describes the panic or the exception. If there is no memory for
    /// the scope, `f` is not called.
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> Result<T, Failure> {
        let outcome = match self.try_enter() {
            Ok(_scope) => foreign::call(f),
            Err(_) => return Err(Failure::stopped(self, FailureKind::OutOfMemory)),
        };
        look::look(self.home(), self.key(), self.slot());
        outcome.map_err(|thrown| self.home().as_host(|| Failure::of(thrown)))
    }
}

/// The reason for a [`Failure`].
///
/// ```
/// use expert_alloc::{ExpertAlloc, FailureKind};
///
/// let expert = ExpertAlloc::new().expert("careless").register()?;
/// let failure = expert.run(|| panic!("out of cheese")).unwrap_err();
/// let status = match failure.kind() {
///     FailureKind::OverQuota => 507,
///     FailureKind::Terminated | FailureKind::ParentStopped => 503,
///     _ => 500,
/// };
/// assert_eq!(status, 500);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// It panicked.
    Panicked,
    /// An exception of another language or runtime left it, or it asked for the end of its
    /// thread, which goes on.
    ForeignException,
    /// It was granted more than its quota.
    OverQuota,
    /// The host told it to stop.
    Terminated,
    /// A parent of it has ended or must stop.
    ParentStopped,
    /// The system had no memory for its scope, so the code was not called, or polled.
    OutOfMemory,
}

impl FailureKind {
    /// The reason why a task of an expert in this state must stop; `None` for a live
    /// expert.
    pub(crate) fn of(state: State) -> Option<Self> {
        match state {
            State::Live => None,
            State::Overdrawn => Some(Self::OverQuota),
            State::ParentStopped => Some(Self::ParentStopped),
            State::Terminated | State::Closing => Some(Self::Terminated),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Panicked => "panicked",
            Self::ForeignException => "threw",
            Self::OverQuota => "stopped: over its quota",
            Self::Terminated => "stopped: told to stop",
            Self::ParentStopped => "stopped: a parent has ended or is to stop",
            Self::OutOfMemory => "stopped: no memory for its scope",
        }
    }
}

/// The reason why an expert's code did not return. See [`Expert::run`] and
/// [`Expert::run_async`].
///
/// It is in the host's memory, so it stays valid after the end of the expert, also with
/// [`reclaim_all`](Expert::reclaim_all). Only a payload that is not text stays where the
/// panic put it, in the expert's ambient memory.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let heap = ExpertAlloc::new();
/// let expert = heap.expert("careless").register()?;
/// let failure = expert.run(|| panic!("frame {} is odd", 7)).unwrap_err();
/// assert_eq!(failure.to_string(), "panicked: frame 7 is odd");
/// assert!(failure.place().unwrap().contains(".rs:"), "file, line and column");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
pub struct Failure {
    kind: FailureKind,
    payload: Option<Box<dyn Any + Send>>,
    place: Option<Box<str>>,
    /// One, or none.
    explained: Vec<Explained>,
}

impl Failure {
    /// The failure of a call. Its contents are allocated here, for the host.
    pub(crate) fn of(thrown: Thrown) -> Self {
        match thrown {
            Thrown::Panic(payload) => Self {
                kind: FailureKind::Panicked,
                payload: Some(copied(payload)),
                place: panics::take_place().map(|place| place.text().into()),
                explained: Vec::new(),
            },
            Thrown::Foreign(note) => Self {
                kind: FailureKind::ForeignException,
                payload: Some(Box::new(description(&note))),
                place: None,
                explained: Vec::new(),
            },
        }
    }

    /// The failure of an expert that must stop. If that is for want of memory, it names the
    /// largest holders at this moment.
    pub(crate) fn stopped<H: Ambient>(expert: &Expert<H>, kind: FailureKind) -> Self {
        let want = match kind {
            FailureKind::OverQuota => Some(Error::Overdrawn),
            FailureKind::OutOfMemory => Some(Error::OutOfMemory),
            _ => None,
        };
        let keep = |error| kept(expert.explain(error).owned());
        let explained = expert.home().as_host(|| want.map(keep).unwrap_or_default());
        Self { kind, payload: None, place: None, explained }
    }

    /// Why the code did not return.
    ///
    /// ```
    /// use expert_alloc::{ExpertAlloc, FailureKind};
    ///
    /// let expert = ExpertAlloc::new().expert("careless").register()?;
    /// let failure = expert.run(|| panic!("out of cheese")).unwrap_err();
    /// assert_eq!(failure.kind(), FailureKind::Panicked);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The panic's message if it is text, as nearly always; for a foreign exception a
    /// description, such as its C++ type.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let expert = ExpertAlloc::new().expert("careless").register()?;
    /// let failure = expert.run(|| panic!("frame {} is odd", 7)).unwrap_err();
    /// assert_eq!(failure.message(), Some("frame 7 is odd"));
    /// let failure = expert.run(|| std::panic::panic_any(7)).unwrap_err();
    /// assert_eq!(failure.message(), None);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        text(self.payload.as_deref()?)
    }

    /// The place where the panic began: file, line and column. `None` if there was no
    /// panic, or if it did not pass the hook (see
    /// [`watch_panics`](crate::ExpertAlloc::watch_panics)), as in
    /// [`resume_unwind`](std::panic::resume_unwind).
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let expert = ExpertAlloc::new().expert("careless").register()?;
    /// let failure = expert.run(|| panic!("out of cheese")).unwrap_err();
    /// assert!(failure.place().unwrap().contains(".rs:"), "file, line and column");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// For an expert that was over its quota: its charge and the largest holders at the
    /// moment when it was stopped. For an expert without memory for its scope: the largest
    /// holders. `None` if there was no memory for that.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    /// # use std::task::{Context, Poll, Waker};
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// let request = ALLOC.expert("request").quota(64 << 10).register()?;
    /// let mut task = Box::pin(request.run_async(async {
    ///     let rows = vec![0_u8; 1 << 20];
    ///     std::future::pending::<()>().await;
    ///     rows.len()
    /// }));
    /// # let mut context = Context::from_waker(Waker::noop());
    /// # let Poll::Ready(outcome) = task.as_mut().poll(&mut context) else { panic!() };
    /// let failure = outcome.unwrap_err();                 // of its first poll
    /// let largest = failure.explained().unwrap().largest();
    /// assert_eq!(largest.iter().next().unwrap().key, request.key());
    /// assert!(failure.to_string().starts_with("stopped: over its quota (request: 1."));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn explained(&self) -> Option<&Explained> {
        self.explained.first()
    }

    /// The payload of the panic, for example to resume it; for other failures a
    /// description, as a [`String`].
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let expert = ExpertAlloc::new().expert("careless").register()?;
    /// let failure = expert.run(|| std::panic::panic_any(7)).unwrap_err();
    /// assert_eq!(failure.into_payload().downcast_ref(), Some(&7));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn into_payload(mut self) -> Box<dyn Any + Send> {
        self.payload.take().unwrap_or_else(|| Box::new(self.to_string()))
    }
}

/// The payload may be of any type, so its destructor may panic; dropping a failure must
/// not.
impl Drop for Failure {
    fn drop(&mut self) {
        let payload = self.payload.take();
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            core::mem::forget(another);
        }
    }
}

/// A list with this value, or an empty list if there is no memory; a `Box` would end the
/// process in that case.
fn kept(explained: Explained) -> Vec<Explained> {
    let mut kept = Vec::new();
    if kept.try_reserve_exact(1).is_ok() {
        kept.push(explained);
    }
    kept
}

/// The text of a payload.
fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// The payload; if it is text, it is copied into memory of the current owner.
fn copied(payload: Box<dyn Any + Send>) -> Box<dyn Any + Send> {
    match payload.downcast::<&'static str>() {
        Ok(text) => Box::new(*text),
        Err(payload) => match payload.downcast::<String>() {
            Ok(text) => Box::new(text.as_str().to_string()),
            Err(payload) => payload,
        },
    }
}

/// A description of a foreign exception.
fn description(note: &Note) -> String {
    match (note.what, note.name()) {
        (Foreign::Rust, _) => "a panic of another Rust runtime".to_string(),
        (Foreign::Exit, _) => "the end of its thread".to_string(),
        (Foreign::Cpp, "") => "a C++ exception".to_string(),
        (Foreign::Cpp, name) => format!("a C++ exception of type {name}"),
        (Foreign::Other(class), _) => format!("an exception of class {class:#018x}"),
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("kind", &self.kind)
            .field("message", &self.message())
            .field("place", &self.place())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if let Some(explained) = self.explained() {
            explained.reasons(f)?;
        }
        match (self.message(), &self.payload) {
            (Some(message), _) => write!(f, ": {message}"),
            (None, Some(_)) => f.write_str(": (no message)"),
            (None, None) => Ok(()),
        }
    }
}

impl core::error::Error for Failure {}
