//! Scopes: until a scope ends, a thread's allocations through the global allocator
//! belong to an expert.
//!
//! A block keeps its owner wherever it travels and whoever frees it; a scope
//! matters to allocation only.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::api::expert::Expert;
use crate::api::home::DefaultHome;
use crate::engine::Who;
use crate::expert::home::{Ambient, OwnerOf};
use crate::expert::slot::OVERDRAFT;
use crate::expert::visit;

/// Until this is dropped, this thread's allocations through the global allocator are
/// the expert's. Scopes nest: the innermost one that was not dropped counts. So they may
/// be dropped in any order; once all scopes of an expert are dropped, the thread does not
/// allocate for it.
///
/// It belongs to its thread:
///
/// ```compile_fail,E0277
/// # use expert_alloc::ExpertAlloc;
/// let expert = ExpertAlloc::new().expert("stays").register()?;
/// let scope = expert.enter();
/// std::thread::scope(|threads| {
///     threads.spawn(move || drop(scope));      // a scope cannot leave its thread
/// });
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// and is not shared with another either:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<expert_alloc::Scope<'_>>();
/// ```
#[must_use = "the scope ends when this is dropped"]
pub struct Scope<'e, H: Ambient = DefaultHome> {
    home: H,
    previous: H::Entered,
    /// Of its expert and its thread: neither `Send` nor `Sync`.
    _expert: PhantomData<(&'e Expert<H>, *mut ())>,
}

impl<H: Ambient> Expert<H> {
    /// Makes this expert the owner of this thread's allocations through the global
    /// allocator, until the result is dropped.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// let expert = ALLOC.expert("one").register()?;
    /// let text = {
    ///     let _scope = expert.enter();
    ///     String::from("the expert's")
    /// };
    /// assert_eq!(ALLOC.owner_of(text.as_ptr()), Some(expert.key()));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[inline]
    pub fn enter(&self) -> Scope<'_, H> {
        let previous = self.home().enter(self.ambient());
        Scope { home: self.home(), previous, _expert: PhantomData }
    }

    /// Polls `future` in a scope of this expert, on whatever thread that is.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    /// use std::pin::pin;
    /// use std::task::{Context, Poll, Waker};
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// let task = ALLOC.expert("task").register()?;
    /// let mut future = pin!(task.in_scope(async { String::from("the task's") }));
    /// let Poll::Ready(text) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
    ///     unreachable!("nothing to wait for");
    /// };
    /// assert_eq!(ALLOC.owner_of(text.as_ptr()), Some(task.key()));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn in_scope<F: Future>(&self, future: F) -> InScope<'_, F, H> {
        InScope { expert: self, future }
    }

    /// The engine's view of it, for ambient blocks.
    fn ambient(&self) -> Who<'_, OwnerOf<H>> {
        let overdraft = self.slot().word().has(OVERDRAFT);
        visit::who::<H>(self.slot(), self.key(), overdraft)
    }
}

impl<H: Ambient> Drop for Scope<'_, H> {
    #[inline]
    fn drop(&mut self) {
        self.home.leave(self.previous);
    }
}

impl<H: Ambient> fmt::Debug for Scope<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scope")
    }
}

/// A future that is polled in a scope of an expert. See [`Expert::in_scope`].
///
/// ```
/// use expert_alloc::{Expert, InScope};
///
/// /// Names the type, for example to keep it in a struct.
/// fn wrap<F: Future>(expert: &Expert, future: F) -> InScope<'_, F> {
///     expert.in_scope(future)
/// }
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct InScope<'e, F, H: Ambient = DefaultHome> {
    expert: &'e Expert<H>,
    future: F,
}

impl<F: Future, H: Ambient> Future for InScope<'_, F, H> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _scope = self.expert.enter();
        // SAFETY: the future is pinned with the whole: nothing else moves it out,
        // there is no `Drop`, and `Unpin` follows from that of the fields.
        let future = unsafe { self.map_unchecked_mut(|whole| &mut whole.future) };
        future.poll(context)
    }
}

#[cfg(feature = "std")]
pub use run::Failure;

#[cfg(feature = "std")]
mod run {
    use std::any::Any;
    use std::boxed::Box;
    use std::fmt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use crate::api::expert::Expert;
    use crate::expert::home::Ambient;

    impl<H: Ambient> Expert<H> {
        /// Calls `f` in a scope of this expert and catches its panic.
        ///
        /// What `f` borrows mutably may be left half changed by a panic; look
        /// at it with that in mind, as after a thread that panicked.
        ///
        /// ```
        /// use expert_alloc::ExpertAlloc;
        ///
        /// let heap = ExpertAlloc::new();
        /// let expert = heap.expert("careless").register()?;
        /// assert_eq!(expert.run(|| 6 * 7).unwrap(), 42);
        /// let failure = expert.run(|| panic!("out of cheese")).unwrap_err();
        /// assert_eq!(failure.message(), Some("out of cheese"));
        /// # Ok::<(), expert_alloc::Error>(())
        /// ```
        ///
        /// # Errors
        ///
        /// [`Failure`] with what the panic carried.
        pub fn run<T>(&self, f: impl FnOnce() -> T) -> Result<T, Failure> {
            let _scope = self.enter();
            catch_unwind(AssertUnwindSafe(f)).map_err(Failure)
        }
    }

    /// What an expert's panic carried. See [`Expert::run`].
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("careless").register()?;
    /// let failure = expert.run(|| panic!("frame {} is odd", 7)).unwrap_err();
    /// assert_eq!(failure.to_string(), "panicked: frame 7 is odd");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub struct Failure(Box<dyn Any + Send>);

    impl Failure {
        /// The panic's message, where it is text, as it nearly always is.
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
            let text = self.0.downcast_ref::<&str>().copied();
            text.or_else(|| self.0.downcast_ref().map(std::string::String::as_str))
        }

        /// What the panic carried, for example to resume it.
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
        pub fn into_payload(self) -> Box<dyn Any + Send> {
            self.0
        }
    }

    impl fmt::Debug for Failure {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_tuple("Failure").field(&self.message()).finish()
        }
    }

    impl fmt::Display for Failure {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "panicked: {}", self.message().unwrap_or("(no message)"))
        }
    }

    impl std::error::Error for Failure {}
}
