//! Gives free memory back to the system, by a thread or by a call.

use core::fmt;
use core::time::Duration;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use crate::api::expert::Expert;
use crate::api::global::ExpertAlloc;
use crate::engine::Engine;
use crate::error::Error;
use crate::expert::home::Home;
use crate::heap;
use crate::sync::{AtomicU32, Ordering::Relaxed};

/// The process that a purger runs in; 0 for none. Orders nothing. A child of `fork` has
/// another number and no purger, and may start one.
static RUNS_IN: AtomicU32 = AtomicU32::new(0);

/// The purger of this process, until this is dropped. See
/// [`ExpertAlloc::background`].
///
/// ```no_run
/// use expert_alloc::{Background, Error, ExpertAlloc};
/// use std::time::Duration;
///
/// /// Kept as long as the server runs.
/// struct Server {
///     purger: Background,
/// }
///
/// let purger = ExpertAlloc::new().background(Duration::from_secs(1))?;
/// let server = Server { purger };
/// # Ok::<(), Error>(())
/// ```
#[must_use = "the purger ends when this is dropped"]
pub struct Background {
    /// This is dropped first, which tells the thread to end.
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    process: u32,
}

impl ExpertAlloc {
    /// Starts a thread that gives free physical memory back to the system, until the
    /// result is dropped: memory of all threads, also of those that sleep, that was free
    /// for one to two times `every`. There is one such thread in a process, and none
    /// unless asked for.
    ///
    /// The thread is called `expert-alloc` and blocks all signals. Each round takes
    /// microseconds, and longer the more memory has become free. Other threads wait while
    /// it ends spans of theirs (microseconds) or holds the lock of the arena. In a child of
    /// `fork` it does not run; the child may start its own.
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertAlloc};
    /// use std::time::Duration;
    ///
    /// let heap = ExpertAlloc::new();
    /// let purger = heap.background(Duration::from_millis(500))?;
    /// let second = heap.background(Duration::from_secs(1));
    /// assert_eq!(second.err(), Some(Error::AlreadyRunning));
    /// drop(purger);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyRunning`] if the process has one; [`Error::OutOfMemory`] if the
    /// system has no thread.
    pub fn background(self, every: Duration) -> Result<Background, Error> {
        let process = std::process::id();
        let before = RUNS_IN.load(Relaxed);
        let is_free = before != process
            && RUNS_IN.compare_exchange(before, process, Relaxed, Relaxed).is_ok();
        if !is_free {
            return Err(Error::AlreadyRunning);
        }
        let (stop, stopped) = sync_channel::<()>(1);
        let every = every.max(Duration::from_millis(1));
        let purge = move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                heap::purge_unused();
            }
        };
        // The thread's own memory must not be charged to an expert.
        let spawn = || without_signals(|| Builder::new().name("expert-alloc".into()).spawn(purge));
        match Home::as_host(self, spawn) {
            Ok(thread) => Ok(Background { stop: Some(stop), thread: Some(thread), process }),
            Err(_) => {
                RUNS_IN.store(0, Relaxed);
                Err(Error::OutOfMemory)
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // A child of `fork` has a copy of this, and not the thread.
            core::mem::forget(self.thread.take());
            return;
        }
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread does not panic.
            let _ = thread.join();
        }
        RUNS_IN.store(0, Relaxed);
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Background")
    }
}

/// Runs `f` with all signals blocked, so a thread that `f` starts handles none.
#[cfg(unix)]
fn without_signals<T>(f: impl FnOnce() -> T) -> T {
    let mut all = core::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = core::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: a set to be filled.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: a filled set, and a place for the one before.
    let code =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let done = f();
    if code == 0 {
        // SAFETY: the set that was there before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), core::ptr::null_mut()) };
    }
    done
}

/// Runs `f`; there are no signals here.
#[cfg(not(unix))]
fn without_signals<T>(f: impl FnOnce() -> T) -> T {
    f()
}

impl<H: Home> Expert<H> {
    /// Gives back memory that the expert is charged for and does not use: empty spans in
    /// the caches of all threads, and this thread's credit. Returns by how many bytes it is
    /// charged less. Blocks in use stay where they are.
    ///
    /// The time grows with the number of the expert's spans. The call visits each thread of
    /// the process once, and that thread's slow paths then wait for microseconds.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("was large").register()?;
    /// let blocks: Vec<_> = (0..1000).map(|_| expert.alloc(1000).unwrap()).collect();
    /// blocks.into_iter().for_each(|block| expert.free(block.as_ptr()).unwrap());
    /// let charged = expert.stats().charged_bytes;
    /// assert_eq!(expert.trim(), charged - expert.stats().charged_bytes);
    /// assert!(expert.stats().charged_bytes < 100_000);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn trim(&self) -> usize {
        let before = self.slot().account().charged();
        self.home().engine().trim(self.who());
        before.saturating_sub(self.slot().account().charged())
    }
}
