//! Tenants: the owners of requests, and the outcomes of these.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use expert_alloc::{Error, FailureKind, Reclaimed, SharedExpert, Stats};
use serde::Serialize;

use crate::ALLOC;

/// The quota of all requests of one tenant together, in bytes.
const QUOTA: usize = 512 << 20;

/// One tenant: an expert that has requests for children.
pub struct Tenant {
    pub expert: SharedExpert,
    outcomes: [AtomicU64; OUTCOMES.len()],
    reclaimed_blocks: AtomicUsize,
    adopted_blocks: AtomicUsize,
    largest_request: AtomicUsize,
}

/// The outcomes of requests, in the order of their counts.
const OUTCOMES: [&str; 5] = ["answered", "panicked", "over_quota", "late", "parent_stopped"];

/// A tenant's row at `/experts`.
#[derive(Serialize)]
pub struct Row {
    name: String,
    /// Requests that ended in each way.
    outcomes: BTreeMap<&'static str, u64>,
    /// Blocks that its requests had not freed, and that came back at their end.
    reclaimed_blocks: usize,
    /// Blocks that outlived their request and belong to the host now.
    adopted_blocks: usize,
    /// The most that one request was charged, in bytes.
    largest_request: usize,
    /// The tenant with the requests that run now.
    subtree: Stats,
}

impl Tenant {
    fn new(name: &str) -> Result<Self, Error> {
        Ok(Self {
            expert: ALLOC.expert(name).quota(QUOTA).register()?.into_shared(),
            outcomes: [const { AtomicU64::new(0) }; OUTCOMES.len()],
            reclaimed_blocks: AtomicUsize::new(0),
            adopted_blocks: AtomicUsize::new(0),
            largest_request: AtomicUsize::new(0),
        })
    }

    /// Counts a request that has ended.
    pub fn count(&self, failure: Option<FailureKind>, peak: usize, reclaimed: &Reclaimed) {
        let outcome = match failure {
            None => 0,
            Some(FailureKind::OverQuota) => 2,
            Some(FailureKind::Terminated) => 3,
            Some(FailureKind::ParentStopped) => 4,
            Some(_) => 1,
        };
        self.outcomes[outcome].fetch_add(1, Relaxed);
        self.reclaimed_blocks.fetch_add(reclaimed.blocks, Relaxed);
        self.adopted_blocks.fetch_add(reclaimed.adopted_blocks, Relaxed);
        self.largest_request.fetch_max(peak, Relaxed);
    }

    fn row(&self) -> Row {
        let counts = self.outcomes.iter().map(|count| count.load(Relaxed));
        Row {
            name: self.expert.name().into(),
            outcomes: OUTCOMES.into_iter().zip(counts).collect(),
            reclaimed_blocks: self.reclaimed_blocks.load(Relaxed),
            adopted_blocks: self.adopted_blocks.load(Relaxed),
            largest_request: self.largest_request.load(Relaxed),
            subtree: self.expert.subtree(),
        }
    }
}

/// All tenants by name; a new name makes a new tenant.
#[derive(Clone, Default)]
pub struct Tenants(Arc<Mutex<BTreeMap<String, Arc<Tenant>>>>);

impl Tenants {
    /// The tenant of this name, which is created if there is none.
    pub fn get(&self, name: &str) -> Result<Arc<Tenant>, Error> {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = tenants.get(name) {
            return Ok(Arc::clone(tenant));
        }
        let tenant = Arc::new(Tenant::new(name)?);
        tenants.insert(name.into(), Arc::clone(&tenant));
        Ok(tenant)
    }

    /// The rows of all tenants.
    pub fn rows(&self) -> Vec<Row> {
        let tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.values().map(|tenant| tenant.row()).collect()
    }
}
