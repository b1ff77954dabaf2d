//! The tables, and the queries on them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionState;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::Result;

/// A query, and whether it may spill to disk.
#[derive(Debug)]
pub struct Query {
    pub name: &'static str,
    pub sql: &'static str,
    pub may_spill: bool,
}

const fn query(name: &'static str, sql: &'static str) -> Query {
    Query { name, sql, may_spill: false }
}

/// Queries that behave.
pub const GOOD: [Query; 4] = [
    query(
        "sums",
        "SELECT customer, SUM(amount) AS sum FROM orders GROUP BY customer ORDER BY sum DESC, customer LIMIT 20",
    ),
    query(
        "largest",
        "SELECT id, amount FROM orders WHERE amount > 900 ORDER BY amount DESC, id LIMIT 20",
    ),
    query(
        "join",
        "SELECT customers.name, COUNT(*) AS orders FROM customers \
         JOIN orders ON orders.customer = customers.id \
         GROUP BY customers.name ORDER BY customers.name LIMIT 50",
    ),
    query(
        "ranks",
        "SELECT customer, amount, rank FROM (SELECT customer, amount, \
         ROW_NUMBER() OVER (PARTITION BY customer ORDER BY amount, id) AS rank \
         FROM orders WHERE customer < 100) WHERE rank <= 2 ORDER BY customer, rank",
    ),
];

/// Every customer beside every order, all collected: DataFusion reserves nothing for rows
/// that a caller collects.
pub const COLLECTS: Query =
    query("collects", "SELECT c.name, o.* FROM customers c CROSS JOIN orders o");

/// More groups than fit. DataFusion reserves memory for them, but only after a table of
/// them has grown, and tables double.
pub const HOARDS: Query = query(
    "hoards",
    "SELECT COUNT(*) FROM (SELECT DISTINCT o.id * 1000000 + c.id AS pair \
     FROM orders o CROSS JOIN customers c)",
);

/// Every order beside every other. DataFusion reserves memory for one side as if it
/// belonged to the query, although it belongs to the table.
pub const BUILDS: Query = query(
    "builds",
    "SELECT COUNT(*) FROM orders a CROSS JOIN orders b WHERE a.note || b.note = 'none'",
);

/// A sort of more rows than fit, which may spill to disk.
pub const SORTS: Query = Query {
    name: "sorts",
    sql: "SELECT SUM(id * place) AS sum FROM \
          (SELECT id, ROW_NUMBER() OVER (ORDER BY note, id) AS place FROM orders)",
    may_spill: true,
};

const ORDERS: i64 = 200_000;
const CUSTOMERS: i64 = 2_000;

/// A session with the tables of customers and orders, which are always the same.
pub fn tables() -> Result<SessionState> {
    let config = SessionConfig::new()
        .with_target_partitions(2)
        .with_batch_size(1024)
        .with_sort_spill_reservation_bytes(1 << 20);
    let context = SessionContext::new_with_config(config);
    let customers = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from_iter_values(0..CUSTOMERS)) as ArrayRef),
        ("name", strings((0..CUSTOMERS).map(|id| format!("customer {id}")))),
    ])?;
    let orders = (0..ORDERS).step_by(10_000).map(|first| {
        let ids = first..first + 10_000;
        let ints = |f: fn(i64) -> i64| Arc::new(Int64Array::from_iter_values(ids.clone().map(f)));
        Ok(RecordBatch::try_from_iter([
            ("id", ints(|id| id) as ArrayRef),
            ("customer", ints(|id| id * 7919 % CUSTOMERS) as ArrayRef),
            ("amount", ints(|id| id * 104_729 % 1000) as ArrayRef),
            ("note", strings(ids.clone().map(|id| format!("{:040}", id * 48_271 % 199_999)))),
        ])?)
    });
    let orders = orders.collect::<Result<Vec<_>>>()?;
    for (name, batches) in [("customers", vec![customers]), ("orders", orders)] {
        let table = MemTable::try_new(batches[0].schema(), vec![batches])?;
        context.register_table(name, Arc::new(table))?;
    }
    Ok(context.state())
}

fn strings(values: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// Runs each well-behaved query once, as the host.
pub async fn warm_up(base: &SessionState) -> Result<()> {
    for query in &GOOD {
        SessionContext::new_with_state(base.clone()).sql(query.sql).await?.collect().await?;
    }
    Ok(())
}

/// The answer of [`SORTS`] if there is room.
pub async fn sorted_with_room(base: &SessionState) -> Result<String> {
    let context = SessionContext::new_with_state(base.clone());
    let batches = context.sql(SORTS.sql).await?.collect().await?;
    Ok(pretty_format_batches(&batches)?.to_string())
}
