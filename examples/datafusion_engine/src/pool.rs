//! A memory pool that knows what is really allocated. DataFusion's operators tell a pool
//! how much memory they expect to hold; the heap knows how much they really hold.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use expert_alloc::{Error, ExpertKey};

use crate::ALLOC;

/// The pool of one query. It grants a request if both the reserved bytes and the allocated
/// bytes, each with the request added, are within three quarters of the query's quota. The
/// last quarter is for memory that nobody reserves.
#[derive(Debug)]
pub struct QueryPool {
    expert: ExpertKey,
    limit: usize,
    reserved: AtomicUsize,
    peak: AtomicUsize,
}

impl QueryPool {
    /// The pool for the query that is this expert.
    pub fn new(expert: ExpertKey, quota: usize) -> Self {
        let limit = quota / 4 * 3;
        Self { expert, limit, reserved: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// The most bytes that were reserved at once.
    pub fn peak(&self) -> usize {
        self.peak.load(Relaxed)
    }

    /// The bytes that are allocated now.
    fn allocated(&self) -> usize {
        ALLOC.get(self.expert).map_or(0, |row| row.stats.charged_bytes)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "expert"
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        let sum = self.reserved.fetch_add(additional, Relaxed) + additional;
        self.peak.fetch_max(sum, Relaxed);
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        self.reserved.fetch_sub(shrink, Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let allocated = self.allocated();
        let add = |reserved: usize| {
            let held = reserved.max(allocated);
            (held.checked_add(additional)? <= self.limit).then_some(reserved + additional)
        };
        match self.reserved.fetch_update(Relaxed, Relaxed, add) {
            Ok(before) => {
                self.peak.fetch_max(before + additional, Relaxed);
                Ok(())
            }
            Err(reserved) => Err(DataFusionError::ResourcesExhausted(format!(
                "{} asks for {additional} bytes beside {reserved} reserved and {allocated} \
                 allocated: {}",
                reservation.consumer().name(),
                ALLOC.explain(self.expert, Error::QuotaExceeded)
            ))),
        }
    }

    fn reserved(&self) -> usize {
        self.reserved.load(Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expert({}, {} of {} bytes reserved)", self.expert, self.reserved(), self.limit)
    }
}
