//! Charges by any thread: one compare-exchange for each account of the chain, so no thread
//! ever sees room that is not there.
//!
//! The part of a change that goes on to the accounts above is its *share*: the same bytes,
//! or less if the account is a reserve (ACCOUNT6).

use super::{Account, INHERITS, OVERDRAWN, Refused};
use crate::sync::Ordering::{Relaxed, Release};
use crate::sync::{Window, delay};

impl Account {
    /// Charges `bytes` here and to every parent, or charges nothing at all. A refusal is
    /// not counted, because the caller may find the memory elsewhere (see
    /// [`count_refusal`](Self::count_refusal)).
    ///
    /// # Errors
    ///
    /// [`Refused`] if a quota in the chain has no room.
    pub fn charge(&self, bytes: usize) -> Result<(), Refused> {
        // The parents are asked first, so the peaks below do not include a charge that a
        // parent refuses (unless another charge comes in between).
        if self.is_marked(INHERITS) && !self.has_room(bytes) {
            return Err(Refused);
        }
        delay(Window::Charge);
        for (depth, account) in self.chain().enumerate() {
            let is_reserve = account.is_reserve();
            let charged = match is_reserve {
                // The accounts above are marked, too.
                true => account.charge_reserve(bytes),
                false => account.charge_alone(bytes),
            };
            if charged.is_err() {
                self.chain().take(depth).for_each(|charged| {
                    let _ = charged.refund_alone(bytes);
                });
                return Err(Refused);
            }
            if is_reserve {
                break;
            }
        }
        Ok(())
    }

    /// Charges `bytes` here and to every parent even beyond a quota, and marks
    /// the account as overdrawn.
    pub fn overdraw(&self, bytes: usize) {
        let mut share = bytes;
        for account in self.chain() {
            let before = account.charged.fetch_add(share, Relaxed);
            let sum = before.saturating_add(share);
            account.raise_peak(sum);
            share = account.share(before, sum);
        }
        // Release: the charge (the Acquire in `forgive`).
        self.marks.fetch_or(OVERDRAWN, Release);
    }

    /// Gives back `bytes` that were charged here and to every parent.
    pub fn refund(&self, bytes: usize) {
        let mut share = bytes;
        for account in self.chain() {
            let before = account.refund_alone(share);
            share = account.share(before - share, before);
        }
    }

    /// Whether a charge of `bytes` would be granted now.
    #[inline]
    pub fn has_room(&self, bytes: usize) -> bool {
        let mut share = bytes;
        self.chain().all(|account| {
            let (here, charged) = (share, account.charged.load(Relaxed));
            share = account.share(charged, charged.saturating_add(here));
            account.has_room_alone(here)
        })
    }

    #[inline]
    fn has_room_alone(&self, bytes: usize) -> bool {
        let sum = self.charged.load(Relaxed).checked_add(bytes);
        let fits = sum.is_some_and(|sum| sum <= self.quota.load(Relaxed) || self.is_reserve());
        fits && !self.is_sealed()
    }

    /// How much more the accounts above are charged when the charge here goes from `less`
    /// to `more` bytes (ACCOUNT6).
    #[inline]
    pub(super) fn share(&self, less: usize, more: usize) -> usize {
        if !self.is_reserve() {
            return more - less;
        }
        let aside = self.quota.load(Relaxed);
        more.max(aside) - less.max(aside)
    }

    /// Charges a reserve and the accounts above it. The accounts above come first, so they
    /// are never charged too little.
    ///
    /// # Errors
    ///
    /// [`Refused`] if a quota above has no room; nothing is charged then.
    fn charge_reserve(&self, bytes: usize) -> Result<(), Refused> {
        let parent = self.parent().ok_or(Refused)?;
        loop {
            let before = self.charged.load(Relaxed);
            let sum = before.checked_add(bytes).ok_or(Refused)?;
            let share = self.share(before, sum);
            if share != 0 {
                parent.charge(share)?;
            }
            if self.charged.compare_exchange(before, sum, Relaxed, Relaxed).is_ok() {
                self.raise_peak(sum);
                return Ok(());
            }
            // Another charge or refund came in between, so the share is different.
            if share != 0 {
                parent.refund(share);
            }
        }
    }

    fn charge_alone(&self, bytes: usize) -> Result<(), Refused> {
        if self.is_sealed() {
            return Err(Refused);
        }
        let quota = self.quota.load(Relaxed);
        let add = |charged: usize| charged.checked_add(bytes).filter(|&sum| sum <= quota);
        let before = self.charged.fetch_update(Relaxed, Relaxed, add).map_err(|_| Refused)?;
        self.raise_peak(before + bytes);
        Ok(())
    }

    /// Notes that `charged` bytes are charged. Usually this is no peak, and a load is
    /// cheaper than an exchange.
    fn raise_peak(&self, charged: usize) {
        if self.peak.load(Relaxed) < charged {
            self.peak.fetch_max(charged, Relaxed);
        }
    }

    fn refund_alone(&self, bytes: usize) -> usize {
        let before = self.charged.fetch_sub(bytes, Relaxed);
        debug_assert!(before >= bytes, "ACCOUNT2: refunded {bytes} of {before} bytes charged");
        before
    }
}
