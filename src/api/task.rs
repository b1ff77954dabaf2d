//! Futures of experts: polled in a scope, and stopped with their expert.

use core::fmt;
use core::future::Future;
use core::ops::Deref;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::api::expert::Expert;
use crate::api::foreign;
use crate::api::home::DefaultHome;
use crate::api::run::{Failure, FailureKind};
use crate::expert::home::Ambient;
use crate::expert::{look, stop};
use crate::sync::{Ordering::SeqCst, fence};

impl<H: Ambient> Expert<H> {
    /// Polls `future` in a scope of this expert and catches its panics, as
    /// [`run`](Self::run) does. If a poll finds the expert over its quota, told to
    /// stop or without its parent, or has no memory for the scope, it drops the future,
    /// also in a scope, and returns the reason. [`terminate`](Self::terminate), of the
    /// expert or of a parent, wakes it.
    ///
    /// So a future holds at most the quota and the allocations of one poll. A value
    /// that it returns at the poll that passes the quota is returned all the same:
    /// look at [`state`](Self::state) where that matters.
    ///
    /// ```
    /// use expert_alloc::{ExpertAlloc, FailureKind};
    /// use std::future::{Future, pending};
    /// use std::pin::pin;
    /// use std::task::{Context, Poll, Waker};
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// let query = ALLOC.expert("query").quota(1 << 20).register()?;
    /// let mut task = pin!(query.run_async(async {
    ///     let rows = vec![0_u8; 2 << 20];
    ///     pending::<()>().await;
    ///     rows.len()
    /// }));
    /// let poll = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    /// let Poll::Ready(Err(failure)) = poll else { unreachable!("over its quota") };
    /// assert_eq!(failure.kind(), FailureKind::OverQuota);
    /// assert_eq!(query.stats().live_blocks, 0, "the rows went with the future");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The future resolves to a [`Failure`] if `future` was stopped or panicked.
    pub fn run_async<F: Future>(&self, future: F) -> RunAsync<&Self, F, H> {
        RunAsync::new(self, future)
    }
}

/// A future that ends with its expert. See [`Expert::run_async`].
///
/// ```
/// use expert_alloc::{ExpertAlloc, Failure};
///
/// async fn answer() -> Result<u32, Failure> {
///     let request = ExpertAlloc::new().expert("request").register().unwrap();
///     request.run_async(async { 6 * 7 }).await
/// }
/// # let _ = answer();
/// ```
#[must_use = "a future does nothing unless it is polled"]
pub struct RunAsync<E, F, H = DefaultHome>
where
    E: Deref<Target = Expert<H>>,
    H: Ambient,
{
    /// `None` when it is over. It is pinned with the whole. It stands before `expert`,
    /// which it may refer to, so it is dropped first.
    future: Option<F>,
    /// The place of the waker.
    place: Option<usize>,
    expert: E,
}

impl<E, F, H> RunAsync<E, F, H>
where
    E: Deref<Target = Expert<H>>,
    H: Ambient,
{
    pub(crate) fn new(expert: E, future: F) -> Self {
        Self { future: Some(future), place: None, expert }
    }

    /// Drops the future in place, in a scope. A panic of its destructors is discarded.
    fn end(&mut self) {
        if self.future.is_some() {
            let _scope = self.expert.enter();
            // The future is dropped in place, as pinning demands.
            if let Err(thrown) = foreign::call(|| self.future = None) {
                self.expert.home().as_host(|| drop(Failure::of(thrown)));
            }
        }
        if let Some(hosted) = self.expert.slot().hosted() {
            hosted.tasks.give_up(&mut self.place);
        }
    }

    /// The reason why the task must stop; `None` if it may go on. The host's observer is
    /// told about events, and asked before the task is stopped for its quota.
    fn why_stop(&self) -> Option<FailureKind> {
        let expert = &*self.expert;
        let account = expert.slot().account();
        let mut tries = 0;
        look::look(expert.home(), expert.key(), expert.slot());
        loop {
            let kind = FailureKind::of(expert.state())?;
            let beyond = account.charged().saturating_sub(account.quota());
            if kind != FailureKind::OverQuota
                || tries == 8
                || !look::ask(expert.home(), expert.key(), beyond)
            {
                return Some(kind);
            }
            tries += 1;
            expert.forgive();
        }
    }

    /// The failure of a task whose expert must stop.
    fn stop(&mut self, kind: FailureKind) -> Failure {
        // This is done before its memory is freed.
        let failure = Failure::stopped(&*self.expert, kind);
        self.end();
        if kind == FailureKind::OverQuota {
            // The other tasks do not know yet, because an allocation wakes no task. The
            // fence is that of WAITING1.
            fence(SeqCst);
            stop::wake(self.expert.home(), self.expert.key(), self.expert.slot());
        }
        failure
    }
}

impl<E, F, H> Future for RunAsync<E, F, H>
where
    E: Deref<Target = Expert<H>>,
    F: Future,
    H: Ambient,
{
    type Output = Result<F::Output, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: nothing moves the future out, here or in `Drop`, and `Unpin`
        // follows from that of the fields.
        let this = unsafe { self.get_unchecked_mut() };
        let home = this.expert.home();
        // The waker is stored before the state is read (WAITING1).
        if let Some(hosted) = this.expert.slot().hosted() {
            home.as_host(|| hosted.tasks.keep(&mut this.place, context.waker()));
        }
        if let Some(kind) = this.why_stop() {
            return Poll::Ready(Err(this.stop(kind)));
        }
        let Some(future) = &mut this.future else {
            // This future was polled again after its end, which executors do not do.
            return Poll::Ready(Err(this.stop(FailureKind::Terminated)));
        };
        // SAFETY: pinned with the whole.
        let future = unsafe { Pin::new_unchecked(future) };
        let polled = match this.expert.try_enter() {
            Ok(_scope) => foreign::call(|| future.poll(context)),
            Err(_) => return Poll::Ready(Err(this.stop(FailureKind::OutOfMemory))),
        };
        match polled {
            Ok(Poll::Pending) => match this.why_stop() {
                Some(kind) => Poll::Ready(Err(this.stop(kind))),
                None => Poll::Pending,
            },
            Ok(Poll::Ready(value)) => {
                this.end();
                Poll::Ready(Ok(value))
            }
            Err(thrown) => {
                let failure = home.as_host(|| Failure::of(thrown));
                this.end();
                Poll::Ready(Err(failure))
            }
        }
    }
}

impl<E, F, H> Drop for RunAsync<E, F, H>
where
    E: Deref<Target = Expert<H>>,
    H: Ambient,
{
    fn drop(&mut self) {
        self.end();
    }
}

impl<E, F, H> fmt::Debug for RunAsync<E, F, H>
where
    E: Deref<Target = Expert<H>>,
    H: Ambient,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunAsync").field("expert", &*self.expert).finish_non_exhaustive()
    }
}
