//! Typical work of programs on one thread: vectors and strings that grow, maps of strings,
//! JSON, regular expressions.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::hint::black_box;

use serde_json::{Value, json};

use crate::Row;
use crate::memory::{Global, Memory};
use crate::single::TURN;
use bench_peers::measure::Run;
use bench_peers::random::Random;

pub const ROWS: &[Row] = &[
    Row { name: "growing vectors", run: |run| growing(run, &mut Global) },
    Row { name: "maps of strings", run: |run| maps(run, &mut Global) },
    Row { name: "JSON", run: |run| json(run, &mut Global) },
    Row { name: "regex compile", run: |run| regexes(run, &mut Global) },
];

/// Vectors and strings that grow by doubling, to lengths from 10 to 100,000.
/// An operation is one push.
pub fn growing(run: &mut Run, memory: &mut impl Memory) {
    const LENGTHS: [usize; 8] = [10, 100, 30, 1_000, 300, 10_000, 50, 100_000];
    let rounds = run.arguments.get("rounds", 400);
    let pushes: usize = LENGTHS.iter().map(|length| length + length / 4).sum();
    run.time(rounds * pushes, || {
        for _ in 0..rounds {
            for length in LENGTHS {
                let mut numbers: Vec<u32> = Vec::new();
                for number in 0..length {
                    numbers.push(black_box(number as u32));
                }
                let mut text = String::new();
                for _ in 0..length / 4 {
                    text.push_str(black_box("word "));
                }
                black_box((&numbers, &text));
            }
            memory.switch();
        }
    });
}

type Map = HashMap<String, String, BuildHasherDefault<DefaultHasher>>;

/// A hash map and a tree from strings to strings: insert, replace, remove.
/// An operation is one insertion or removal.
pub fn maps(run: &mut Run, memory: &mut impl Memory) {
    const ENTRIES: usize = 10_000;
    let turn = run.arguments.get("turn", TURN);
    // An insertion into both allocates about four blocks, and a later change about two.
    let (inserting, changing) = ((turn / 4).max(1), (turn / 2).max(1));
    let rounds = run.arguments.get("rounds", 8);
    // Per entry: two insertions, one replacement, one removal.
    run.time(rounds * ENTRIES * 4, || {
        for round in 0..rounds {
            let mut random = Random::new(17 + round as u64);
            let mut hashed = Map::default();
            let mut sorted = BTreeMap::new();
            for entry in 0..ENTRIES {
                let bits = random.next();
                let key = format!("key-{:x}", bits >> 24);
                let value = "v".repeat((bits % 50) as usize + 1);
                hashed.insert(key.clone(), value);
                sorted.insert(key, entry.to_string());
                if entry % inserting == inserting - 1 {
                    memory.switch();
                }
            }
            let mut random = Random::new(17 + round as u64);
            for entry in 0..ENTRIES {
                let key = format!("key-{:x}", random.next() >> 24);
                if entry % 2 == 0 {
                    sorted.remove(&key);
                    hashed.insert(key, "another value".to_owned());
                } else {
                    hashed.remove(&key);
                    sorted.insert(key, "another value".to_owned());
                }
                if entry % changing == changing - 1 {
                    memory.switch();
                }
            }
            black_box((&hashed, &sorted));
        }
    });
}

/// A document of records, as a web service would send it.
fn document(records: usize) -> Value {
    let mut random = Random::new(19);
    let record = |index: usize, random: &mut Random| {
        json!({
            "id": index,
            "name": format!("user {:x}", random.next() >> 40),
            "mail": format!("{:x}@example.org", random.next() >> 32),
            "balance": (random.next() >> 40) as f64 / 100.0,
            "active": index % 3 != 0,
            "tags": (0..random.below(6)).map(|tag| format!("tag{tag}")).collect::<Vec<_>>(),
            "address": { "street": "Main Street", "number": random.below(200), "zip": null },
        })
    };
    Value::Array((0..records).map(|index| record(index, &mut random)).collect())
}

/// How many values a document holds.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(count).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// Parse, clone, print, drop. An operation is one value of the document.
pub fn json(run: &mut Run, memory: &mut impl Memory) {
    let rounds = run.arguments.get("rounds", 400);
    let (text, values) = {
        let document = document(run.arguments.get("records", 100));
        (document.to_string(), count(&document))
    };
    run.time(rounds * values * 3, || {
        for _ in 0..rounds {
            let parsed: Value = serde_json::from_str(&text).expect("it was printed by the library");
            memory.switch();
            let copy = parsed.clone();
            drop(parsed);
            memory.switch();
            black_box(copy.to_string());
        }
    });
}

/// Compiles regular expressions. An operation is one compilation.
pub fn regexes(run: &mut Run, memory: &mut impl Memory) {
    const PATTERNS: [&str; 6] = [
        r"^\d{4}-\d{2}-\d{2}$",
        r"(?i)error|warning|fatal",
        r"([a-z0-9._]+)@([a-z0-9-]+\.)+[a-z]{2,4}",
        r"^(\S+) (\S+) \[([^\]]+)\]",
        r"foo(bar)*baz?",
        r"[A-Za-z_][A-Za-z0-9_]*\s*=",
    ];
    let rounds = run.arguments.get("rounds", 250);
    run.time(rounds * PATTERNS.len(), || {
        for _ in 0..rounds {
            for pattern in PATTERNS {
                let regex = regex::Regex::new(black_box(pattern)).expect("the pattern is right");
                black_box(&regex);
                memory.switch();
            }
        }
    });
}
