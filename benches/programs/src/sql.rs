//! A SQL engine: GlueSQL over tables in memory. A unit of work is one
//! statement.

use bench_peers::measure::Run;
use bench_peers::random::Random;
use gluesql_core::prelude::{Glue, Payload};
use gluesql_memory_storage::MemoryStorage;

pub fn run(run: &mut Run) {
    let rounds = run.arguments.get("rounds", 12);
    let statements = statements();
    let mut rows = 0;
    run.time(rounds * statements.len(), || {
        for _ in 0..rounds {
            let mut glue = Glue::new(MemoryStorage::default());
            for statement in &statements {
                for payload in glue.execute(statement).expect("the statement is right") {
                    if let Payload::Select { rows: selected, .. } = payload {
                        rows += selected.len();
                    }
                }
            }
        }
    });
    assert_eq!(rows % rounds, 0, "each round selects the same");
    assert!(rows > 0, "something is selected");
}

/// Two tables, filled, joined, grouped, changed and emptied.
fn statements() -> Vec<String> {
    let mut random = Random::new(41);
    let mut list = vec![
        "CREATE TABLE host (id INTEGER PRIMARY KEY, name TEXT)".to_owned(),
        "CREATE TABLE frame (id INTEGER, host INTEGER, bytes INTEGER, kind TEXT)".to_owned(),
    ];
    for id in 0..40 {
        list.push(format!("INSERT INTO host VALUES ({id}, 'host-{id}.example.org')"));
    }
    for insert in 0..20 {
        let row = |row| {
            let (host, bytes) = (random.below(40), 60 + random.below(1440));
            let kind = ["tcp", "udp", "arp", "icmp"][random.below(4)];
            format!("({}, {host}, {bytes}, '{kind}')", insert * 50 + row)
        };
        let rows: Vec<_> = (0..50).map(row).collect();
        list.push(format!("INSERT INTO frame VALUES {}", rows.join(", ")));
    }
    list.extend(
        [
            "SELECT kind, COUNT(*), SUM(bytes) FROM frame GROUP BY kind",
            "SELECT host, SUM(bytes) AS sum FROM frame GROUP BY host ORDER BY sum DESC LIMIT 10",
            "SELECT host.name, frame.bytes FROM frame JOIN host ON host.id = frame.host WHERE frame.bytes > 1200",
            "SELECT name FROM host WHERE name LIKE '%7%' ORDER BY name",
            "UPDATE frame SET bytes = bytes + 4 WHERE kind = 'tcp'",
            "DELETE FROM frame WHERE bytes < 200",
            "SELECT * FROM frame ORDER BY bytes, id",
        ]
        .map(str::to_owned),
    );
    list
}
