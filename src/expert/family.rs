//! Families: an expert with its children, their children, and so on.
//!
//! There is no list of children. The links of the slots tell which expert is below which
//! (SLOT4), so a child costs nothing extra. A parent that has ended lingers in its slot, so
//! the way up stays whole.

use crate::engine::HOST_KEY;
use crate::expert::home::Home;
use crate::expert::largest::{Holding, Largest};
use crate::expert::report;
use crate::expert::stats::Stats;
use crate::expert::visit::Visit;
use crate::key::ExpertKey;

/// Whether the slot `number` is below the slot `ancestor`: a child's, a grandchild's, and
/// so on.
fn is_below<H: Home>(home: H, number: usize, ancestor: usize) -> bool {
    let registry = home.registry();
    // Bounded: a slot that is released meanwhile links to another free one.
    let mut steps = *registry.numbers().end();
    let mut above = registry.reachable(number).map_or(0, |slot| slot.link());
    while above != 0 && above != ancestor && steps != 0 {
        above = registry.reachable(above).map_or(0, |slot| slot.link());
        steps -= 1;
    }
    above == ancestor
}

/// The experts below that of `key` which have not ended, in the order of their slots. Each
/// is held in place until the next one is asked for.
pub(crate) fn descendants<'a, H: Home + 'a>(
    home: H,
    key: ExpertKey,
) -> impl Iterator<Item = Visit<'a, H>> {
    let ancestor = key.slot().filter(|_| key != HOST_KEY);
    let numbers = ancestor
        .into_iter()
        .flat_map(move |ancestor| home.registry().numbers().map(move |number| (number, ancestor)));
    numbers.filter_map(move |(number, ancestor)| {
        // This check comes before the visit, because most experts are no relatives.
        if !is_below(home, number, ancestor) {
            return None;
        }
        let visit = Visit::new(home, report::key_of(home, number)?).ok()?;
        // The check is repeated, because only now the slot, and the slots above it, cannot
        // change.
        is_below(home, number, ancestor).then_some(visit)
    })
}

/// The sum of the figures of the expert of `visit` and all below it. Charges, their peak
/// and the quota are those of the expert, in whose figures the others' are.
pub(crate) fn subtree<H: Home>(home: H, key: ExpertKey, own: Stats) -> Stats {
    let mut sum = own;
    descendants(home, key).for_each(|child| {
        sum.add(&Stats::of(home.engine(), child.who()), true);
    });
    sum
}

/// The expert whose quota has the least room: the expert of `key`, or one above it that has
/// not ended.
pub(crate) fn tightest<H: Home>(home: H, key: ExpertKey) -> ExpertKey {
    let (mut tightest, mut least) = (key, usize::MAX);
    for number in upwards(home, key) {
        let Some(slot) = home.registry().reachable(number) else { break };
        let account = slot.account();
        let room = match account.quota() {
            0 => usize::MAX,
            quota => quota.saturating_sub(account.charged()),
        };
        if let Some(here) = report::key_of(home, number).filter(|_| room < least) {
            (tightest, least) = (here, room);
        }
    }
    tightest
}

/// The slot of `key`, its parent's, and so on up.
fn upwards<H: Home>(home: H, key: ExpertKey) -> impl Iterator<Item = usize> {
    let slot = |number: usize| Some(number).filter(|&number| number != 0);
    let above = move |&number: &usize| slot(home.registry().reachable(number)?.link());
    let first = slot(key.slot().unwrap_or(0));
    // Bounded: a slot that is released meanwhile links to another free one.
    core::iter::successors(first, above).take(*home.registry().numbers().end())
}

/// The largest holders of the quota of `key`: its children, or itself if it has none.
pub(crate) fn largest<H: Home>(home: H, key: ExpertKey) -> Largest<H::Text> {
    let mut largest = largest_children(home, key);
    if largest.iter().next().is_none() {
        report::row(home, key).iter().for_each(|row| largest.add(holding(row)));
    }
    largest
}

/// The children of `key` that hold most.
pub(crate) fn largest_children<H: Home>(home: H, key: ExpertKey) -> Largest<H::Text> {
    let slot = key.slot().and_then(|number| home.registry().reachable(number));
    // A search for children looks at all slots, so it is skipped for an expert that never
    // had any.
    let is_parent = slot.is_some_and(|slot| slot.account().is_parent());
    let children = is_parent.then(|| descendants(home, key)).into_iter().flatten();
    let rows = children.filter_map(|child| report::row(home, child.key()).ok());
    of_rows(rows.filter(|row| row.parent == Some(key)))
}

/// The largest holders of all memory: the host, and experts without a parent.
pub(crate) fn largest_of_all<H: Home>(home: H) -> Largest<H::Text> {
    of_rows(report::rows(home).filter(|row| row.parent.is_none()))
}

fn of_rows<N: Copy>(rows: impl Iterator<Item = report::ExpertSnapshot<N>>) -> Largest<N> {
    let mut largest = Largest::NONE;
    rows.for_each(|row| largest.add(holding(&row)));
    largest
}

/// The holder that a row describes.
pub(crate) fn holding<N: Copy>(row: &report::ExpertSnapshot<N>) -> Holding<N> {
    Holding { key: row.key, name: row.name, charged_bytes: row.stats.charged_bytes }
}
