//! A tracker that counts the live bytes of each group: tracking-allocator needs one to
//! attribute memory. It does the least that answers the question "who owns how much": one
//! relaxed addition per allocation and per free.

pub use tracking_allocator;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tracking_allocator::{
    AllocationGroupId, AllocationGroupToken, AllocationGuard, AllocationRegistry, AllocationTracker,
};

/// Groups beyond this share the last counter.
const GROUPS: usize = 1 << 18;

static LIVE_BYTES: [AtomicUsize; GROUPS] = [const { AtomicUsize::new(0) }; GROUPS];

struct Count;

impl Count {
    fn of(group: AllocationGroupId) -> &'static AtomicUsize {
        &LIVE_BYTES[group.as_usize().get().min(GROUPS - 1)]
    }
}

impl AllocationTracker for Count {
    fn allocated(&self, _: usize, size: usize, _: usize, group: AllocationGroupId) {
        Self::of(group).fetch_add(size, Relaxed);
    }

    fn deallocated(
        &self,
        _: usize,
        size: usize,
        _: usize,
        source: AllocationGroupId,
        _: AllocationGroupId,
    ) {
        Self::of(source).fetch_sub(size, Relaxed);
    }
}

/// Turns tracking on. Call once, before anything is measured.
pub fn start() {
    AllocationRegistry::set_global_tracker(Count).expect("no tracker is set yet");
    AllocationRegistry::enable_tracking();
}

/// A number of groups, one of which is current.
pub struct Groups {
    current: Option<AllocationGuard<'static>>,
    tokens: Vec<*mut AllocationGroupToken>,
    next: usize,
}

impl Groups {
    /// Registers `count` groups, none of which is current.
    ///
    /// # Panics
    ///
    /// Panics when the ids are used up.
    #[must_use]
    pub fn register(count: usize) -> Self {
        let tokens = (0..count)
            .map(|_| {
                let token = AllocationGroupToken::register().expect("ids are left");
                Box::into_raw(Box::new(token))
            })
            .collect();
        Self { current: None, tokens, next: 0 }
    }

    /// Makes the next group the current one of this thread.
    pub fn switch(&mut self) {
        self.current = None;
        let token = self.tokens[self.next];
        self.next = (self.next + 1) % self.tokens.len();
        // SAFETY: the token was leaked, and the guard that borrowed any token
        // before has just been dropped.
        let token: &'static mut AllocationGroupToken = unsafe { &mut *token };
        self.current = Some(token.enter());
    }
}
