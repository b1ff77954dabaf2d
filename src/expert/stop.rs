//! Telling an expert to stop: its account is sealed, the tasks that wait in it and
//! below it are woken, and the observer is told.

#[cfg(feature = "std")]
use std::task::Waker;

use crate::error::Error;
#[cfg(feature = "std")]
use crate::expert::events::EventKind;
#[cfg(feature = "std")]
use crate::expert::family;
use crate::expert::home::{Home, SlotOf};
#[cfg(feature = "std")]
use crate::expert::look;
#[cfg(feature = "std")]
use crate::expert::tasks;
#[cfg(feature = "std")]
use crate::expert::visit::State;
use crate::expert::visit::Visit;
use crate::key::ExpertKey;
#[cfg(feature = "std")]
use crate::sync::{Ordering::SeqCst, fence};

/// Tells an expert to stop, for good: it may free, but not allocate. Its children
/// must stop, too.
pub(crate) fn terminate<H: Home>(home: H, key: ExpertKey, slot: &SlotOf<H>) {
    let is_news = slot.account().seal();
    stopped(home, key, slot, is_news);
}

/// As [`terminate`], for a caller that came by the key.
///
/// # Errors
///
/// [`Error::AccessDenied`] for the host.
pub(crate) fn terminate_visited<H: Home>(home: H, visit: Visit<'_, H>) -> Result<(), Error> {
    let slot = visit.slot().ok_or(Error::AccessDenied)?;
    let (key, is_news) = (visit.key(), slot.account().seal());
    // The code below calls other code, so it must not keep another thread from ending the
    // expert. If the expert ends meanwhile, tasks of another expert may be woken, which see
    // that nothing has changed.
    drop(visit);
    stopped(home, key, slot, is_news);
    Ok(())
}

/// Does the steps that follow when an expert was told to stop.
fn stopped<H: Home>(home: H, key: ExpertKey, slot: &SlotOf<H>, is_news: bool) {
    wake(home, key, slot);
    #[cfg(feature = "std")]
    if is_news {
        look::tell(home, key, EventKind::Stopped);
    }
    #[cfg(not(feature = "std"))]
    let _ = is_news;
}

#[cfg(feature = "std")]
/// Wakes the tasks of an expert, and of those below it, after its state was
/// changed: by a sequentially consistent operation, or one that such a fence
/// follows, which pairs with the fence in `keep` (WAITING1).
pub(crate) fn wake<H: Home>(home: H, key: ExpertKey, slot: &SlotOf<H>) {
    if !tasks::anybody_waits() {
        return;
    }
    home.as_host(|| {
        let kept = |slot: &SlotOf<H>| slot.hosted().map(|hosted| hosted.tasks.kept());
        let mut wakers = kept(slot).unwrap_or_default();
        if slot.account().is_parent() {
            for child in family::descendants(home, key) {
                wakers.extend(child.slot().and_then(kept).into_iter().flatten());
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    });
}

/// Wakes the tasks of an expert, if it is over its quota. For a caller that may have
/// brought it there, because an allocation wakes no task.
#[cfg(feature = "std")]
pub(crate) fn wake_if_overdrawn<H: Home>(home: H, key: ExpertKey) {
    if !tasks::anybody_waits() {
        return;
    }
    let Ok(visit) = Visit::new(home, key) else { return };
    let Some(slot) = visit.slot().filter(|_| visit.state() == State::Overdrawn) else { return };
    // As in `terminate_visited`.
    drop(visit);
    // The fence is that of WAITING1.
    fence(SeqCst);
    wake(home, key, slot);
}

/// Does nothing, because a small system has no tasks.
#[cfg(not(feature = "std"))]
pub(crate) fn wake<H: Home>(home: H, key: ExpertKey, slot: &SlotOf<H>) {
    let _ = (home, key, slot);
}
