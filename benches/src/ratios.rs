//! Our figures over those of the best peer.

use crate::before::BEFORE;
use crate::groups::Group;
use crate::peers::OURS;
use crate::plan::SMALL;
use crate::results::{Cell, Measured, Sample};

/// The number of owners in our column that is compared with other allocators.
const OWNERS: usize = 10;

/// The suffix of a column in which an allocator does the work of owners without any owner.
pub const NO_OWNERS: &str = ", no owners";

/// The resolution of memory figures in bytes: the kernel counts resident pages per core in
/// batches.
pub const RESOLUTION: f64 = 256.0 * 1024.0;

/// The peers that our memory is compared with.
const MEMORY_PEERS: [&str; 5] =
    ["mimalloc 3", "mimalloc 3.6", "mimalloc 2", "jemalloc", "snmalloc"];

/// The one of our columns that is compared with the peers'.
fn our_column(group: Group) -> String {
    match group {
        Group::Attribution => format!("scopes of {OWNERS}"),
        Group::Small => SMALL[0].to_owned(),
        _ => OURS.name.to_owned(),
    }
}

/// Whether a column is one of ours, with whatever way to allocate.
pub fn is_ours(column: &str) -> bool {
    column == OURS.name
        || column == SMALL[0]
        || column.ends_with(BEFORE)
        || ["ours, ", "scopes of ", "handles of "].iter().any(|&start| column.starts_with(start))
}

/// Whether our column is compared with this one: it is another allocator's, with as many
/// owners as ours has.
fn is_peer(column: &str) -> bool {
    let owners = column.rsplit_once(", ").and_then(|(_, owners)| owners.parse().ok());
    !is_ours(column)
        && !column.ends_with(NO_OWNERS)
        && owners.is_none_or(|owners: usize| owners == OWNERS)
}

/// The name of the ratios of a group's rows.
pub fn name(group: Group) -> String {
    match group {
        Group::Attribution => format!("{} / best peer", our_column(group)),
        _ => "ours / best peer".to_owned(),
    }
}

/// Our figure over the best peer's, round by round. The best peer is the one that beats us
/// by most.
pub fn to_best(row: &Measured) -> Option<f64> {
    let ours = row.cell(&our_column(row.group))?;
    let peers = row.cells.iter().filter(|cell| is_peer(&cell.column));
    if row.unit.starts_with("MiB") {
        // The remaining memory of a process can be 0, or even negative.
        let known = |cell: &Cell| cell.figure().max(RESOLUTION / (1 << 20) as f64);
        let best = peers.map(known).filter(|mib| mib.is_finite()).min_by(f64::total_cmp)?;
        return Some(known(ours) / best);
    }
    let ratios = peers.map(|peer| ours.ratio_to(peer)).filter(|ratio| !ratio.is_nan());
    if row.more_is_better() { ratios.min_by(f64::total_cmp) } else { ratios.max_by(f64::total_cmp) }
}

/// Our memory over that of the peer with the least memory.
pub fn to_smallest(row: &Measured, bytes: fn(&Sample) -> f64) -> Option<f64> {
    let ours = row.cell(OURS.name)?.median(bytes);
    let peers = MEMORY_PEERS.iter().filter_map(|&column| Some(row.cell(column)?.median(bytes)));
    // An allocator that crashed has used no memory.
    let smallest = peers.filter(|&bytes| bytes > 0.0).min_by(f64::total_cmp)?;
    Some(ours / smallest.max(RESOLUTION))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(group: Group, unit: &str, figures: &[(&str, Option<f64>)]) -> Measured {
        let cell = |&(column, value): &(&str, Option<f64>)| Cell {
            column: column.to_owned(),
            samples: vec![Sample::only(value)],
        };
        let cells = figures.iter().map(cell).collect();
        Measured { group, row: "row".to_owned(), unit: unit.to_owned(), cells }
    }

    #[test]
    fn the_best_has_the_least_time() {
        let figures = [("expert-alloc", Some(6.0)), ("glibc", Some(8.0)), ("jemalloc", Some(4.0))];
        assert_eq!(to_best(&row(Group::Beyond, "ns", &figures)), Some(1.5));
        assert_eq!(to_best(&row(Group::Beyond, "ns", &figures[..1])), None);
        assert_eq!(to_best(&row(Group::Beyond, "ns", &figures[1..])), None);
    }

    #[test]
    fn the_best_uses_most_of_the_region() {
        let figures = [("ExpertHeap", Some(0.6)), ("talc", Some(0.5)), ("rlsf", Some(0.8))];
        let ratio = to_best(&row(Group::Small, "of the region", &figures)).unwrap();
        assert!((ratio - 0.75).abs() < 1e-9);
    }

    #[test]
    fn nothing_left_is_no_less_than_can_be_known() {
        let figures = [("expert-alloc", Some(1.0)), ("glibc", Some(-0.1)), ("jemalloc", Some(2.0))];
        assert_eq!(to_best(&row(Group::GivingBack, "MiB", &figures)), Some(4.0));
    }

    #[test]
    fn what_could_not_run_is_no_peer() {
        let figures = [("expert-alloc", Some(32.0)), ("snmalloc", None)];
        assert_eq!(to_best(&row(Group::Instructions, "instructions", &figures)), None);
    }

    #[test]
    fn our_other_columns_are_no_peers() {
        let figures = [("expert-alloc", Some(1.0)), ("ours, one by one", Some(0.1))];
        assert_eq!(to_best(&row(Group::Reclaim, "ns", &figures)), None);
    }

    #[test]
    fn owners_are_compared_with_as_many_owners() {
        let figures = [
            ("ours, no experts", Some(1.0)),
            ("scopes of 10", Some(6.0)),
            ("tracking, 1", Some(1.0)),
            ("tracking, 10", Some(4.0)),
            ("cap", Some(3.0)),
        ];
        assert_eq!(to_best(&row(Group::Attribution, "ns", &figures)), Some(2.0));
        assert_eq!(to_best(&row(Group::Attribution, "ns", &figures[..4])), Some(1.5));
    }

    #[test]
    fn who_has_no_owners_is_no_peer_of_those_with() {
        let figures = [("expert-alloc", Some(6.0)), ("glibc, no owners", Some(1.0))];
        assert_eq!(to_best(&row(Group::SmallOwners, "ns", &figures)), None);
    }

    #[test]
    fn memory_is_compared_with_the_smallest_but_not_below_what_is_known() {
        let memory = |bytes: &[(&str, f64)]| {
            let mut row = row(Group::Single, "ns", &[]);
            for &(column, peak_bytes) in bytes {
                let samples = vec![Sample { peak_bytes, ..Sample::only(None) }];
                row.cells.push(Cell { column: column.to_owned(), samples });
            }
            to_smallest(&row, |sample| sample.peak_bytes)
        };
        let ours = ("expert-alloc", 3.0 * RESOLUTION);
        assert_eq!(memory(&[ours, ("jemalloc", 2.0 * RESOLUTION), ("snmalloc", 0.0)]), Some(1.5));
        assert_eq!(memory(&[ours, ("jemalloc", 1000.0)]), Some(3.0));
        assert_eq!(memory(&[ours, ("glibc", 2.0 * RESOLUTION)]), None);
    }
}
