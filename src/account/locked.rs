//! The same charges for an engine that changes the accounts of a heap under one lock only.
//! They use loads and stores, because some targets have no atomic read-modify-writes, and
//! on others these are slower.

use super::{Account, INHERITS, OVERDRAWN, Refused};
use crate::sync::Ordering::Relaxed;

impl Account {
    /// As [`charge`](Self::charge), for an engine that changes the accounts of a heap
    /// under one lock only. It needs no atomic read-modify-write, which some targets
    /// lack and others are slow at.
    ///
    /// # Errors
    ///
    /// [`Refused`] if a quota in the chain has no room.
    pub fn charge_locked(&self, bytes: usize) -> Result<(), Refused> {
        if self.charge_again_locked(bytes).is_ok() {
            Ok(())
        } else if self.has_room(bytes) {
            self.add_locked(bytes);
            Ok(())
        } else {
            Err(Refused)
        }
    }

    /// As [`charge_locked`](Self::charge_locked), for a charge that does not need the
    /// quota: a charge within the peak is within the quota, unless the account is marked.
    ///
    /// # Errors
    ///
    /// [`Refused`] also if the quota must be looked at.
    #[inline]
    pub fn charge_again_locked(&self, bytes: usize) -> Result<(), Refused> {
        let sum = self.charged.load(Relaxed).wrapping_add(bytes);
        if sum < bytes || sum > self.peak.load(Relaxed) || self.marks.load(Relaxed) != 0 {
            return Err(Refused);
        }
        self.charged.store(sum, Relaxed);
        Ok(())
    }

    /// As [`charge_locked`](Self::charge_locked), for an account that has
    /// neither quota nor parent.
    #[inline]
    pub fn charge_unlimited_locked(&self, bytes: usize) {
        let sum = self.charged.load(Relaxed).wrapping_add(bytes);
        self.charged.store(sum, Relaxed);
        if sum > self.peak.load(Relaxed) {
            self.peak.store(sum, Relaxed);
        }
    }

    /// As [`overdraw`](Self::overdraw), under the lock of
    /// [`charge_locked`](Self::charge_locked).
    pub fn overdraw_locked(&self, bytes: usize) {
        self.marks.fetch_or(OVERDRAWN, Relaxed);
        self.add_locked(bytes);
    }

    /// As [`refund`](Self::refund), under the lock of
    /// [`charge_locked`](Self::charge_locked).
    #[inline]
    pub fn refund_locked(&self, bytes: usize) {
        let _ = self.refund_alone_locked(bytes);
        if self.is_marked(INHERITS) {
            let mut share = bytes;
            for account in self.chain().skip(1) {
                let before = account.refund_alone_locked(share);
                share = account.share(before.wrapping_sub(share), before);
            }
        }
    }

    /// As [`refund_locked`](Self::refund_locked), for an account that has no
    /// parent.
    #[inline]
    pub fn refund_unlimited_locked(&self, bytes: usize) {
        let _ = self.refund_alone_locked(bytes);
    }

    /// Moves a charge of `bytes` to the account `to`, under the lock of
    /// [`charge_locked`](Self::charge_locked). The charge of a common parent does not
    /// change.
    ///
    /// # Errors
    ///
    /// [`Refused`] if `to`, or a parent of it, has no room; nothing has moved then.
    pub fn shift_locked(&self, to: &Self, bytes: usize) -> Result<(), Refused> {
        self.refund_locked(bytes);
        let charged = to.charge_locked(bytes);
        if charged.is_err() {
            self.add_locked(bytes);
        }
        charged
    }

    #[inline]
    fn add_locked(&self, bytes: usize) {
        let mut share = bytes;
        for account in self.chain() {
            let before = account.charged.load(Relaxed);
            let sum = before.wrapping_add(share);
            account.charged.store(sum, Relaxed);
            if sum > account.peak.load(Relaxed) {
                account.peak.store(sum, Relaxed);
            }
            share = account.share(before, sum);
        }
    }

    #[inline]
    fn refund_alone_locked(&self, bytes: usize) -> usize {
        let before = self.charged.load(Relaxed);
        debug_assert!(before >= bytes, "ACCOUNT2: refunded {bytes} of {before} bytes charged");
        self.charged.store(before.wrapping_sub(bytes), Relaxed);
        before
    }
}
