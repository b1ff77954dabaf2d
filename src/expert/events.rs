//! Events of experts, which the host's observer is told, and the question before a refusal.
//! This file has the types; `look.rs` creates events, and `told.rs` remembers which were
//! reported.

use core::fmt;

use crate::expert::largest::{Largest, held_by};
use crate::expert::owned_name::NameCopy;
use crate::expert::shown::{Shown, Size};
use crate::expert::stats::Reclaimed;
use crate::key::ExpertKey;

/// Something that happened to an expert. Displayed in one line for a log.
///
/// ```
/// use expert_alloc::{Event, EventKind, ExpertAlloc};
/// use std::sync::Mutex;
///
/// static ENDED: Mutex<Vec<(String, usize)>> = Mutex::new(Vec::new());
///
/// let heap = ExpertAlloc::new();
/// let observation = heap.observe(|event: &Event| {
///     if let EventKind::Ended(reclaimed) = event.kind {
///         ENDED.lock().unwrap().push((event.name.to_string(), reclaimed.blocks));
///     }
/// });
/// let expert = heap.expert("leaky").register()?;
/// expert.alloc(100)?;
/// drop(expert);
/// drop(observation);
/// assert_eq!(*ENDED.lock().unwrap(), [("leaky".to_string(), 1)]);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<N = NameCopy> {
    /// The expert's key, which is stale when it has ended.
    pub key: ExpertKey,
    /// Its name.
    pub name: N,
    /// Its parent, as in [`ExpertSnapshot`](crate::ExpertSnapshot).
    pub parent: Option<ExpertKey>,
    /// What happened.
    pub kind: EventKind<N>,
}

/// The kind of an [`Event`]. Displayed in words; a refusal names the five who hold
/// most.
///
/// ```
/// use expert_alloc::EventKind;
///
/// fn is_alarming(kind: &EventKind) -> bool {
///     matches!(kind, EventKind::Refused { .. } | EventKind::Overdrawn { .. })
/// }
/// assert!(!is_alarming(&EventKind::Registered));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum EventKind<N = NameCopy> {
    /// It was registered.
    Registered,
    /// More than its soft quota was charged. This is reported once, and again after
    /// [`set_soft_quota`](crate::Expert::set_soft_quota).
    SoftQuotaPassed {
        /// Bytes charged when this was noticed.
        charged_bytes: usize,
    },
    /// Some of its requests were refused since the last event of this kind.
    Refused {
        /// How many.
        refusals: u32,
        /// The largest holders of the quota that had the least room.
        largest: Largest<N>,
    },
    /// It was granted more than its quota, and must stop.
    Overdrawn {
        /// Bytes charged when this was noticed.
        charged_bytes: usize,
    },
    /// It was told to stop.
    Stopped,
    /// It has ended, with this report.
    Ended(Reclaimed),
}

/// A request that a quota has no room for, before it is refused. Displayed in one line
/// that names the five who hold most.
///
/// ```
/// use expert_alloc::{Event, ExpertAlloc, Observer, Refusal, Verdict};
///
/// struct Generous;
///
/// impl Observer for Generous {
///     fn happened(&self, _: &Event) {}
///
///     fn before_refusal(&self, refusal: &Refusal) -> Verdict {
///         ExpertAlloc::new().set_quota(refusal.by, 1 << 20).map_or(Verdict::Refuse, |()| Verdict::Retry)
///     }
/// }
///
/// let heap = ExpertAlloc::new();
/// let _observation = heap.observe(Generous);
/// let expert = heap.expert("growing").quota(64 << 10).register()?;
/// assert!(expert.alloc(100 << 10).is_ok());
/// assert_eq!(expert.stats().quota, 1 << 20);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Refusal<N = NameCopy> {
    /// Who asked.
    pub key: ExpertKey,
    /// Its name.
    pub name: N,
    /// How many bytes it asked for; for a task that is overdrawn, how many it holds beyond
    /// the quota.
    pub bytes: usize,
    /// The expert whose quota had the least room: the expert itself, or one above.
    pub by: ExpertKey,
    /// The largest holders of that quota.
    pub largest: Largest<N>,
}

impl<N: Copy + AsRef<str>> fmt::Display for Event<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Shown(self.name.as_ref()), self.kind)
    }
}

impl<N: Copy + AsRef<str>> fmt::Display for EventKind<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered => f.write_str("registered"),
            Self::SoftQuotaPassed { charged_bytes } => {
                write!(f, "soft quota passed, {} charged", Size(*charged_bytes))
            }
            Self::Refused { refusals, largest } => {
                write!(f, "{refusals} refused")?;
                held_by(largest, f)
            }
            Self::Overdrawn { charged_bytes } => {
                write!(f, "quota overdrawn, {} charged", Size(*charged_bytes))
            }
            Self::Stopped => f.write_str("told to stop"),
            Self::Ended(reclaimed) => write!(f, "ended, {reclaimed}"),
        }
    }
}

impl<N: Copy + AsRef<str>> fmt::Display for Refusal<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} asks for {}", Shown(self.name.as_ref()), Size(self.bytes))?;
        held_by(&self.largest, f)
    }
}

/// The answer to a [`Refusal`].
///
/// ```
/// assert_eq!(expert_alloc::Verdict::default(), expert_alloc::Verdict::Refuse);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// There may be room now: memory was freed, or a quota raised.
    Retry,
    /// It stays refused.
    #[default]
    Refuse,
}

/// The interface of an observer, which is told of events and asked before refusals.
///
/// A closure that takes an `&Event` is an observer that always lets requests be refused. It
/// is called as the host, with no lock held. Its panics are discarded, and events in its
/// own thread while it runs are not reported.
///
/// ```
/// use expert_alloc::{Event, ExpertAlloc, Observer};
///
/// struct Log;
///
/// impl Observer for Log {
///     fn happened(&self, event: &Event) {
///         println!("{}: {:?}", event.name, event.kind);
///     }
/// }
/// let _observation = ExpertAlloc::new().observe(Log);
/// ```
pub trait Observer: Send + Sync {
    /// Something has happened to an expert.
    ///
    /// ```
    /// use expert_alloc::{Event, ExpertAlloc, Observer};
    /// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    ///
    /// static EVENTS: AtomicUsize = AtomicUsize::new(0);
    /// struct Counts;
    ///
    /// impl Observer for Counts {
    ///     fn happened(&self, _: &Event) {
    ///         EVENTS.fetch_add(1, Relaxed);
    ///     }
    /// }
    ///
    /// let heap = ExpertAlloc::new();
    /// let _observation = heap.observe(Counts);
    /// let _ = heap.expert("short").register()?.finish();
    /// assert!(EVENTS.load(Relaxed) >= 1);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    fn happened(&self, event: &Event);

    /// A handle or raw call, or the next poll of a task that is overdrawn, is about to be
    /// refused. It is called outside of the allocator, so it may free memory, raise quotas,
    /// or tell another expert to stop. It is asked at most a few times for one request.
    ///
    /// ```
    /// use expert_alloc::{Event, ExpertAlloc, Observer, Refusal, Verdict};
    ///
    /// struct Strict;
    ///
    /// impl Observer for Strict {
    ///     fn happened(&self, _: &Event) {}
    ///
    ///     fn before_refusal(&self, _: &Refusal) -> Verdict {
    ///         Verdict::Refuse
    ///     }
    /// }
    ///
    /// let heap = ExpertAlloc::new();
    /// let _observation = heap.observe(Strict);
    /// let expert = heap.expert("small").quota(64 << 10).register()?;
    /// assert!(expert.alloc(1 << 20).is_err());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    fn before_refusal(&self, refusal: &Refusal) -> Verdict {
        let _ = refusal;
        Verdict::Refuse
    }
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn happened(&self, event: &Event) {
        self(event);
    }
}
