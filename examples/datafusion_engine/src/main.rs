//! A query engine in which every query is an expert, a child of the engine's: DataFusion
//! over tables in memory, with a memory pool that sees both what its operators reserve and
//! what they allocate. First each query runs alone, then all at once, with four among them
//! that ask for more than their quota. Of these four, one is stopped, one is refused, one
//! is either stopped or refused, and one spills to disk. The others return the same answers
//! as alone.
//!
//! ```sh
//! cargo run
//! ```
//!
//! It is not part of the repository's check: DataFusion takes many minutes to build.

mod pool;
mod queries;
mod travel;

use std::sync::Arc;

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use expert_alloc::{ExpertAlloc, FailureKind, SharedExpert};

use crate::pool::QueryPool;
use crate::queries::Query;

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

/// The quota of all queries together, in bytes.
const ENGINE: usize = 1 << 30;

/// The quota of one query, in bytes.
const QUOTA: usize = 24 << 20;

/// An error of the host.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The outcome of a query.
#[derive(Debug, PartialEq)]
enum Answer {
    /// Its rows as a table, in the host's memory.
    Rows(String),
    /// DataFusion gave up, because its pool refused memory.
    Refused,
    /// It was stopped, or failed.
    Failed(FailureKind),
}

/// A query that is over.
#[derive(Debug)]
struct Done {
    answer: Answer,
    /// The most bytes that its operators reserved.
    reserved: usize,
    /// The most bytes that were charged for what they allocated.
    allocated: usize,
}

/// Runs one query as an expert.
async fn run(base: SessionState, engine: SharedExpert, query: &'static Query) -> Result<Done> {
    let expert = ALLOC.expert(query.name).parent(&engine).quota(QUOTA).register()?.into_shared();
    let pool = Arc::new(QueryPool::new(expert.key(), QUOTA));
    let mode =
        if query.may_spill { DiskManagerMode::OsTmpDirectory } else { DiskManagerMode::Disabled };
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::clone(&pool) as _)
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
        .build_arc()?;
    let outcome = expert
        .run_async(async move {
            // Two sorts at a time would disturb each other.
            let partitions = if query.may_spill { 1 } else { 2 };
            let config = base.config().clone().with_target_partitions(partitions);
            // The tables' catalog already exists.
            let config = config.with_create_default_catalog_and_schema(false);
            let state = SessionStateBuilder::new_from_existing(base).with_config(config);
            let state = state.with_runtime_env(runtime);
            let context = SessionContext::new_with_state(state.build());
            let batches = context.sql(query.sql).await?.collect().await?;
            let rows =
                ALLOC.as_host(|| pretty_format_batches(&batches).map(|rows| rows.to_string()));
            Ok::<_, DataFusionError>(rows?)
        })
        .await;
    let answer = match outcome {
        Ok(Ok(rows)) => Answer::Rows(rows),
        Ok(Err(error)) => {
            let root = error.find_root();
            assert!(matches!(root, DataFusionError::ResourcesExhausted(_)), "{error}");
            println!("{}: {root}", query.name);
            Answer::Refused
        }
        Err(failure) => {
            println!("{}: {failure}", query.name);
            Answer::Failed(failure.kind())
        }
    };
    let (reserved, allocated) = (pool.peak(), expert.stats().peak_bytes);
    println!(
        "{:<10} {:>8} KiB reserved {:>8} KiB allocated at most, {:>8} allocations",
        query.name,
        reserved >> 10,
        allocated >> 10,
        expert.stats().allocations
    );
    Ok(Done { answer, reserved, allocated })
}

#[tokio::main]
async fn main() -> Result<()> {
    travel::tasks_stay_with_their_expert()?;
    let base = queries::tables()?;
    // Values that DataFusion makes once and keeps belong to the host.
    queries::warm_up(&base).await?;
    let engine = ALLOC.expert("engine").quota(ENGINE).register()?.into_shared();
    let spawn = |query: &'static Query| {
        let (base, engine) = (base.clone(), engine.clone());
        tokio::spawn(async move { run(base, engine, query).await })
    };

    println!("-- alone, each of {} KiB", QUOTA >> 10);
    let mut alone = Vec::new();
    for query in &queries::GOOD {
        alone.push(spawn(query).await??.answer);
    }
    println!("-- all at once, and four that ask for too much");
    let bad = [&queries::COLLECTS, &queries::HOARDS, &queries::BUILDS, &queries::SORTS];
    let bad = bad.map(spawn);
    let tasks: Vec<_> = (0..4).flat_map(|_| queries::GOOD.iter().map(spawn)).collect();
    let mut same = 0;
    for (number, task) in tasks.into_iter().enumerate() {
        let done = task.await??;
        assert!(matches!(done.answer, Answer::Rows(_)), "{done:?}");
        assert_eq!(done.answer, alone[number % alone.len()], "not what it gave alone");
        same += 1;
    }
    let [collects, hoards, builds, sorts] = bad;
    let (collects, hoards) = (collects.await??, hoards.await??);
    assert_eq!(collects.answer, Answer::Failed(FailureKind::OverQuota));
    assert!(collects.reserved < collects.allocated, "nobody reserves what is collected");
    // The order of its tasks decides whether it first asks the pool or allocates.
    assert!(!matches!(hoards.answer, Answer::Rows(_)), "{hoards:?}");
    assert!(collects.allocated < QUOTA + (4 << 20), "its quota and what one poll allocates");
    let (builds, sorts) = (builds.await??, sorts.await??);
    assert_eq!(builds.answer, Answer::Refused);
    assert!(builds.allocated < QUOTA / 2, "reserved too much");
    let expected = queries::sorted_with_room(&base).await?;
    assert_eq!(sorts.answer, Answer::Rows(expected), "spilled, and the same");
    assert!(sorts.reserved <= QUOTA && sorts.allocated <= QUOTA);
    // The runtime drops stopped tasks a little later.
    for _ in 0..100 {
        if engine.subtree().live_blocks == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(engine.stats().charged_bytes, 0, "all of it is back");
    println!("{same} answers as alone; three stopped or refused, one spilled");
    Ok(())
}
