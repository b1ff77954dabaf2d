//! Queries of a database, all alive at once. Each has three owners, one per
//! operator: a scan that makes rows, a sort that orders them, and a sum per
//! group. The operators take turns, ten rows each.

use std::collections::BTreeMap;
use std::hint::black_box;

use crate::owners::Owners;
use bench_peers::measure::{Resident, Run};
use bench_peers::random::Random;

/// Rows that an operator handles in its turn.
const BATCH: usize = 10;

/// The data that the operators of one query hold.
#[derive(Default)]
struct Data {
    scanned: Vec<String>,
    /// A row's key and its number.
    sorted: Vec<(u64, u32)>,
    sums: BTreeMap<u64, u64>,
}

struct Query<O> {
    owners: O,
    data: Data,
}

impl<O: Owners> Query<O> {
    fn run(rows: usize, random: &mut Random) -> Self {
        let (scan, sort, sum) = (0, 1, 2);
        let mut owners = O::register(3);
        let mut data = Data::default();
        for from in (0..rows).step_by(BATCH) {
            let batch = from..(from + BATCH).min(rows);
            owners.turn(scan, || {
                for _ in batch.clone() {
                    data.scanned.push("row".repeat(2 + random.below(12)));
                }
            });
            owners.turn(sort, || {
                data.sorted.extend(batch.clone().map(|row| (random.next() >> 40, row as u32)));
            });
            owners.turn(sum, || {
                for row in batch {
                    *data.sums.entry(row as u64 % 16).or_default() += data.sorted[row].0;
                }
            });
        }
        owners.turn(sort, || data.sorted.sort_unstable());
        black_box(&data);
        Self { owners, data }
    }

    /// Drops the operators' data, then their owners.
    fn end(self) {
        drop(self.data);
        self.owners.finish();
    }
}

/// `queries` queries over `rows` rows each. An operation is a query, from beginning to end.
/// The memory of the process per query, while all live, is noted.
pub fn queries<O: Owners>(run: &mut Run) {
    let count = run.arguments.get("queries", 5_000);
    let rows = run.arguments.get("rows", 40);
    let mut random = Random::new(37);
    let mut all: Vec<Query<O>> = Vec::with_capacity(count);
    let before = Resident::exact();
    run.time(count, || all.extend((0..count).map(|_| Query::run(rows, &mut random))));
    let held = Resident::exact().saturating_sub(before);
    run.note("bytes_per_query", held as f64 / count as f64);
    run.time(0, || all.into_iter().for_each(Query::end));
}
