//! A script engine: boa runs JavaScript that creates objects, strings, closures and maps. A
//! unit of work is one script in a context of its own.

use bench_peers::measure::Run;
use boa_engine::{Context, Source};

const SCRIPT: &str = r#"
    const words = [];
    for (let i = 0; i < 3000; i++) {
        words.push("word" + (i * 7919 % 500));
    }
    const counts = new Map();
    for (const word of words) {
        counts.set(word, (counts.get(word) || 0) + 1);
    }
    const records = [...counts].map(([word, count]) => ({ word, count, tags: [word.length, count] }));
    records.sort((a, b) => b.count - a.count || (a.word < b.word ? -1 : 1));
    const text = JSON.stringify(records);
    const back = JSON.parse(text).filter(record => record.count > 5);
    const add = n => m => n + m;
    let sum = 0;
    for (let i = 0; i < 3000; i++) {
        sum = add(sum)(i % 7);
    }
    back.length * 1000000 + sum;
"#;

pub fn run(run: &mut Run) {
    let rounds = run.arguments.get("rounds", 6);
    run.time(rounds, || {
        for _ in 0..rounds {
            let mut context = Context::default();
            let result = context.eval(Source::from_bytes(SCRIPT)).expect("the script is right");
            assert!(result.as_number().is_some_and(|number| number > 8_000.0), "another result");
        }
    });
}
