//! The current expert: its key, how other tasks and threads inherit it, and how to
//! be the host for a while.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::api::ExpertAlloc;
use crate::api::home::DefaultHome;
use crate::api::scope::Within;
use crate::expert::home::{Ambient, Home};
use crate::expert::stop;
use crate::key::ExpertKey;

impl ExpertAlloc {
    /// The key of the expert whose scope this thread is in; `None` outside of scopes.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("one").register()?;
    /// assert_eq!(heap.current(), None);
    /// let _scope = expert.enter();
    /// assert_eq!(heap.current(), Some(expert.key()));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn current(self) -> Option<ExpertKey> {
        Ambient::current(self)
    }

    /// Calls `f` with the host as the owner of its allocations, whatever the scope. It is
    /// for values that the host keeps longer than the expert that first needs them, such as
    /// caches, pools and lazily made values.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    /// use std::sync::OnceLock;
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
    ///
    /// let expert = ALLOC.expert("first to ask").register()?;
    /// let first = expert.run(|| {
    ///     let table = TABLE.get_or_init(|| ALLOC.as_host(|| (0..1000).collect()));
    ///     table[0]
    /// });
    /// assert_eq!(first.unwrap(), 0);
    /// assert_eq!(ALLOC.owner_of(TABLE.get().unwrap().as_ptr()), Some(ALLOC.host().key()));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn as_host<T>(self, f: impl FnOnce() -> T) -> T {
        Home::as_host(self, f)
    }

    /// Copies a value into the host's memory and drops the original; for values that an
    /// expert returns on purpose. The adopted blocks in [`Reclaimed`](crate::Reclaimed) are
    /// then only those that the expert left behind.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// let expert = ALLOC.expert("answers").register()?;
    /// let answer = expert.run(|| vec![String::from("forty"), String::from("two")]).unwrap();
    /// let answer = ALLOC.hand_over(answer);
    /// assert_eq!(expert.finish().adopted_blocks, 0);
    /// assert_eq!(answer.join("-"), "forty-two");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn hand_over<T: Clone>(self, value: T) -> T {
        self.as_host(|| value.clone())
    }

    /// Creates, as the host, the values that the standard library creates on first use and
    /// keeps: the buffer of standard output, and this thread's handle. Hosts that call
    /// [`reclaim_all`](crate::Expert::reclaim_all) call this once, and in each thread that
    /// Rust did not start. [`hosts`](crate::guide::hosts) lists other such values.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// ALLOC.warm_up();
    /// let expert = ALLOC.expert("prints").register()?;
    /// expert.run(|| println!("hello")).unwrap();
    /// assert_eq!(expert.finish().adopted_blocks, 0);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn warm_up(self) {
        self.as_host(|| {
            drop(std::io::stdout().lock());
            drop(std::thread::current());
        });
    }

    /// A future that is polled in the scope that this thread is in now, on whatever thread
    /// polls it, so a task that is spawned in a scope stays in it. Once the expert has
    /// ended, the task goes on as the host.
    ///
    /// The quota does not stop the task. If a poll leaves its expert over the quota, the
    /// futures of [`run_async`](crate::Expert::run_async) are woken, and stop. A future that
    /// owns its tasks, such as one with tokio's `JoinSet`, takes them along.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    /// use std::future::Future;
    /// use std::pin::pin;
    /// use std::task::{Context, Poll, Waker};
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// let request = ALLOC.expert("request").register()?;
    /// let task = request.run(|| {
    ///     // As for `tokio::spawn(ALLOC.inherit(async { … }))`.
    ///     ALLOC.inherit(async { String::from("of the request") })
    /// });
    /// let mut task = pin!(task.unwrap());
    /// let poll = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    /// let Poll::Ready(text) = poll else { unreachable!("nothing to wait for") };
    /// assert_eq!(ALLOC.owner_of(text.as_ptr()), Some(request.key()));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn inherit<F: Future>(self, future: F) -> Inherit<F> {
        Inherit { home: self, key: self.current(), future }
    }

    /// A closure that is called in the scope that this thread is in now, on whatever thread
    /// calls it. It is for `std::thread::spawn`, `spawn_blocking`, and a pool's `spawn` and
    /// `join`. Once the expert has ended, the closure is called as the host.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// let expert = ALLOC.expert("parallel").register()?;
    /// let thread = {
    ///     let _scope = expert.enter();
    ///     std::thread::spawn(ALLOC.inherit_fn(|| vec![1_u8, 2, 3]))
    /// };
    /// let bytes = thread.join().unwrap();
    /// assert_eq!(ALLOC.owner_of(bytes.as_ptr()), Some(expert.key()));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn inherit_fn<T, F: FnOnce() -> T>(self, f: F) -> impl FnOnce() -> T + use<T, F> {
        let key = self.current();
        move || {
            let _within = Within::enter_by_key(self, key);
            f()
        }
    }
}

/// A future that stays with the expert that was current when it was made. See
/// [`ExpertAlloc::inherit`].
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// fn spawned(_: impl Future + Send + 'static) {}
/// spawned(ExpertAlloc::new().inherit(async { 7 }));
/// ```
#[must_use = "a future does nothing unless it is polled"]
pub struct Inherit<F, H: Ambient = DefaultHome> {
    home: H,
    key: Option<ExpertKey>,
    future: F,
}

impl<F: Future, H: Ambient> Future for Inherit<F, H> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let (home, key) = (self.home, self.key);
        let polled = {
            let _within = Within::enter_by_key(home, key);
            // SAFETY: the future is pinned with the whole: nothing else moves it out,
            // there is no `Drop`, and `Unpin` follows from that of the fields.
            let future = unsafe { self.map_unchecked_mut(|whole| &mut whole.future) };
            future.poll(context)
        };
        if let Some(key) = key {
            stop::wake_if_overdrawn(home, key);
        }
        polled
    }
}

impl<F, H: Ambient> fmt::Debug for Inherit<F, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inherit").field("key", &self.key).finish_non_exhaustive()
    }
}
