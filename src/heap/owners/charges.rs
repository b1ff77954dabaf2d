//! What the owner of a heap is charged for its spans: charge, overdraft and refusal.

use super::heap::Heap;
use crate::engine::Kind;
use crate::error::Error;
use crate::heap::base::paths::{self, Path};
use crate::heap::spans::span::Span;

impl Heap {
    /// Charges the owner `bytes` more for `span`, or nothing (HEAP4, SPAN4).
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`], not yet counted as a refusal.
    pub fn charge(&self, span: &Span, bytes: usize) -> Result<(), Error> {
        self.account().charge(bytes).map_err(|_| Error::QuotaExceeded)?;
        span.set_charged(span.charged() + bytes);
        Ok(())
    }

    /// What follows when the quota has no room for `bytes` more for `span`:
    /// an overdraft where that is allowed, a counted refusal where not.
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`].
    pub fn charge_beyond(&self, span: &Span, bytes: usize) -> Result<(), Error> {
        if !self.may_overdraw() {
            return Err(self.refused());
        }
        paths::entered(Path::Overdrawn);
        self.account().overdraw(bytes);
        span.set_charged(span.charged() + bytes);
        Ok(())
    }

    /// Whether the owner has room for `bytes` more, or may be granted them.
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`], a counted refusal.
    pub fn admit(&self, bytes: usize) -> Result<(), Error> {
        let is_granted = self.account().has_room(bytes) || self.may_overdraw();
        if is_granted { Ok(()) } else { Err(self.refused()) }
    }

    /// A panicking thread is not refused: that would end the process, or hang it.
    fn may_overdraw(&self) -> bool {
        self.kind() == Kind::Ambient && (self.has_overdraft() || std::thread::panicking())
    }

    fn refused(&self) -> Error {
        paths::entered(Path::Refused);
        self.account().count_refusal();
        Error::QuotaExceeded
    }

    /// Refunds what `span` was charged, beyond `keep` bytes.
    pub fn refund(&self, span: &Span, keep: usize) {
        self.account().refund(span.charged() - keep);
        span.set_charged(keep);
    }
}
