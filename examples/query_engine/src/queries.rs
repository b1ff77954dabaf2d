//! The tables, and the queries on them.

use std::error::Error;

use gluesql_core::prelude::Glue;
use gluesql_memory_storage::MemoryStorage;

/// Queries that behave, by name.
pub const GOOD: [(&str, &str); 3] = [
    ("sums", "SELECT customer, SUM(amount) FROM orders GROUP BY customer ORDER BY customer"),
    (
        "largest",
        "SELECT id, amount FROM orders WHERE amount > 900 ORDER BY amount DESC, id LIMIT 20",
    ),
    (
        "join",
        "SELECT customers.name, COUNT(*) FROM customers \
         JOIN orders ON orders.customer = customers.id \
         GROUP BY customers.name ORDER BY customers.name",
    ),
];

/// Every order beside every other.
pub const GREEDY: &str = "SELECT * FROM orders a JOIN orders b";

/// The tables of customers and orders, which are always the same.
pub async fn tables() -> Result<MemoryStorage, Box<dyn Error>> {
    let mut glue = Glue::new(MemoryStorage::default());
    glue.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)").await?;
    glue.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, amount INTEGER)")
        .await?;
    let customers: Vec<String> = (0..20).map(|id| format!("({id}, 'customer {id}')")).collect();
    glue.execute(format!("INSERT INTO customers VALUES {}", customers.join(", "))).await?;
    let order = |id: u64| format!("({id}, {}, {})", id * 7919 % 20, id * 104_729 % 1000);
    let orders: Vec<String> = (0..1000).map(order).collect();
    glue.execute(format!("INSERT INTO orders VALUES {}", orders.join(", "))).await?;
    Ok(glue.storage)
}
