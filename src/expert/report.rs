//! Reports: the figures of every expert of a home, as rows.
//!
//! A row is copied to the stack while its expert is held in place, and then used
//! without it: a slow reader keeps no expert from ending. Nothing here allocates.

use crate::engine::HOST_KEY;
use crate::expert::home::Home;
use crate::expert::name::Name;
use crate::expert::stats::Stats;
use crate::expert::visit::{State, Visit};
use crate::key::ExpertKey;
use crate::sync::Ordering::Acquire;
use crate::sync::{Window, delay, fence};

/// The figures of one expert at one moment. `N` is the name, by value.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let heap = ExpertAlloc::new();
/// let expert = heap.expert("one").soft_quota(1 << 20).register()?;
/// let row = expert.snapshot();
/// assert_eq!((row.key, row.parent, row.soft_quota), (expert.key(), None, 1 << 20));
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpertSnapshot<N> {
    /// Its key.
    pub key: ExpertKey,
    /// Its name, as far as it was kept.
    pub name: N,
    /// Whether it may allocate, and the reason if not.
    pub state: State,
    /// The key of its parent; if the parent has ended, of the nearest one above that
    /// has not.
    pub parent: Option<ExpertKey>,
    /// Its figures.
    pub stats: Stats,
    /// The soft limit of `stats.charged_bytes`; 0 for none.
    pub soft_quota: usize,
}

impl<N> ExpertSnapshot<N> {
    /// Whether more is charged than the soft quota allows.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let expert = ExpertAlloc::new().expert("growing").soft_quota(64 << 10).register()?;
    /// assert!(!expert.snapshot().is_over_soft_quota());
    /// expert.alloc(100 << 10)?;
    /// assert!(expert.snapshot().is_over_soft_quota());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn is_over_soft_quota(&self) -> bool {
        self.soft_quota != 0 && self.stats.charged_bytes > self.soft_quota
    }
}

/// The row of an expert of a home.
pub(crate) type Row<H> = ExpertSnapshot<<H as Home>::Text>;

/// The row of the expert of `key`, or of the host.
///
/// # Errors
///
/// [`Error::InvalidKey`](crate::Error::InvalidKey) for a key of no live expert.
pub(crate) fn row<H: Home>(home: H, key: ExpertKey) -> Result<Row<H>, crate::Error> {
    let visit = Visit::new(home, key)?;
    let who = visit.who();
    Ok(ExpertSnapshot {
        key,
        name: name(&visit),
        state: visit.state(),
        parent: visit.slot().and_then(|slot| living_parent(home, slot.link())),
        stats: Stats::of(home.engine(), who),
        soft_quota: who.account.soft_quota(),
    })
}

/// The rows of the host and of all experts, in the order of their slots.
pub(crate) fn rows<H: Home>(home: H) -> impl Iterator<Item = Row<H>> {
    keys(home).filter_map(move |key| row(home, key).ok())
}

/// The keys of the host and of all experts, in the order of their slots. No expert is held
/// in place between one key and the next.
pub(crate) fn keys<H: Home>(home: H) -> impl Iterator<Item = ExpertKey> {
    let keys = home.registry().numbers().filter_map(move |number| key_of(home, number));
    core::iter::once(HOST_KEY).chain(keys)
}

/// The key of the expert in a slot; if it has ended, of the nearest one above that has not.
fn living_parent<H: Home>(home: H, mut number: usize) -> Option<ExpertKey> {
    while number != 0 {
        let slot = home.registry().reachable(number)?;
        match key_of(home, number) {
            Some(key) => return Some(key),
            // Children keep the slot in place, and the slot keeps that of its parent.
            None => number = slot.link(),
        }
    }
    None
}

/// The key of the expert in a slot now.
pub(crate) fn key_of<H: Home>(home: H, number: usize) -> Option<ExpertKey> {
    if number == 0 {
        return None;
    }
    let word = home.registry().reachable(number)?.word();
    word.is_taken().then(|| ExpertKey::new(number, word.generation()))?
}

fn name<H: Home>(visit: &Visit<'_, H>) -> H::Text {
    match visit.slot() {
        None => H::Name::host(),
        Some(slot) => {
            let words = slot.name().load();
            delay(Window::ReadName);
            // Acquire: pairs with the Release fence in `Slot::open`.
            fence(Acquire);
            // The expert may be shut meanwhile, but its slot is not taken again
            // before the visit ends.
            let word = slot.word();
            debug_assert!(word.is_of(visit.key()) || !word.is_taken(), "a visit keeps the slot");
            // SAFETY: S1: the visit keeps the slot from being taken again, so the
            // name is not written (SLOT5).
            unsafe { H::Name::read(words) }
        }
    }
}

/// The sum over the host and all experts.
pub(crate) fn total<H: Home>(home: H) -> Stats {
    let mut total = Stats::default();
    rows(home).for_each(|row| total.add(&row.stats, row.parent.is_some()));
    total
}
