//! Payments of a heap's owner for its spans (HEAP4, SPAN4).

use super::heap::Heap;
use crate::error::Error;
use crate::heap::spans::span::Span;

impl Heap {
    /// Charges the owner `bytes` more for `span`, or nothing at all.
    ///
    /// # Errors
    ///
    /// As [`Payer::charge`].
    pub fn charge(&self, span: &Span, bytes: usize) -> Result<(), Error> {
        self.payer().charge(bytes)?;
        span.set_charged(span.charged() + bytes);
        Ok(())
    }

    /// As [`charge`](Self::charge), for a quota without room.
    ///
    /// # Errors
    ///
    /// As [`Payer::charge_beyond`].
    pub fn charge_beyond(&self, span: &Span, bytes: usize) -> Result<(), Error> {
        self.payer().charge_beyond(bytes)?;
        span.set_charged(span.charged() + bytes);
        Ok(())
    }

    /// Refunds the charge of `span` beyond `keep` bytes.
    pub fn refund(&self, span: &Span, keep: usize) {
        self.account().refund(span.charged() - keep);
        span.set_charged(keep);
    }
}
