//! Payers: charge, overdraft and refusal, for spans of one owner (see `charges`) and for
//! blocks in common spans (see `credit`).

use crate::account::Account;
use crate::engine::Kind;
use crate::error::Error;
use crate::heap::base::paths::{self, Path};

/// The account that pays for blocks of one kind.
#[derive(Clone, Copy)]
pub struct Payer<'a> {
    account: &'a Account,
    kind: Kind,
    overdraft: bool,
}

impl<'a> Payer<'a> {
    /// The payer with `account` for blocks of `kind`; `overdraft` says whether ambient
    /// blocks may be granted beyond the quota.
    pub const fn new(account: &'a Account, kind: Kind, overdraft: bool) -> Self {
        Self { account, kind, overdraft }
    }

    /// Charges `bytes`, or nothing at all.
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`], which is not yet counted as a refusal.
    pub fn charge(self, bytes: usize) -> Result<(), Error> {
        self.account.charge(bytes).map_err(|_| Error::QuotaExceeded)
    }

    /// Handles a quota without room for `bytes`: an overdraft if that is allowed, otherwise
    /// a counted refusal.
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`].
    pub fn charge_beyond(self, bytes: usize) -> Result<(), Error> {
        if !self.may_overdraw() {
            return Err(self.refused());
        }
        paths::entered(Path::Overdrawn);
        self.account.overdraw(bytes);
        Ok(())
    }

    /// Checks that there is room for `bytes` more, or that they may be granted.
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`], which is counted as a refusal.
    pub fn admit(self, bytes: usize) -> Result<(), Error> {
        let is_granted = self.account.has_room(bytes) || self.may_overdraw();
        if is_granted { Ok(()) } else { Err(self.refused()) }
    }

    /// A panicking thread is not refused, because that would end the process, or hang it.
    fn may_overdraw(self) -> bool {
        self.kind == Kind::Ambient && (self.overdraft || std::thread::panicking())
    }

    fn refused(self) -> Error {
        paths::entered(Path::Refused);
        self.account.count_refusal();
        Error::QuotaExceeded
    }
}
