//! A query engine in which every query is an expert, a child of the engine's: GlueSQL over
//! tables in memory. First each query runs alone, then all at once, with one among them
//! that asks for more than its quota. That one is stopped; the others return the same
//! answers as alone.
//!
//! ```sh
//! cargo run --release
//! ```

mod paced;
mod queries;

use std::sync::Arc;

use expert_alloc::{Error, ExpertAlloc, FailureKind, SharedExpert};
use gluesql_core::prelude::{Glue, Payload};
use gluesql_memory_storage::MemoryStorage;

use crate::paced::Paced;

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

/// The quota of all queries together, in bytes.
const ENGINE: usize = 256 << 20;

/// The quota of one query, in bytes.
const QUERY: usize = 8 << 20;

/// The outcome of a query.
#[derive(Debug, PartialEq)]
enum Answer {
    /// Its rows, in the host's memory.
    Rows(Vec<Payload>),
    /// The engine's error, in words.
    Refused(String),
    /// It was stopped, or failed.
    Failed(FailureKind),
}

/// Runs one query as an expert, and returns its peak in bytes.
async fn run(
    tables: Arc<MemoryStorage>,
    engine: SharedExpert,
    name: &str,
    sql: &str,
) -> Result<(Answer, usize), Error> {
    let query = ALLOC.expert(name).parent(&engine).quota(QUERY).register()?;
    let outcome = query.run_async(async { Glue::new(Paced::new(tables)).execute(sql).await }).await;
    let answer = match outcome {
        Ok(Ok(payloads)) => Answer::Rows(ALLOC.hand_over(payloads)),
        Ok(Err(error)) => Answer::Refused(error.to_string()),
        Err(failure) => {
            println!("{name}: {failure}");
            Answer::Failed(failure.kind())
        }
    };
    let peak = query.stats().peak_bytes;
    let reclaimed = query.finish();
    println!("{name:<12} {:>6} KiB at most; {reclaimed}", peak >> 10);
    Ok((answer, peak))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tables = Arc::new(queries::tables().await?);
    let engine = ALLOC.expert("engine").quota(ENGINE).register()?.into_shared();
    let spawn = |name: &'static str, sql: &'static str| {
        let (tables, engine) = (Arc::clone(&tables), engine.clone());
        tokio::spawn(async move { run(tables, engine, name, sql).await })
    };

    let mut alone = Vec::new();
    for (name, sql) in queries::GOOD {
        alone.push(spawn(name, sql).await??.0);
    }
    println!("-- all at once, and one too many");
    let greedy = spawn("greedy", queries::GREEDY);
    let tasks: Vec<_> =
        (0..4).flat_map(|_| queries::GOOD.map(|(name, sql)| spawn(name, sql))).collect();
    let mut same = 0;
    for (number, task) in tasks.into_iter().enumerate() {
        let (answer, _) = task.await??;
        assert!(matches!(answer, Answer::Rows(_)), "{answer:?}");
        assert_eq!(answer, alone[number % alone.len()], "not what it gave alone");
        same += 1;
    }
    let (answer, peak) = greedy.await??;
    assert_eq!(answer, Answer::Failed(FailureKind::OverQuota));
    assert!(peak < QUERY + (1 << 20), "its quota and what one poll allocates: {peak}");
    assert_eq!(engine.stats().charged_bytes, 0, "all of it is back");
    println!("{same} answers as alone; greedy stopped at {} KiB", peak >> 10);
    Ok(())
}
