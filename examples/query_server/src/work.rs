//! The work of requests: some behave, and the others fail in all possible ways.

use std::future::{Future, pending};
use std::pin::Pin;

use allocator_api2::vec::Vec as VecIn;
use expert_alloc::{Error, Expert};
use tokio::task::JoinSet;

use crate::ALLOC;

/// The result of a request: a sum, or the reason why it was refused memory.
type Work<'e> = Pin<Box<dyn Future<Output = Result<u64, Error>> + Send + 'e>>;

/// The work of a request of this kind; `None` if there is no such kind.
pub fn of<'e>(kind: &str, expert: &'e Expert) -> Option<Work<'e>> {
    Some(match kind {
        "good" => Box::pin(async { Ok(good().await) }),
        "table" => Box::pin(async { table(expert) }),
        "spawn" => Box::pin(async { Ok(spawn().await) }),
        "blocking" => Box::pin(async { Ok(blocking().await) }),
        "hog" => Box::pin(async { Ok(hog().await) }),
        "panic" => Box::pin(async { Ok(panics(&[1, 2, 3])) }),
        "leak" => Box::pin(async { leak(expert) }),
        "never" => Box::pin(async { Ok(never().await) }),
        "swarm" => Box::pin(async { Ok(swarm().await) }),
        "detached" => Box::pin(async { Ok(detached()) }),
        _ => return None,
    })
}

/// Rows that are made, sorted and summed in several polls.
async fn good() -> u64 {
    let mut rows = Vec::new();
    for round in 0..4_u64 {
        rows.extend((0..500).map(|row| (row * 7919 % 1009, format!("row {row} of {round}"))));
        tokio::task::yield_now().await;
    }
    rows.sort();
    rows.iter().map(|(number, text)| number + text.len() as u64).sum()
}

/// The same with a collection over the expert's handle, which borrows it.
fn table(expert: &Expert) -> Result<u64, Error> {
    let mut rows = VecIn::new_in(expert.allocator());
    rows.try_reserve(2000).map_err(|_| Error::QuotaExceeded)?;
    rows.extend((0..2000_u64).map(|row| row * 7919 % 1009));
    Ok(rows.iter().sum())
}

/// Tasks of its own, which stay with it, and are dropped with it.
async fn spawn() -> u64 {
    let mut tasks: JoinSet<u64> = (0..4).map(|_| ALLOC.inherit(good())).collect();
    let mut sum = 0;
    while let Some(task) = tasks.join_next().await {
        sum += task.unwrap_or(0);
    }
    sum
}

/// Work on a thread that may block.
async fn blocking() -> u64 {
    let count = || (0..10_000_u64).map(|number| number.to_string()).collect::<Vec<_>>().len();
    tokio::task::spawn_blocking(ALLOC.inherit_fn(count)).await.unwrap_or(0) as u64
}

/// Allocates a hundred times its quota, 64 KiB per poll.
async fn hog() -> u64 {
    let mut held = Vec::new();
    for _ in 0..1600 {
        held.push(vec![1_u8; 64 << 10]);
        tokio::task::yield_now().await;
    }
    held.len() as u64
}

/// The same in tasks of its own: they wake it when they are over its quota, and it takes
/// them along when it is stopped.
async fn swarm() -> u64 {
    let mut tasks: JoinSet<u64> = (0..4).map(|_| ALLOC.inherit(hog())).collect();
    let mut sum = 0;
    while let Some(task) = tasks.join_next().await {
        sum += task.unwrap_or(0);
    }
    sum
}

/// A mistake.
fn panics(numbers: &[u64]) -> u64 {
    let text: Vec<String> = numbers.iter().map(u64::to_string).collect();
    numbers[text.len()]
}

/// Memory that nobody frees: raw blocks, as plug-ins have them.
fn leak(expert: &Expert) -> Result<u64, Error> {
    for size in [100, 10_000, 100_000] {
        expert.alloc(size)?;
    }
    Ok(1)
}

/// No end.
async fn never() -> u64 {
    let held = vec![1_u8; 100_000];
    pending::<()>().await;
    held.len() as u64
}

/// A task that outlives its request, and then runs as the host.
fn detached() -> u64 {
    drop(tokio::spawn(ALLOC.inherit(async {
        let held = vec![1_u8; 10_000];
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        held.len()
    })));
    1
}
