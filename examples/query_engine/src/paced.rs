//! Tables that are read row by row and let other tasks run in between, so a query over them
//! is polled often and can be stopped at each poll.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use gluesql_core::data::{Key, Schema};
use gluesql_core::error::Result;
use gluesql_core::store::{
    AlterTable, CustomFunction, CustomFunctionMut, DataRow, Index, IndexMut, Metadata, Planner,
    RowIter, Store, StoreMut, Transaction,
};
use gluesql_memory_storage::MemoryStorage;

/// Rows that are read before another task can run.
const ROWS: usize = 64;

/// Tables that many queries read.
pub struct Paced(Arc<MemoryStorage>);

impl Paced {
    /// Reads these.
    pub fn new(tables: Arc<MemoryStorage>) -> Self {
        Self(tables)
    }
}

#[async_trait]
impl Store for Paced {
    async fn fetch_schema(&self, table_name: &str) -> Result<Option<Schema>> {
        self.0.fetch_schema(table_name).await
    }

    async fn fetch_all_schemas(&self) -> Result<Vec<Schema>> {
        self.0.fetch_all_schemas().await
    }

    async fn fetch_data(&self, table_name: &str, key: &Key) -> Result<Option<DataRow>> {
        self.0.fetch_data(table_name, key).await
    }

    async fn scan_data<'a>(&'a self, table_name: &str) -> Result<RowIter<'a>> {
        let rows = self.0.items.get(table_name).into_iter().flat_map(|item| &item.rows);
        let paced = stream::iter(rows.enumerate()).then(|(number, (key, row))| async move {
            if number % ROWS == ROWS - 1 {
                tokio::task::yield_now().await;
            }
            Ok((key.clone(), row.clone()))
        });
        Ok(Box::pin(paced))
    }
}

// No other method is needed, because these tables are only read.
impl StoreMut for Paced {}
impl AlterTable for Paced {}
impl Index for Paced {}
impl IndexMut for Paced {}
impl Metadata for Paced {}
impl Transaction for Paced {}
impl CustomFunction for Paced {}
impl CustomFunctionMut for Paced {}
impl Planner for Paced {}
