//! The host's observer of the process-wide heap: one, set and taken away while
//! the program runs.

use core::cell::Cell;
use core::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::ExpertAlloc;
use crate::expert::events::{Event, Observer, Refusal, Verdict};
use crate::expert::home::Home;
use crate::sync::{AtomicBool, Ordering::Relaxed};

static OBSERVER: Mutex<Option<Arc<dyn Observer>>> = Mutex::new(None);
/// Whether there is an observer. It is a hint that saves taking the lock.
static IS_OBSERVED: AtomicBool = AtomicBool::new(false);

std::thread_local! {
    /// Whether the observer is being called in this thread.
    static IS_CALLED: Cell<bool> = const { Cell::new(false) };
}

fn lock() -> MutexGuard<'static, Option<Arc<dyn Observer>>> {
    // Nothing panics with the lock held.
    OBSERVER.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ExpertAlloc {
    /// Tells `observer` about events of experts in all threads, until the result is
    /// dropped. There is one at a time: a new observer replaces the one before.
    ///
    /// ```
    /// use expert_alloc::{Event, EventKind, ExpertAlloc};
    /// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    ///
    /// static REFUSED: AtomicUsize = AtomicUsize::new(0);
    ///
    /// let heap = ExpertAlloc::new();
    /// let _observation = heap.observe(|event: &Event| {
    ///     if let EventKind::Refused { largest, .. } = &event.kind {
    ///         let heavy = largest.iter().next().unwrap();
    ///         println!("{} is refused; {} holds {}", event.name, heavy.name, heavy.charged_bytes);
    ///         REFUSED.fetch_add(1, Relaxed);
    ///     }
    /// });
    /// let expert = heap.expert("hungry").quota(64 << 10).register()?;
    /// assert!(expert.alloc(1 << 20).is_err());
    /// assert_eq!(REFUSED.load(Relaxed), 1);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn observe(self, observer: impl Observer + 'static) -> Observation {
        let new: Arc<dyn Observer> = self.as_host(|| Arc::new(observer));
        let before = {
            let mut place = lock();
            IS_OBSERVED.store(true, Relaxed);
            place.replace(Arc::clone(&new))
        };
        drop(before);
        Observation(new)
    }
}

/// An observer is told while this is kept. See [`ExpertAlloc::observe`].
///
/// ```
/// use expert_alloc::{Event, ExpertAlloc};
///
/// let observation = ExpertAlloc::new().observe(|event: &Event| println!("{}", event.name));
/// drop(observation);                               // from here on nobody is told
/// ```
#[must_use = "nobody is told any more when this is dropped"]
pub struct Observation(Arc<dyn Observer>);

impl Drop for Observation {
    fn drop(&mut self) {
        let mut place = lock();
        let gone = place.take_if(|observer| Arc::ptr_eq(observer, &self.0));
        IS_OBSERVED.store(place.is_some(), Relaxed);
        drop(place);
        drop(gone);
    }
}

impl fmt::Debug for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observation")
    }
}

/// Whether there is an observer that this thread must tell.
pub(crate) fn is_observed() -> bool {
    IS_OBSERVED.load(Relaxed) && !IS_CALLED.get()
}

/// Calls `f` with the observer, as the host; `None` if there is none, or if it panicked.
fn with<T>(f: impl FnOnce(&dyn Observer) -> T) -> Option<T> {
    /// Lets the observer be called again, also after a panic.
    struct Called;

    impl Drop for Called {
        fn drop(&mut self) {
            IS_CALLED.set(false);
        }
    }

    let observer = lock().clone()?;
    IS_CALLED.set(true);
    let called = Called;
    let result = Home::as_host(ExpertAlloc::new(), || {
        let result = catch_unwind(AssertUnwindSafe(|| f(&*observer)));
        // This may be the last reference.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(observer)));
        dropped.map_err(core::mem::forget).ok();
        result.map_err(core::mem::forget).ok()
    });
    drop(called);
    result
}

pub(crate) fn tell(event: &Event) {
    with(|observer| observer.happened(event));
}

pub(crate) fn ask(refusal: &Refusal) -> Verdict {
    with(|observer| observer.before_refusal(refusal)).unwrap_or_default()
}
