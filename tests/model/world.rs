//! The state that all threads of a run share: the experts and the mailbox.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, RwLock};

use expert_alloc::{Error, Expert, ExpertAlloc};

use super::shadow::Block;

pub const ALLOC: ExpertAlloc = ExpertAlloc::new();

/// The settings of a run.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub seats: usize,
    pub threads: usize,
    /// Whether one thread runs at a time, with the walker after each operation.
    pub exact: bool,
    /// How many blocks a thread holds at most.
    pub blocks: usize,
    /// About the largest size of requests, in bytes.
    pub largest: usize,
    /// Whether the page source is made to fail.
    pub failures: bool,
}

/// An expert on its seat.
pub struct Seated {
    pub expert: Expert,
    pub incarnation: usize,
    /// Whether only the system limits it.
    pub is_unlimited: bool,
    pub refuses: bool,
}

/// A place for one expert after another.
///
/// Bound and raw blocks are touched under the read lock, and the expert is ended under the
/// write lock. Ambient blocks need no lock, except on guarded seats, where `reclaim_all`
/// may end them.
pub struct Seat {
    pub expert: RwLock<Option<Seated>>,
    /// For each ended expert of the seat, whether its ambient blocks were taken back, too.
    /// It is changed under the write lock.
    pub fates: RwLock<Vec<bool>>,
    /// Whether the expert that is here, or one before, has had children.
    pub is_parent: AtomicBool,
    /// Experts that have ended here.
    pub ended: AtomicUsize,
    /// Live bound and raw blocks of the expert that is here.
    pub own: AtomicUsize,
    /// Its live ambient blocks.
    pub ambient: AtomicUsize,
}

/// Experts that a seat can have in a run.
const INCARNATIONS: usize = 1 << 16;

pub struct World {
    pub config: Config,
    pub seats: Vec<Seat>,
    pub mailbox: Mutex<Vec<Block>>,
    /// The addresses of live raw blocks, in exact runs.
    pub raw: Mutex<HashSet<usize>>,
    /// An expert that never owns anything.
    pub hostile: Expert,
}

impl World {
    pub fn new(config: Config) -> Self {
        let seat = |_| Seat {
            expert: RwLock::new(None),
            fates: RwLock::new(Vec::with_capacity(INCARNATIONS)),
            is_parent: AtomicBool::new(false),
            ended: AtomicUsize::new(0),
            own: AtomicUsize::new(0),
            ambient: AtomicUsize::new(0),
        };
        Self {
            config,
            seats: (0..config.seats).map(seat).collect(),
            mailbox: Mutex::new(Vec::with_capacity(4 * config.blocks)),
            raw: Mutex::new(HashSet::with_capacity(16 * config.blocks * config.threads)),
            hostile: ALLOC.expert("hostile").register().unwrap(),
        }
    }

    /// The seats whose experts may end with their ambient blocks taken back.
    pub fn is_guarded(&self, seat: usize) -> bool {
        seat >= self.config.seats * 3 / 4
    }

    pub fn has_ended(&self, seat: usize, incarnation: usize) -> bool {
        self.seats[seat].ended.load(SeqCst) > incarnation
    }

    /// Whether an ambient block of a guarded seat was taken back with its expert.
    pub fn was_reclaimed(&self, seat: usize, incarnation: usize) -> bool {
        self.seats[seat].fates.read().unwrap().get(incarnation).copied().unwrap_or(false)
    }

    /// Registers an expert on a seat, if the seat is free and not in use.
    pub fn register(&self, seat: usize, quota: usize, parent: usize, refuse: bool) {
        let Ok(mut place) = self.seats[seat].expert.try_write() else { return };
        if place.is_some() || self.seats[seat].ended.load(SeqCst) == INCARNATIONS {
            return;
        }
        let parent = self.seats.get(parent).filter(|_| parent != seat);
        parent.inspect(|parent| parent.is_parent.store(true, SeqCst));
        let parent = parent.and_then(|parent| parent.expert.try_read().ok());
        let parent = parent.as_ref().and_then(|parent| parent.as_ref());
        let mut builder = ALLOC.expert("seated").quota(quota);
        if refuse {
            builder = builder.refuse_overdraft();
        }
        if let Some(parent) = parent {
            builder = builder.parent(&parent.expert);
        }
        let incarnation = self.seats[seat].ended.load(SeqCst);
        self.seats[seat].is_parent.store(false, SeqCst);
        match builder.register() {
            Ok(expert) => {
                let is_unlimited = quota == 0 && parent.is_none();
                *place = Some(Seated { expert, incarnation, is_unlimited, refuses: refuse });
            }
            Err(Error::ParentStopped) => assert!(parent.is_some(), "an orphan cannot be stopped"),
            Err(why) => assert_eq!(why, Error::OutOfMemory, "registering"),
        }
    }

    /// Ends the expert of a seat, if the seat is not in use.
    pub fn finish(&self, seat: usize, all: bool) {
        let here = &self.seats[seat];
        let Ok(mut place) = here.expert.try_write() else { return };
        let Some(Seated { expert, incarnation, .. }) = place.take() else { return };
        let all = all && self.is_guarded(seat);
        let (own, ambient) = (here.own.swap(0, SeqCst), here.ambient.swap(0, SeqCst));
        let key = expert.key();
        let reclaimed = if all {
            // SAFETY: S1: the model touches ambient blocks of guarded seats
            // under the lock, and enters such experts for one call only.
            unsafe { expert.reclaim_all() }
        } else {
            expert.finish()
        };
        here.fates.write().unwrap().push(all);
        here.ended.store(incarnation + 1, SeqCst);
        assert!(ALLOC.get(key).is_none(), "an ended expert has figures");
        if all {
            assert_eq!(reclaimed.blocks, own + ambient, "blocks reclaimed of seat {seat}");
            return;
        }
        assert_eq!(reclaimed.blocks, own, "bound and raw blocks reclaimed of seat {seat}");
        if self.config.exact || self.is_guarded(seat) {
            assert_eq!(reclaimed.adopted_blocks, ambient, "blocks adopted of seat {seat}");
        }
    }
}
