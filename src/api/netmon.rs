//! Calls by key, for plug-ins that know nothing else of their expert.
//! The four Netmon calls, and the host's side of them.
//!
//! Key and pointer may come from a plug-in that is broken. A key is looked up
//! and its expert held in place for the call; an address is looked up by the
//! engine and never followed.
//!
//! | state of the expert | alloc, realloc | free | size, transfer from |
//! |---|---|---|---|
//! | live | done | done | done |
//! | to stop | `Terminated`, `Overdrawn` or `ParentStopped` | done, then the same | done |
//! | closing: its clean-ups run | `Terminated` | done, then `Terminated` | done |
//! | ended | `InvalidKey` | `InvalidKey` | `InvalidKey`, size 0 |

use core::ptr::NonNull;

use crate::engine::Engine;
use crate::error::Error;
use crate::expert::home::Home;
use crate::expert::life::{self, Fate};
use crate::expert::slot::{CLOSING, DETACHED};
use crate::expert::stats::{Reclaimed, Stats};
use crate::expert::visit::{State, Visit};
use crate::key::ExpertKey;

/// A key as it comes in: `None` for zero.
pub(crate) type Key = Option<ExpertKey>;

fn visit<'a, H: Home + 'a>(home: H, key: Key) -> Result<Visit<'a, H>, Error> {
    Visit::new(home, key.ok_or(Error::InvalidKey)?)
}

/// As [`visit`], and only for experts that may get memory.
fn visit_live<'a, H: Home + 'a>(home: H, key: Key) -> Result<Visit<'a, H>, Error> {
    let visit = visit(home, key)?;
    if let Some(why) = visit.state().refusal() {
        visit.who().account.count_refusal();
        return Err(why);
    }
    Ok(visit)
}

/// The result, but where the quota refused because the expert was told to stop
/// during the call: then that is the reason.
fn or_told_to_stop<T, H: Home>(visit: &Visit<'_, H>, result: Result<T, Error>) -> Result<T, Error> {
    match result {
        Err(Error::QuotaExceeded) => Err(visit.state().refusal().unwrap_or(Error::QuotaExceeded)),
        result => result,
    }
}

/// A raw block of `size` bytes, zero-filled.
pub(crate) fn alloc<H: Home>(home: H, key: Key, size: usize) -> Result<NonNull<u8>, Error> {
    let visit = visit_live(home, key)?;
    or_told_to_stop(&visit, home.engine().raw_allocate(visit.who(), size))
}

/// Resizes a raw block of the key's; null is answered by a new block.
pub(crate) fn realloc<H: Home>(
    home: H,
    key: Key,
    block: *mut u8,
    size: usize,
) -> Result<NonNull<u8>, Error> {
    let visit = visit_live(home, key)?;
    let result = if block.is_null() {
        home.engine().raw_allocate(visit.who(), size)
    } else {
        home.engine().raw_reallocate(visit.who(), block, size)
    };
    or_told_to_stop(&visit, result)
}

/// Frees a raw block of the key's, and then tells an expert that must stop.
pub(crate) fn free<H: Home>(home: H, key: Key, block: *mut u8) -> Result<(), Error> {
    let visit = visit(home, key)?;
    if block.is_null() {
        return Ok(());
    }
    home.engine().raw_free(visit.key(), block)?;
    visit.state().refusal().map_or(Ok(()), Err)
}

/// The bytes asked for of a raw block of the key's; 0 for anything else.
pub(crate) fn size<H: Home>(home: H, key: Key, block: *const u8) -> usize {
    let size = |visit: Visit<'_, H>| home.engine().raw_size(visit.key(), block);
    visit(home, key).and_then(size).unwrap_or(0)
}

/// Gives a raw block to another key. The giver may have been told to stop, the taker
/// may not.
pub(crate) fn transfer<H: Home>(
    home: H,
    from: Key,
    block: *mut u8,
    to: Key,
) -> Result<NonNull<u8>, Error> {
    let giver = visit(home, from)?;
    if from == to {
        home.engine().raw_size(giver.key(), block)?;
        return NonNull::new(block).ok_or(Error::InvalidPointer);
    }
    let taker = visit_live(home, to)?;
    let result = home.engine().raw_transfer(giver.who(), block, taker.who());
    if let (Some(slot), Ok(_)) = (giver.slot(), result) {
        life::transferred::<H>(slot, taker.key());
    }
    or_told_to_stop(&taker, result)
}

/// Tells an expert to stop, for good. The host cannot be told.
pub(crate) fn terminate<H: Home>(home: H, key: Key) -> Result<(), Error> {
    life::terminate_visited(home, visit(home, key)?)
}

/// Ends an expert that was registered by key. One that an `Expert` value owns
/// is not ended under it, and the host never ends: [`Error::AccessDenied`].
pub(crate) fn reclaim<H: Home>(home: H, key: Key) -> Result<Reclaimed, Error> {
    let valid = visit(home, key)?;
    let (key, slot) = (valid.key(), valid.slot().ok_or(Error::AccessDenied)?);
    // The end waits for visitors, so it must not be one.
    drop(valid);
    let word = slot.word();
    if word.is_of(key) && !word.has(CLOSING) && !word.has(DETACHED) {
        return Err(Error::AccessDenied);
    }
    // SAFETY: S1: a detached expert has no handles, and its raw blocks are raw
    // pointers; calls for them come by key. S2 does not concern `Adopt`.
    unsafe { life::finish(home, key, slot, DETACHED, Fate::Adopt) }
}

/// Registers a clean-up. Not while the clean-ups run already.
pub(crate) fn on_reclaim<H: Home>(
    home: H,
    key: Key,
    cleanup: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    let visit = visit(home, key)?;
    let slot = visit.slot().ok_or(Error::AccessDenied)?;
    if visit.state() == State::Closing {
        return Err(Error::Terminated);
    }
    slot.cleanups().push(home.engine(), cleanup)
}

/// The figures of the key.
pub(crate) fn stats<H: Home>(home: H, key: Key) -> Result<Stats, Error> {
    let visit = visit(home, key)?;
    Ok(Stats::of(home.engine(), visit.who()))
}
