//! Keeps tasks that DataFusion spawns with the expert whose query spawned them. DataFusion
//! lets a program wrap tasks for tracing.

use std::any::Any;
use std::pin::Pin;

use datafusion::common::runtime::{JoinSetTracer, set_join_set_tracer};

use crate::{ALLOC, Result};

type Value = Box<dyn Any + Send>;

struct Inherits;

impl JoinSetTracer for Inherits {
    fn trace_future(
        &self,
        future: Pin<Box<dyn Future<Output = Value> + Send>>,
    ) -> Pin<Box<dyn Future<Output = Value> + Send>> {
        Box::pin(ALLOC.inherit(future))
    }

    fn trace_block(
        &self,
        block: Box<dyn FnOnce() -> Value + Send>,
    ) -> Box<dyn FnOnce() -> Value + Send> {
        Box::new(ALLOC.inherit_fn(block))
    }
}

/// Wraps tasks from now on, in the whole process.
pub fn tasks_stay_with_their_expert() -> Result<()> {
    static INHERITS: Inherits = Inherits;
    Ok(set_join_set_tracer(&INHERITS)?)
}
