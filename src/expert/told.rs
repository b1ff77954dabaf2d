//! The events of one expert that the host's observer was told, so it is told each event
//! once. `events.rs` has the events, and `look.rs` tells them.
//!
//! Invariants
//!
//! - TOLD1 a slot's `told` records which events of its expert the observer was told: each
//!   overdraft and each passing of a soft quota once, each refusal in one count.

use crate::sync::{AtomicU32, Ordering::Relaxed};

/// The observer was told that the soft quota was passed.
const SOFT: u32 = 1;
/// The observer was told that memory beyond the quota was granted.
const OVERDRAWN: u32 = 2;
/// One refusal that the observer was told.
const REFUSAL: u32 = 4;

/// The events of one expert that the observer was told (TOLD1).
pub(crate) struct Told(AtomicU32);

impl Told {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Begins anew for the slot's next expert.
    pub(crate) fn reset(&self) {
        self.0.store(0, Relaxed);
    }

    /// Lets the soft quota be passed once more.
    pub(crate) fn forget_soft(&self) {
        self.0.fetch_and(!SOFT, Relaxed);
    }

    /// Notes that the soft quota was passed, and returns whether that is new.
    pub(crate) fn soft_is_new(&self) -> bool {
        self.is_new(SOFT)
    }

    /// Notes that memory beyond the quota was granted, and returns whether that is new.
    pub(crate) fn overdraft_is_new(&self) -> bool {
        self.is_new(OVERDRAWN)
    }

    /// Sets `flag`, and returns whether it was not set before.
    fn is_new(&self, flag: u32) -> bool {
        self.0.load(Relaxed) & flag == 0 && self.0.fetch_or(flag, Relaxed) & flag == 0
    }

    /// How many of the refusals up to now are new.
    pub(crate) fn new_refusals(&self, refusals: usize) -> u32 {
        // The count wraps, like that in the flags.
        let now = (refusals as u32).wrapping_mul(REFUSAL);
        let count = |told: u32| Some(told & (REFUSAL - 1) | now);
        let before = self.0.fetch_update(Relaxed, Relaxed, count).unwrap_or(now);
        now.wrapping_sub(before & !(REFUSAL - 1)) / REFUSAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_news_once() {
        let told = Told::new();
        assert!(told.soft_is_new() && !told.soft_is_new());
        assert!(told.overdraft_is_new() && !told.overdraft_is_new());
        assert_eq!((told.new_refusals(3), told.new_refusals(3), told.new_refusals(5)), (3, 0, 2));
        told.forget_soft();
        assert!(told.soft_is_new() && !told.overdraft_is_new(), "the rest stays told");
        // The count in the flags wraps where that of the account does not yet.
        told.new_refusals(1 << 30);
        assert_eq!(told.new_refusals((1 << 30) + 1), 1);
        told.reset();
        assert!(told.soft_is_new() && told.overdraft_is_new());
    }
}
