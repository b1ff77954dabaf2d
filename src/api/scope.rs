//! Scopes: until a scope ends, a thread's allocations through the global allocator
//! belong to an expert.
//!
//! A block keeps its owner, whichever thread uses or frees it; a scope has no effect on
//! frees.

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::ops::Deref;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::api::expert::Expert;
use crate::api::home::DefaultHome;
use crate::engine::{Engine, Who};
use crate::error::Error;
use crate::expert::home::{Ambient, OwnerOf};
use crate::expert::slot::OVERDRAFT;
use crate::expert::visit::{self, State, Visit};
use crate::key::ExpertKey;

/// Until this is dropped, this thread's allocations through the global allocator are the
/// expert's. Scopes nest: the innermost one that stands is current. A scope that is dropped
/// out of order is struck out, and the inner scopes go on. Once all are dropped, in
/// whatever order, the host is current.
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
    _within: Within<H>,
    _expert: PhantomData<&'e Expert<H>>,
}

/// A scope of an expert or of the host, until this is dropped. It keeps no expert alive.
pub(crate) struct Within<H: Ambient> {
    home: H,
    entered: H::Entered,
    /// A scope stays on its thread: it is neither `Send` nor `Sync`.
    _thread: PhantomData<*mut ()>,
}

impl<H: Ambient> Within<H> {
    #[inline]
    fn enter(home: H, who: Who<'_, OwnerOf<H>>) -> Self {
        Self { home, entered: home.enter(who), _thread: PhantomData }
    }

    /// As [`enter`](Self::enter), if there is memory for the scope.
    #[inline]
    fn try_enter(home: H, who: Who<'_, OwnerOf<H>>) -> Result<Self, Error> {
        let within = Self::enter(home, who);
        if H::has_entered(within.entered) { Ok(within) } else { Err(Error::OutOfMemory) }
    }

    /// The scope of the expert of `key`; the host's for `None`, or if the expert has ended
    /// or is ending, or there is no memory for its scope.
    pub(crate) fn enter_by_key(home: H, key: Option<ExpertKey>) -> Self {
        let visit = key.and_then(|key| Visit::new(home, key).ok());
        match visit.filter(|visit| visit.state() != State::Closing) {
            // The expert may end after the visit: then its blocks, and the scope,
            // become the host's (S1 of `Ambient`).
            Some(visit) => Self::try_enter(home, visit.who()).ok(),
            None => None,
        }
        .unwrap_or_else(|| Self::enter(home, home.engine().host()))
    }
}

impl<H: Ambient> Drop for Within<H> {
    #[inline]
    fn drop(&mut self) {
        self.home.leave(self.entered);
    }
}

impl<H: Ambient> Expert<H> {
    /// Makes this expert the owner of this thread's allocations through the global
    /// allocator, until the result is dropped.
    ///
    /// The first scope of an expert in a thread needs some memory, as does each level of
    /// nested scopes beyond seven. If the system has none, the owner stays as it was: the
    /// host, or the owner of the scope around this one. [`try_enter`](Self::try_enter) fails
    /// then, and so do [`run`](Self::run) and [`run_async`](Self::run_async).
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
        let within = Within::enter(self.home(), self.ambient());
        Scope { _within: within, _expert: PhantomData }
    }

    /// As [`enter`](Self::enter), or an error if there is no memory for the scope.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// let expert = ALLOC.expert("one").register()?;
    /// let scope = expert.try_enter()?;
    /// let text = String::from("the expert's, for certain");
    /// drop(scope);
    /// assert_eq!(ALLOC.owner_of(text.as_ptr()), Some(expert.key()));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`].
    #[inline]
    pub fn try_enter(&self) -> Result<Scope<'_, H>, Error> {
        let within = Within::try_enter(self.home(), self.ambient())?;
        Ok(Scope { _within: within, _expert: PhantomData })
    }

    /// Polls `future` in a scope of this expert, on whatever thread polls it. The scope is
    /// entered as by [`enter`](Self::enter), also if there is no memory for it.
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
    pub fn in_scope<F: Future>(&self, future: F) -> InScope<&Self, F> {
        InScope::new(self, future)
    }

    /// The engine's view of it, for ambient blocks.
    fn ambient(&self) -> Who<'_, OwnerOf<H>> {
        let overdraft = self.slot().word().has(OVERDRAFT);
        visit::who::<H>(self.slot(), self.key(), overdraft)
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
/// fn wrap<F: Future>(expert: &Expert, future: F) -> InScope<&Expert, F> {
///     expert.in_scope(future)
/// }
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct InScope<E, F> {
    /// Stands before `expert`, which it may refer to, so it is dropped first.
    future: F,
    expert: E,
}

impl<E, F> InScope<E, F> {
    pub(crate) fn new(expert: E, future: F) -> Self {
        Self { future, expert }
    }
}

impl<E, F, H> Future for InScope<E, F>
where
    E: Deref<Target = Expert<H>>,
    F: Future,
    H: Ambient,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: nothing moves the future out, there is no `Drop`, and `Unpin`
        // follows from that of the fields.
        let this = unsafe { self.get_unchecked_mut() };
        let _scope = this.expert.enter();
        // SAFETY: pinned with the whole.
        unsafe { Pin::new_unchecked(&mut this.future) }.poll(context)
    }
}
