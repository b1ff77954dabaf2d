//! Quotas and figures by key alone: the rest of what a host does with experts that it knows
//! by their keys. See `netmon`.

use crate::api::netmon::{Key, visit};
use crate::engine::{Engine, HOST_KEY};
use crate::error::Error;
use crate::expert::family;
use crate::expert::home::Home;
use crate::expert::report;
use crate::expert::stats::Stats;
use crate::expert::visit::Visit;

/// Changes the hard quota. The host has none.
pub(crate) fn set_quota<H: Home>(home: H, key: Key, bytes: usize) -> Result<(), Error> {
    let visit = visit(home, key)?;
    visit.slot().ok_or(Error::AccessDenied)?.account().set_quota(bytes);
    Ok(())
}

/// Changes the soft quota. The host has none.
pub(crate) fn set_soft_quota<H: Home>(home: H, key: Key, bytes: usize) -> Result<(), Error> {
    let visit = visit(home, key)?;
    let slot = visit.slot().ok_or(Error::AccessDenied)?;
    slot.account().set_soft_quota(bytes);
    if let Some(hosted) = slot.hosted() {
        hosted.told.forget_soft();
    }
    Ok(())
}

/// Moves quota from one expert to another. The host has none.
pub(crate) fn give_room<H: Home>(home: H, from: Key, to: Key, bytes: usize) -> Result<(), Error> {
    let (from, to) = (visit(home, from)?, visit(home, to)?);
    let [giver, taker] = [from.slot(), to.slot()];
    let giver = giver.ok_or(Error::AccessDenied)?.account();
    let taker = taker.ok_or(Error::AccessDenied)?.account();
    giver.give_room(taker, bytes).map_err(|_| Error::QuotaExceeded)
}

/// Lets an overdrawn expert go on; [`Error::Overdrawn`] where it must still stop.
pub(crate) fn forgive<H: Home>(home: H, key: Key) -> Result<(), Error> {
    let visit = visit(home, key)?;
    let slot = visit.slot().ok_or(Error::AccessDenied)?;
    if slot.account().forgive() { Ok(()) } else { Err(Error::Overdrawn) }
}

/// Gives back what the expert was charged for and does not use; how many bytes.
pub(crate) fn trim<H: Home>(home: H, key: Key) -> Result<usize, Error> {
    let visit = visit(home, key)?;
    let charged = || visit.who().account.charged();
    let before = charged();
    home.engine().trim(visit.who());
    Ok(before.saturating_sub(charged()))
}

/// The error of a call for the key's expert whose code this is, as far as a code tells:
/// several errors have the same. `None` for a code that no call returns.
pub(crate) fn error_of<H: Home>(home: H, key: Key, code: u32) -> Option<Error> {
    let visit = visit(home, key).ok();
    Some(match code {
        19 if quota_of(home, key) != 0 => Error::QuotaExceeded,
        19 => Error::OutOfMemory,
        69 => Error::CleanupFailed,
        74 => Error::AccessDenied,
        76 => Error::InvalidPointer,
        125 => visit.and_then(|it| it.state().refusal()).unwrap_or(Error::Terminated),
        130 => Error::InvalidKey,
        _ => return None,
    })
}

/// The quota that has the least room for the key's expert; 0 for none.
fn quota_of<H: Home>(home: H, key: Key) -> usize {
    let by = key.map(|key| family::tightest(home, key));
    by.and_then(|by| report::row(home, by).ok()).map_or(0, |row| row.stats.quota)
}

/// The figures of the key.
pub(crate) fn stats<H: Home>(home: H, key: Key) -> Result<Stats, Error> {
    let visit = visit(home, key)?;
    Ok(Stats::of(home.engine(), visit.who()))
}

/// The figures of the key and all its children together. For the host: the figures
/// of all.
pub(crate) fn subtree<H: Home>(home: H, key: Key) -> Result<Stats, Error> {
    let key = key.ok_or(Error::InvalidKey)?;
    if key == HOST_KEY {
        return Ok(report::total(home));
    }
    let visit = Visit::new(home, key)?;
    Ok(family::subtree(home, key, Stats::of(home.engine(), visit.who())))
}
