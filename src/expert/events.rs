//! Events: what the host's observer is told of experts, and asked before a
//! refusal. Never from inside an allocation, and with no lock held: what happens
//! in there is noticed by a *look* at a safe point afterwards.
//!
//! ```text
//!  told at once     registered, told to stop, ended
//!  told at a look   soft quota passed, refused, overdrawn
//!
//!  a look           after `run`, after a poll of `run_async`, after a handle or
//!                   raw call was refused, before the end
//! ```
//!
//! Invariants
//!
//! - TOLD1 a slot's `told` says what the observer was told of its expert: each
//!   overdraft and each passing of a soft quota once, each refusal in one count.

use crate::expert::family;
use crate::expert::home::{CopiedOf, Home, SlotOf};
use crate::expert::name::Hosted;
use crate::expert::owned_name::NameCopy;
use crate::expert::report;
use crate::expert::stats::Reclaimed;
use crate::key::ExpertKey;
use crate::sync::{AtomicU32, Ordering::Relaxed};

/// Told: the soft quota was passed.
const SOFT: u32 = 1;
/// Told: memory beyond the quota was granted.
const OVERDRAWN: u32 = 2;
/// Told: one refusal more.
const REFUSAL: u32 = 4;

/// What the observer was told of one expert (TOLD1).
pub(crate) struct Told(AtomicU32);

impl Told {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// For the slot's next expert.
    pub(crate) fn reset(&self) {
        self.0.store(0, Relaxed);
    }

    /// Lets the soft quota be passed once more.
    pub(crate) fn forget_soft(&self) {
        self.0.fetch_and(!SOFT, Relaxed);
    }

    /// Whether `flag` was not set before.
    fn is_new(&self, flag: u32) -> bool {
        self.0.load(Relaxed) & flag == 0 && self.0.fetch_or(flag, Relaxed) & flag == 0
    }

    /// How many of the refusals up to now are news.
    fn new_refusals(&self, refusals: usize) -> u32 {
        // The count wraps, like that in the flags.
        let now = (refusals as u32).wrapping_mul(REFUSAL);
        let count = |told: u32| Some(told & (REFUSAL - 1) | now);
        let before = self.0.fetch_update(Relaxed, Relaxed, count).unwrap_or(now);
        now.wrapping_sub(before & !(REFUSAL - 1)) / REFUSAL
    }
}

/// Something that happened to an expert.
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

/// What an [`Event`] is about.
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
    /// More than its soft quota was charged: told once, and again after
    /// [`set_soft_quota`](crate::Expert::set_soft_quota).
    SoftQuotaPassed {
        /// Bytes charged at the look.
        charged_bytes: usize,
    },
    /// Requests of it were refused since the last look.
    Refused {
        /// How many.
        refusals: u32,
        /// Who holds most of the quota that had the least room.
        largest: Largest<N>,
    },
    /// It was granted more than its quota, and is to stop.
    Overdrawn {
        /// Bytes charged at the look.
        charged_bytes: usize,
    },
    /// It was told to stop.
    Stopped,
    /// It has ended, in whatever way: with this.
    Ended(Reclaimed),
}

/// A request that a quota has no room for, before it is refused.
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
    /// How many bytes it asked for; of a task that is overdrawn, how many it
    /// holds beyond the quota.
    pub bytes: usize,
    /// Whose quota had the least room: the expert's own, or that of one above.
    pub by: ExpertKey,
    /// Who holds most of that quota.
    pub largest: Largest<N>,
}

/// What to do about a [`Refusal`].
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

/// How much one expert holds.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let heap = ExpertAlloc::new();
/// let tenant = heap.expert("tenant").register()?;
/// let query = heap.expert("query").parent(&tenant).register()?;
/// query.alloc(100)?;
/// let largest = tenant.largest_children();
/// let holding = largest.iter().next().unwrap();
/// assert_eq!((holding.key, holding.name.as_str()), (query.key(), "query"));
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Holding<N = NameCopy> {
    /// Whose.
    pub key: ExpertKey,
    /// Its name.
    pub name: N,
    /// Bytes charged to it and all below it.
    pub charged_bytes: usize,
}

/// The five who hold most, the largest first.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let tenant = ExpertAlloc::new().expert("tenant").register()?;
/// assert_eq!(tenant.largest_children().iter().count(), 0);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Largest<N = NameCopy>([Option<Holding<N>>; 5]);

impl<N: Copy> Largest<N> {
    pub(crate) const NONE: Self = Self([None; 5]);

    /// The experts that hold most, the largest first.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let tenant = heap.expert("tenant").register()?;
    /// let small = heap.expert("small").parent(&tenant).register()?;
    /// let large = heap.expert("large").parent(&tenant).register()?;
    /// small.alloc(100)?;
    /// large.alloc(1 << 20)?;
    /// let largest = tenant.largest_children();
    /// assert_eq!(largest.iter().next().unwrap().key, large.key());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = &Holding<N>> {
        self.0.iter().flatten()
    }

    /// Puts in one more, if it is among the largest.
    pub(crate) fn add(&mut self, holding: Holding<N>) {
        let is_smaller = |place: &Option<Holding<N>>| {
            place.is_none_or(|kept| kept.charged_bytes < holding.charged_bytes)
        };
        if let Some(place) = self.0.iter().position(is_smaller) {
            self.0[place..].rotate_right(1);
            self.0[place] = Some(holding);
        }
    }
}

/// Who is told, and asked.
///
/// A closure that takes an `&Event` is one, which refuses nothing and grants
/// nothing. It is called as the host, with no lock held. What it throws goes
/// nowhere; while it runs, it is told nothing by its own thread.
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

    /// A handle or raw call, or the next poll of a task that is overdrawn, is
    /// about to be refused. Outside the allocator: this may free memory, raise
    /// quotas, or tell another expert to stop. Asked a few times at most for one
    /// request.
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

/// The event of this kind; `None` where the key is stale.
pub(crate) fn event<H: Home>(
    home: H,
    key: ExpertKey,
    kind: EventKind<CopiedOf<H>>,
) -> Option<Event<CopiedOf<H>>> {
    let row = report::row(home, key).ok()?;
    Some(Event { key, name: row.name, parent: row.parent, kind })
}

/// Tells the observer, if there is one.
pub(crate) fn tell<H: Home>(home: H, key: ExpertKey, kind: EventKind<CopiedOf<H>>) {
    if home.is_observed() {
        if let Some(event) = event(home, key, kind) {
            home.tell(&event);
        }
    }
}

/// Tells the observer what has happened in allocations since the last look.
#[inline]
pub(crate) fn look<H: Home>(home: H, key: ExpertKey, slot: &SlotOf<H>) {
    if home.is_observed() {
        look_closely(home, key, slot);
    }
}

#[cold]
fn look_closely<H: Home>(home: H, key: ExpertKey, slot: &SlotOf<H>) {
    let account = slot.account();
    let Some(Hosted { told, .. }) = slot.hosted() else { return };
    let charged_bytes = account.charged();
    let soft = account.soft_quota();
    if soft != 0 && account.peak() > soft && told.is_new(SOFT) {
        tell(home, key, EventKind::SoftQuotaPassed { charged_bytes });
    }
    let refusals = told.new_refusals(account.refusals());
    if refusals != 0 {
        let largest = family::largest(home, family::tightest(home, key));
        tell(home, key, EventKind::Refused { refusals, largest });
    }
    if account.is_overdrawn() && told.is_new(OVERDRAWN) {
        tell(home, key, EventKind::Overdrawn { charged_bytes });
    }
}

/// Asks the observer before a request for `bytes` is refused: whether to try
/// once more.
#[cold]
pub(crate) fn ask<H: Home>(home: H, key: ExpertKey, bytes: usize) -> bool {
    if !home.is_observed() {
        return false;
    }
    let Ok(row) = report::row(home, key) else { return false };
    let by = family::tightest(home, key);
    let largest = family::largest(home, by);
    home.ask(&Refusal { key, name: row.name, bytes, by, largest }) == Verdict::Retry
}
