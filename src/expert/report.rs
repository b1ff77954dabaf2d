//! Reports: what every expert of a home holds, as rows and as a plain table.
//!
//! A row is copied to the stack while its expert is held in place, and only
//! then printed: a slow printer keeps no expert from ending. Nothing here
//! allocates.

use core::fmt::{self, Write};

use crate::engine::HOST_KEY;
use crate::expert::home::Home;
use crate::expert::name::Name;
use crate::expert::stats::Stats;
use crate::expert::visit::{State, Visit};
use crate::key::ExpertKey;
use crate::sync::Ordering::Acquire;
use crate::sync::fence;

/// What is known of one expert at one moment. `N` is the name, by value.
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
    /// Whether it may allocate, and if not, why.
    pub state: State,
    /// The key of its parent; where that has ended, of the nearest one above that
    /// has not.
    pub parent: Option<ExpertKey>,
    /// What it holds.
    pub stats: Stats,
    /// The soft limit of `stats.charged_bytes`; 0 for none.
    pub soft_quota: usize,
}

impl<N> ExpertSnapshot<N> {
    /// Whether more is charged than the soft quota allows.
    #[must_use]
    pub fn is_over_soft_quota(&self) -> bool {
        self.soft_quota != 0 && self.stats.charged_bytes > self.soft_quota
    }
}

/// A row of a home.
pub(crate) type Row<H> = ExpertSnapshot<<<H as Home>::Name as Name>::Copied>;

/// The row of the expert of `key`, or of the host.
///
/// # Errors
///
/// [`Error::InvalidKey`](crate::Error::InvalidKey) for a key that is nobody's.
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

/// The keys of the host and of all experts, in the order of their slots. Nothing
/// is held between one and the next.
pub(crate) fn keys<H: Home>(home: H) -> impl Iterator<Item = ExpertKey> {
    let keys = home.registry().numbers().filter_map(move |number| key_of(home, number));
    core::iter::once(HOST_KEY).chain(keys)
}

/// The key of the expert in a slot, a parent's, or of the next one above that has
/// not ended.
fn living_parent<H: Home>(home: H, mut number: usize) -> Option<ExpertKey> {
    while number != 0 {
        let slot = home.registry().reachable(number)?;
        match key_of(home, number) {
            Some(key) => return Some(key),
            // It is held for its children's sake, and so is its parent for its.
            None => number = slot.link(),
        }
    }
    None
}

/// The key of the expert in a slot now.
fn key_of<H: Home>(home: H, number: usize) -> Option<ExpertKey> {
    if number == 0 {
        return None;
    }
    let word = home.registry().reachable(number)?.word();
    word.is_taken().then(|| ExpertKey::new(number, word.generation()))?
}

fn name<H: Home>(visit: &Visit<'_, H>) -> <H::Name as Name>::Copied {
    match visit.slot() {
        None => H::Name::host(),
        Some(slot) => {
            let words = slot.name().load();
            // Acquire: pairs with the Release fence in `Slot::open`.
            fence(Acquire);
            // The expert may be shut meanwhile, but its slot is not taken again
            // before the visit ends.
            let word = slot.word();
            debug_assert!(word.is_of(visit.key()) || !word.is_taken(), "a visit keeps the slot");
            // SAFETY: S1: the visit keeps the slot from being taken again, so the
            // name is not written (T5).
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

/// The sum over the expert of `key` and all below it. Charges, peak and quota
/// are its own, in which its children's are.
///
/// # Errors
///
/// [`Error::InvalidKey`](crate::Error::InvalidKey) for a key that is no expert's.
#[cfg(feature = "capi")]
pub(crate) fn subtree<H: Home>(home: H, key: ExpertKey) -> Result<Stats, crate::Error> {
    let root = Visit::new(home, key)?;
    let mut sum = Stats::of(home.engine(), root.who());
    let keys = home.registry().numbers().filter_map(|number| key_of(home, number));
    for child in keys.filter_map(|key| Visit::new(home, key).ok()) {
        if child.slot().is_some_and(|slot| is_below(home, slot.link(), key)) {
            sum.add(&Stats::of(home.engine(), child.who()), true);
        }
    }
    Ok(sum)
}

/// Whether slot `number`, a parent's, is that of `key`, or below it. Whoever
/// calls visits a child of it, so that no slot on the way up is given back.
#[cfg(feature = "capi")]
fn is_below<H: Home>(home: H, mut number: usize, key: ExpertKey) -> bool {
    while number != 0 && Some(number) != key.slot() {
        number = home.registry().reachable(number).map_or(0, |slot| slot.link());
    }
    number != 0
}

/// A table with one row for the host, for each expert, and for the sum. Made
/// when it is printed.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let heap = ExpertAlloc::new();
/// let expert = heap.expert("top-users").quota(64 << 20).register()?;
/// let table = heap.report().to_string();
/// let row = table.lines().find(|line| line.contains("top-users")).unwrap();
/// assert!(row.contains("live") && row.contains("64.0 MiB"));
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Report<H>(pub(crate) H);

impl<H: Home> fmt::Display for Report<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(f)?;
        let mut total = Stats::default();
        for row in rows(self.0) {
            total.add(&row.stats, row.parent.is_some());
            let state = if row.is_over_soft_quota() && row.state == State::Live {
                "over soft quota"
            } else {
                row.state.as_str()
            };
            line(f, Text::of(row.key).as_str(), row.name.as_ref(), state, &row.stats)?;
        }
        line(f, "", "total", "", &total)
    }
}

impl<H: Home> fmt::Debug for Report<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn heading(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{:<8} {:<24} {:<15}", "key", "expert", "state")?;
    write!(f, " {:>10} {:>9} {:>10} {:>10}", "live", "blocks", "peak", "charged")?;
    writeln!(f, " {:>10} {:>12} {:>12} {:>8}", "quota", "allocations", "frees", "refused")
}

fn line(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    name: &str,
    state: &str,
    stats: &Stats,
) -> fmt::Result {
    let size = |bytes: usize| Text::of(Size(bytes));
    let quota = if stats.quota == 0 { Text::of("-") } else { size(stats.quota) };
    write!(f, "{key:<8} {} {state:<15}", Column(name))?;
    write!(f, " {:>10} {:>9}", size(stats.live_bytes).as_str(), stats.live_blocks)?;
    write!(f, " {:>10}", size(stats.peak_bytes).as_str())?;
    write!(f, " {:>10} {:>10}", size(stats.charged_bytes).as_str(), quota.as_str())?;
    writeln!(f, " {:>12} {:>12} {:>8}", stats.allocations, stats.frees, stats.refusals)
}

/// A name, 24 characters wide. It came from a plug-in: what would end the line,
/// or the like, is shown as a question mark.
struct Column<'a>(&'a str);

impl fmt::Display for Column<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.chars().map(|c| if c.is_control() { '?' } else { c });
        shown.chain(core::iter::repeat(' ')).take(24).try_for_each(|c| f.write_char(c))
    }
}

/// A size in the largest unit that leaves at least one whole: `1.5 MiB`.
struct Size(usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let exponent = (self.0.ilog2() / 10).min(UNITS.len() as u32);
        // Cut, not rounded: what is full reads as full only when it is.
        let tenths = ((self.0 >> (10 * (exponent - 1))) as u128 * 10) >> 10;
        write!(f, "{}.{} {}", tenths / 10, tenths % 10, UNITS[exponent as usize - 1])
    }
}

/// A short text on the stack, to be padded. What does not fit is cut.
struct Text {
    bytes: [u8; 24],
    length: usize,
}

impl Text {
    fn of(value: impl fmt::Display) -> Self {
        let mut text = Self { bytes: [0; 24], length: 0 };
        // Fails only where the value is cut.
        let _ = write!(text, "{value}");
        text
    }

    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or("?")
    }
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let free = &mut self.bytes[self.length..];
        let taken = s.len().min(free.len());
        free[..taken].copy_from_slice(&s.as_bytes()[..taken]);
        self.length += taken;
        if taken == s.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn sizes_are_cut_to_a_tenth() {
        let text = |bytes| Text::of(Size(bytes)).as_str().to_string();
        assert_eq!(text(0), "0 B");
        assert_eq!(text(1023), "1023 B");
        assert_eq!(text(1024), "1.0 KiB");
        assert_eq!(text((1 << 20) - 1), "1023.9 KiB");
        assert_eq!(text(64 << 20), "64.0 MiB");
        assert_eq!(text(3 << 29), "1.5 GiB");
    }
}
