//! Telling the observer. The observer is never called from inside an allocation, nor with a
//! lock held. A *look* at a safe point afterwards notices the events of allocations.
//!
//! ```text
//!  told at once     registered, told to stop, ended
//!  told at a look   soft quota passed, refused, overdrawn
//!
//!  a look           after `run`, after a poll of `run_async`, after a handle, a
//!                   raw call or a call by key was refused, before the end
//! ```

use crate::expert::events::{Event, EventKind, Refusal, Verdict};
use crate::expert::family;
use crate::expert::home::{CopiedOf, Home, SlotOf};
use crate::expert::hosted::Hosted;
use crate::expert::report;
use crate::expert::visit::Visit;
use crate::key::ExpertKey;

/// The event of this kind; `None` where the key is stale.
pub(crate) fn event<H: Home>(
    home: H,
    key: ExpertKey,
    kind: EventKind<CopiedOf<H>>,
) -> Option<Event<CopiedOf<H>>> {
    let row = report::row(home, key).ok()?;
    Some(Event { key, name: row.name, parent: row.parent, kind })
}

/// Tells the observer an event, if there is an observer.
pub(crate) fn tell<H: Home>(home: H, key: ExpertKey, kind: EventKind<CopiedOf<H>>) {
    if home.is_observed() {
        if let Some(event) = event(home, key, kind) {
            home.tell(&event);
        }
    }
}

/// Tells the observer the events in allocations since the last look.
#[inline]
pub(crate) fn look<H: Home>(home: H, key: ExpertKey, slot: &SlotOf<H>) {
    if home.is_observed() {
        look_closely(home, key, slot);
    }
}

#[cold]
fn look_closely<H: Home>(home: H, key: ExpertKey, slot: &SlotOf<H>) {
    // Not every caller holds the expert: the slot may be the next one's, whose events are not
    // this one's. It is let go before anybody is told.
    let Ok(held) = Visit::new(home, key) else { return };
    let account = slot.account();
    let Some(Hosted { told, .. }) = slot.hosted() else { return };
    let charged_bytes = account.charged();
    let soft = account.soft_quota();
    let is_soft = soft != 0 && account.peak() > soft && told.soft_is_new();
    let refusals = told.new_refusals(account.refusals());
    let is_overdrawn = account.is_overdrawn() && told.overdraft_is_new();
    drop(held);
    if is_soft {
        tell(home, key, EventKind::SoftQuotaPassed { charged_bytes });
    }
    if refusals != 0 {
        let largest = family::largest(home, family::tightest(home, key));
        tell(home, key, EventKind::Refused { refusals, largest });
    }
    if is_overdrawn {
        tell(home, key, EventKind::Overdrawn { charged_bytes });
    }
}

/// Asks the observer, before a request for `bytes` is refused, whether to try once more.
#[cold]
pub(crate) fn ask<H: Home>(home: H, key: ExpertKey, bytes: usize) -> bool {
    if !home.is_observed() {
        return false;
    }
    let Ok(row) = report::row(home, key) else { return false };
    let by = family::tightest(home, key);
    let largest = family::largest(home, by);
    home.ask(&Refusal { key, name: row.name, bytes, by, largest }) == Verdict::Retry
}
