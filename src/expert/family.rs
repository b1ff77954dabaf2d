//! Families: an expert with its children, their children, and so on.
//!
//! There is no list of children: who is below whom is read from the links of
//! the slots (T4), so that to be a child costs nothing. A parent that has ended
//! lingers in its slot, so the way up stays whole.

use crate::engine::HOST_KEY;
use crate::expert::home::Home;
use crate::expert::report;
use crate::expert::stats::Stats;
use crate::expert::visit::Visit;
use crate::key::ExpertKey;

/// Whether the slot `number` is below the slot `ancestor`: a child's, a
/// grandchild's.
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

/// Those below the expert of `key` that have not ended, in the order of their
/// slots. Each stays until the next is asked for.
pub(crate) fn descendants<'a, H: Home + 'a>(
    home: H,
    key: ExpertKey,
) -> impl Iterator<Item = Visit<'a, H>> {
    let ancestor = key.slot().filter(|_| key != HOST_KEY);
    let numbers = ancestor
        .into_iter()
        .flat_map(move |ancestor| home.registry().numbers().map(move |number| (number, ancestor)));
    numbers.filter_map(move |(number, ancestor)| {
        // A look before the visit: most are no relatives.
        if !is_below(home, number, ancestor) {
            return None;
        }
        let visit = Visit::new(home, report::key_of(home, number)?).ok()?;
        // Once more: now the slot, and those above it, stay as they are.
        is_below(home, number, ancestor).then_some(visit)
    })
}

/// What the expert of `visit` and all below it hold together. Charges, their
/// peak and the quota are those of the expert, in whose figures the others' are.
pub(crate) fn subtree<H: Home>(home: H, key: ExpertKey, own: Stats) -> Stats {
    let mut sum = own;
    descendants(home, key).for_each(|child| {
        sum.add(&Stats::of(home.engine(), child.who()), true);
    });
    sum
}
