//! Calls by key, for plug-ins that have nothing but their expert's key. The four
//! Netmon calls, and the host's side of them.
//!
//! Key and pointer may come from a faulty plug-in. A key is looked up and its expert held
//! in place for the call; an address is looked up by the engine and never followed.
//!
//! | state of the expert | alloc, realloc | free | size, transfer from |
//! |---|---|---|---|
//! | live | done | done | done |
//! | to stop | `Terminated`, `Overdrawn` or `ParentStopped` | done, then the same | done |
//! | closing: its clean-ups run | `Terminated` | done, then `Terminated` | done |
//! | ended | `InvalidKey` | `InvalidKey` | `InvalidKey`, size 0 |

use core::ptr::NonNull;

use crate::api::aligned;
use crate::api::expert::Expert;
use crate::api::leave;
use crate::engine::{AtOnce, Engine};
use crate::error::Error;
use crate::expert::events::EventKind;
use crate::expert::home::{Ambient, Home, SlotOf};
use crate::expert::life::{self, Closing, Fate, Request};
use crate::expert::look;
use crate::expert::name::Name;
use crate::expert::slot::{CLOSING, DETACHED, LENT, OVERDRAFT};
use crate::expert::stats::Reclaimed;
use crate::expert::stop;
use crate::expert::visit::{State, Visit};
use crate::key::ExpertKey;

/// A key as it comes in: `None` for zero.
pub(crate) type Key = Option<ExpertKey>;

#[inline(always)]
pub(crate) fn visit<'a, H: Home + 'a>(home: H, key: Key) -> Result<Visit<'a, H>, Error> {
    Visit::new(home, key.ok_or(Error::InvalidKey)?)
}

/// Refuses an expert that must stop, with the reason.
#[inline(always)]
fn check_live<H: Home>(visit: &Visit<'_, H>) -> Result<(), Error> {
    if visit.is_live() { Ok(()) } else { refusal_of::<H>(visit.slot()) }
}

/// The reason why an expert must stop.
#[cold]
#[inline(never)]
fn refusal_of<H: Home>(slot: Option<&SlotOf<H>>) -> Result<(), Error> {
    let state = slot.map_or(State::Live, |slot| State::of(slot.word(), slot.account()));
    // Only an overdraft can go away as a reason to stop, because it may be forgiven at this
    // moment.
    state.refusal().map_or(Ok(()), Err)
}

/// As [`visit`], and only for experts that may get memory.
#[inline(always)]
fn visit_live<'a, H: Home + 'a>(home: H, key: Key) -> Result<Visit<'a, H>, Error> {
    let visit = visit(home, key)?;
    check_open(&visit)?;
    Ok(visit)
}

/// Refuses an expert that must not get memory, and counts the refusal.
#[inline(always)]
fn check_open<H: Home>(visit: &Visit<'_, H>) -> Result<(), Error> {
    check_live(visit).inspect_err(|_| visit.who().account.count_refusal())
}

/// The result; but if the quota refused because the expert was told to stop during the
/// call, that reason.
#[inline(always)]
fn or_told_to_stop<T, H: Home>(visit: &Visit<'_, H>, result: Result<T, Error>) -> Result<T, Error> {
    result.map_err(|why| reason_of::<H>(visit.slot(), why))
}

#[cold]
#[inline(never)]
fn reason_of<H: Home>(slot: Option<&SlotOf<H>>, why: Error) -> Error {
    match why {
        Error::QuotaExceeded => refusal_of::<H>(slot).err().unwrap_or(why),
        why => why,
    }
}

/// The key, and the slot of a valid key, as nearly all keys are.
#[inline(always)]
fn usual<'a, H: Home + 'a>(home: H, key: Key) -> Option<(ExpertKey, &'a SlotOf<H>)> {
    let key = key?;
    Some((key, home.registry().find(key.slot()?)?))
}

/// As [`alloc`], in the usual case that a block is at hand; after `None`, call [`alloc`].
#[inline(always)]
pub(crate) fn alloc_at_once<H: Home>(home: H, key: Key, size: usize) -> Option<NonNull<u8>>
where
    H::Engine: AtOnce,
{
    let (key, slot) = usual(home, key)?;
    home.engine().raw_allocate_by_key(key, size, || {
        slot.usual_word(key)?;
        slot.account().is_open().then(|| slot.owner())
    })
}

/// The result of `request` for that many bytes, at the last try: when a quota has no room,
/// the host's observer is asked first, and told of a refusal. Nobody is pinned then: what
/// the observer does may end the expert, or wait for another thread that does.
#[inline]
fn or_asked<H: Home, T>(
    home: H,
    key: Key,
    bytes: usize,
    request: impl Fn() -> Result<T, Error>,
) -> Result<T, Error> {
    let result = request();
    if result.is_err() { or_again(home, key, bytes, result, &request) } else { result }
}

/// As [`or_asked`], where the first try was refused.
#[cold]
#[inline(never)]
fn or_again<H: Home, T>(
    home: H,
    key: Key,
    bytes: usize,
    mut result: Result<T, Error>,
    request: &dyn Fn() -> Result<T, Error>,
) -> Result<T, Error> {
    let Some(key) = key.filter(|_| home.is_observed()) else { return result };
    let mut tries = 0;
    while matches!(result, Err(Error::QuotaExceeded)) && tries < 8 && look::ask(home, key, bytes) {
        tries += 1;
        result = request();
    }
    if result.is_err() {
        let slot = Visit::new(home, key).ok().and_then(|visit| visit.slot());
        slot.inspect(|slot| look::look(home, key, slot));
    }
    result
}

/// A raw block of `size` bytes, zero-filled.
pub(crate) fn alloc<H: Home>(home: H, key: Key, size: usize) -> Result<NonNull<u8>, Error> {
    or_asked(home, key, size, || {
        let visit = visit_live(home, key)?;
        or_told_to_stop(&visit, home.engine().raw_allocate(visit.who(), size))
    })
}

/// As [`alloc`], with an alignment, and zero-filled only if that is asked for.
pub(crate) fn alloc_aligned<H: Home>(
    home: H,
    key: Key,
    size: usize,
    alignment: usize,
    zeroed: bool,
) -> Result<NonNull<u8>, Error> {
    or_asked(home, key, size, || {
        let visit = visit_live(home, key)?;
        let result = aligned::allocate(home, visit.who(), size, alignment, zeroed);
        or_told_to_stop(&visit, result)
    })
}

/// Resizes a raw block of the key's expert, which keeps its alignment; for null, allocates
/// a new block.
pub(crate) fn realloc<H: Home>(
    home: H,
    key: Key,
    block: *mut u8,
    size: usize,
) -> Result<NonNull<u8>, Error> {
    if block.is_null() {
        return alloc(home, key, size);
    }
    or_asked(home, key, size, || {
        let visit = visit_live(home, key)?;
        let result = match home.engine().raw_reallocate(visit.who(), block, size) {
            Err(Error::InvalidPointer) => aligned_of(home, visit.key(), block)
                .and_then(|found| aligned::relocate(home, &found, visit.who(), size)),
            result => result,
        };
        or_told_to_stop(&visit, result)
    })
}

/// As [`free`], in the usual case; if this returns false, call [`free`].
#[inline(always)]
pub(crate) fn free_at_once<H: Home>(home: H, key: Key, block: *mut u8) -> bool
where
    H::Engine: AtOnce,
{
    let Some((key, slot)) = usual(home, key) else { return false };
    match slot.usual_word(key) {
        Some(word) if slot.account().is_open() => {
            home.engine().raw_free_by_key(key, slot.owner(), block, || slot.is_still(word))
        }
        _ => false,
    }
}

/// Frees a raw block of the key's expert, and then returns an error if the expert must
/// stop.
pub(crate) fn free<H: Home>(home: H, key: Key, block: *mut u8) -> Result<(), Error> {
    let visit = visit(home, key)?;
    if block.is_null() {
        return Ok(());
    }
    match home.engine().raw_free_of(visit.who(), block) {
        Ok(()) => {}
        Err(Error::InvalidPointer) => free_aligned(home, visit.key(), block)?,
        Err(why) => return Err(why),
    }
    check_live(&visit)
}

#[cold]
#[inline(never)]
fn free_aligned<H: Home>(home: H, key: ExpertKey, block: *mut u8) -> Result<(), Error> {
    let found = aligned_of(home, key, block)?;
    home.engine().raw_free(key, found.outer)
}

/// The size that was asked for of a raw block of the key's expert; 0 for any other address.
pub(crate) fn size<H: Home>(home: H, key: Key, block: *const u8) -> usize {
    visit(home, key).and_then(|visit| size_of(home, visit.key(), block)).unwrap_or(0)
}

fn size_of<H: Home>(home: H, key: ExpertKey, block: *const u8) -> Result<usize, Error> {
    match home.engine().raw_size(key, block) {
        Err(Error::InvalidPointer) => aligned_of(home, key, block).map(|found| found.size),
        result => result,
    }
}

/// The aligned block of the key's expert at `block`, where the engine has no block.
#[cold]
fn aligned_of<H: Home>(
    home: H,
    key: ExpertKey,
    block: *const u8,
) -> Result<aligned::Aligned, Error> {
    let found = aligned::find(home, block).ok_or(Error::InvalidPointer)?;
    if found.owner == key { Ok(found) } else { Err(Error::AccessDenied) }
}

/// Gives a raw block to another key. The giver may have been told to stop, but not the
/// taker.
pub(crate) fn transfer<H: Home>(
    home: H,
    from: Key,
    block: *mut u8,
    to: Key,
) -> Result<NonNull<u8>, Error> {
    or_asked(home, to, size(home, from, block), || transfer_once(home, from, block, to))
}

fn transfer_once<H: Home>(
    home: H,
    from: Key,
    block: *mut u8,
    to: Key,
) -> Result<NonNull<u8>, Error> {
    let giver = visit(home, from)?;
    if from == to {
        size_of(home, giver.key(), block)?;
        return NonNull::new(block).ok_or(Error::InvalidPointer);
    }
    let taker = visit_live(home, to)?;
    let result = match home.engine().raw_transfer(giver.who(), block, taker.who()) {
        Err(Error::InvalidPointer) => aligned_of(home, giver.key(), block)
            .and_then(|found| aligned::relocate(home, &found, taker.who(), found.size)),
        result => result,
    };
    if let (Some(slot), Ok(_)) = (giver.slot(), result) {
        life::transferred::<H>(slot, taker.key());
    }
    or_told_to_stop(&taker, result)
}

/// Registers an expert that is known by its key alone. As a parent, the host has no
/// quota, and its figures do not include those of its children.
pub(crate) fn register_child<H: Home>(
    home: H,
    parent: Key,
    name: <H::Name as Name>::Given<'_>,
    quota: usize,
    soft_quota: usize,
) -> Result<ExpertKey, Error> {
    let (guarantee, flags) = (0, OVERDRAFT);
    let request = Request { name, quota, soft_quota, parent: None, guarantee, flags };
    register(home, parent, &request)
}

/// As [`register_child`], with all that can be asked for, but the parent.
pub(crate) fn register<H: Home>(
    home: H,
    parent: Key,
    request: &Request<'_, '_, H>,
) -> Result<ExpertKey, Error> {
    let visit = visit(home, parent)?;
    let parent = visit.slot().map(|slot| (visit.key(), slot));
    let &Request { name, quota, soft_quota, guarantee, flags, .. } = request;
    let request = Request { name, quota, soft_quota, parent, guarantee, flags };
    let (key, slot) = life::register(home, &request)?;
    look::tell(home, key, EventKind::Registered);
    Ok(Expert::registered(home, key, slot).into_key())
}

/// Makes the key's expert, or the host, the owner of what this thread allocates
/// through the global allocator. The result is for `leave` or `leave_all`.
pub(crate) fn enter<H: Ambient>(home: H, key: Key) -> Result<H::Entered, Error> {
    let visit = visit(home, key)?;
    if visit.state() == State::Closing {
        return Err(Error::Terminated);
    }
    let entered = home.enter(visit.who());
    if H::has_entered(entered) { Ok(entered) } else { Err(Error::OutOfMemory) }
}

/// Refuses a key whose expert must stop. The refusal is not counted, because no memory was
/// asked for.
pub(crate) fn check<H: Home>(home: H, key: Key) -> Result<(), Error> {
    check_live(&visit(home, key)?)
}

/// Tells an expert to stop, for good. The host cannot be told to stop.
pub(crate) fn terminate<H: Home>(home: H, key: Key) -> Result<(), Error> {
    stop::terminate_visited(home, visit(home, key)?)
}

/// Ends an expert that was registered by key. [`Error::AccessDenied`] for an expert that an
/// `Expert` value owns, for one that a plug-in allocates for, and for the host.
pub(crate) fn reclaim<H: Ambient>(home: H, key: Key) -> Result<Reclaimed, Error> {
    // SAFETY: S1 does not concern what is adopted.
    unsafe { end(home, key, 0, Fate::Adopt) }
}

/// As [`reclaim`], with what the expert has allocated in scopes.
///
/// # Safety
///
/// - S1 nothing refers to that any more, and no thread is in a scope of the expert, at the
///   latest when the last clean-up has returned.
pub(crate) unsafe fn reclaim_all<H: Ambient>(home: H, key: Key) -> Result<Reclaimed, Error> {
    // SAFETY: S1.
    unsafe { end(home, key, 0, Fate::Reclaim) }
}

/// Ends an expert that was lent to a plug-in, with all of its memory.
///
/// # Safety
///
/// - S1 no code of the plug-in runs any more, and nothing refers to what it
///   allocated.
pub(crate) unsafe fn reclaim_lent<H: Ambient>(home: H, key: Key) -> Result<Reclaimed, Error> {
    // SAFETY: S1.
    unsafe { end(home, key, LENT, Fate::Reclaim) }
}

/// Ends an expert whose flag `LENT` equals `lent`.
///
/// # Safety
///
/// - S1 for [`Fate::Reclaim`], as [`reclaim_lent`] or [`reclaim_all`].
unsafe fn end<H: Ambient>(home: H, key: Key, lent: usize, fate: Fate) -> Result<Reclaimed, Error> {
    let valid = visit(home, key)?;
    let (key, slot) = (valid.key(), valid.slot().ok_or(Error::AccessDenied)?);
    // The end waits for visitors, so it must not hold a visit itself.
    drop(valid);
    let word = slot.word();
    let is_mine = word.has(DETACHED) && word.has(LENT) == (lent != 0);
    if word.is_of(key) && !word.has(CLOSING) && !is_mine {
        return Err(Error::AccessDenied);
    }
    let closing = Closing::begin(home, key, slot, DETACHED)?;
    // There is no guard, because a `longjmp` would skip its drop. So the end is written
    // twice.
    let entered = home.enter(home.engine().host());
    let end = || {
        // SAFETY: S1: a detached expert has no handles, and its raw blocks are raw
        // pointers; calls for them come by key; memory of a plug-in is our duty (S1). S2
        // does not concern `Adopt`, and is our S1 otherwise.
        let reclaimed = unsafe { closing.complete(fate) };
        home.leave_all(entered);
        reclaimed
    };
    let rest = || {
        // The result is dropped, because the call never returns.
        let _ = end();
    };
    Ok(leave::or_rest(&rest, end))
}

/// Registers a clean-up. [`Error::AccessDenied`] for the key of a plug-in's library, which
/// ends when the plug-in's code is gone; [`Error::Terminated`] while the clean-ups already
/// run.
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
    if slot.word().has(LENT) {
        return Err(Error::AccessDenied);
    }
    slot.cleanups().push(home.engine(), cleanup)
}
