//! The observer of a host in C.

use core::ffi::{c_char, c_void};
use core::mem::transmute;
use std::sync::{Mutex, PoisonError};

use super::figures::name_of;
use super::{EXPERTLARGEST, EXPERTRECLAIMED, HEAP, HEXPERTKEY, code, guarded, handle, handle_of};
use crate::api::observer::Observation;
use crate::api::{foreign, leave};
use crate::expert::events::{Event, EventKind, Observer, Refusal, Verdict};
use crate::expert::owned_name::NAME_BYTES;

/// `EXPERTEVENT`: see [`Event`] and [`Refusal`].
///
/// ```
/// use expert_alloc::capi::EXPERTEVENT;
///
/// let event = EXPERTEVENT::default();
/// assert_eq!((event.kind, event.retry), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct EXPERTEVENT {
    /// Of this struct, in bytes.
    pub size: usize,
    /// An `EXPERT_EVENT`.
    pub kind: u32,
    /// Set by the observer, for `EXPERT_EVENT_REFUSING`: not 0 to try once more.
    pub retry: u32,
    /// The expert's key.
    pub key: HEXPERTKEY,
    /// Its parent's; null for none.
    pub parent: HEXPERTKEY,
    /// Whose quota had the least room, of `EXPERT_EVENT_REFUSING`.
    pub by: HEXPERTKEY,
    /// What was asked for, or is charged, in bytes.
    pub bytes: usize,
    /// How many requests were refused.
    pub refusals: usize,
    /// The expert's name, ended by a 0.
    pub name: [c_char; NAME_BYTES + 1],
    /// Who holds most, where a quota has refused.
    pub largest: EXPERTLARGEST,
    /// What the end brought back.
    pub reclaimed: EXPERTRECLAIMED,
}

impl Default for EXPERTEVENT {
    fn default() -> Self {
        let none = core::ptr::null_mut();
        Self {
            size: size_of::<Self>(),
            kind: 0,
            retry: 0,
            key: none,
            parent: none,
            by: none,
            bytes: 0,
            refusals: 0,
            name: [0; NAME_BYTES + 1],
            largest: EXPERTLARGEST::default(),
            reclaimed: EXPERTRECLAIMED::default(),
        }
    }
}

impl From<&Event> for EXPERTEVENT {
    fn from(event: &Event) -> Self {
        let (key, parent) = (handle(event.key), handle_of(event.parent));
        let mut told = Self { key, parent, name: name_of(&event.name), ..Self::default() };
        match &event.kind {
            EventKind::Registered => told.kind = 0,
            EventKind::SoftQuotaPassed { charged_bytes } => {
                (told.kind, told.bytes) = (1, *charged_bytes);
            }
            EventKind::Refused { refusals, largest } => {
                (told.kind, told.refusals) = (2, *refusals as usize);
                told.largest = largest.into();
            }
            EventKind::Overdrawn { charged_bytes } => {
                (told.kind, told.bytes) = (3, *charged_bytes);
            }
            EventKind::Stopped => told.kind = 4,
            EventKind::Ended(reclaimed) => {
                (told.kind, told.reclaimed) = (5, (*reclaimed).into());
            }
        }
        told
    }
}

impl From<&Refusal> for EXPERTEVENT {
    fn from(refusal: &Refusal) -> Self {
        let (key, by) = (handle(refusal.key), handle(refusal.by));
        let (name, largest) = (name_of(&refusal.name), (&refusal.largest).into());
        Self { kind: 6, key, by, bytes: refusal.bytes, name, largest, ..Self::default() }
    }
}

/// What a host in C is called by.
type Function = unsafe extern "C-unwind" fn(*mut EXPERTEVENT, *mut c_void);

/// A host's function, and what it is called with.
struct Foreign {
    function: Function,
    context: *mut c_void,
}

// SAFETY: the pointer is not followed here; S1 of `ExpertObserve`.
unsafe impl Send for Foreign {}
// SAFETY: as above.
unsafe impl Sync for Foreign {}

impl Foreign {
    /// Calls the function. A throw or a jump ends there, as does a thread's end.
    fn call(&self, mut event: EXPERTEVENT) -> EXPERTEVENT {
        // SAFETY: both pointers are passed as what they are.
        let function = unsafe {
            transmute::<Function, unsafe extern "C-unwind" fn(*mut c_void, *mut c_void)>(
                self.function,
            )
        };
        let words = [(&raw mut event).cast(), self.context];
        // SAFETY: S1 of `ExpertObserve`.
        let call = || unsafe { foreign::returns_from(function, words) };
        // What the thread's end was asked for by is the host's own: it goes on.
        let (returned, _) = foreign::put_off(|| leave::contained(call));
        if returned != Some(true) {
            event.retry = 0;
        }
        event
    }
}

impl Observer for Foreign {
    fn happened(&self, event: &Event) {
        self.call(event.into());
    }

    fn before_refusal(&self, refusal: &Refusal) -> Verdict {
        if self.call(refusal.into()).retry != 0 { Verdict::Retry } else { Verdict::Refuse }
    }
}

/// What was observed last.
static OBSERVATION: Mutex<Option<Observation>> = Mutex::new(None);

/// Tells `observer` what happens to experts from now on, and asks it before a refusal.
/// There is one at a time; null for none.
///
/// ```
/// use expert_alloc::{ExpertAlloc, capi::*};
/// use std::ffi::c_void;
///
/// /// Doubles a quota that has no room.
/// unsafe extern "C-unwind" fn grow(event: *mut EXPERTEVENT, _: *mut c_void) {
///     // SAFETY: an event, as long as the call lasts.
///     let event = unsafe { &mut *event };
///     if event.kind == 6 {                                    // EXPERT_EVENT_REFUSING
///         event.retry = u32::from(ExpertSetQuota(event.by, 1 << 20) == 0);
///     }
/// }
/// // SAFETY: a function that looks at the event only.
/// assert_eq!(unsafe { ExpertObserve(Some(grow), std::ptr::null_mut()) }, 0);
/// let expert = ExpertAlloc::new().expert("growing").quota(64 << 10).register()?;
/// assert!(expert.alloc(100 << 10).is_ok());
/// // SAFETY: null is no function.
/// assert_eq!(unsafe { ExpertObserve(None, std::ptr::null_mut()) }, 0);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// # Safety
///
/// - S1 `observer` is null, or may be called with an event and `context`, from any thread,
///   until another call of this has returned and no thread is in a call of it.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn ExpertObserve(
    observer: Option<unsafe extern "C-unwind" fn(*mut EXPERTEVENT, *mut c_void)>,
    context: *mut c_void,
) -> u32 {
    code(guarded(|| {
        let new = observer.map(|function| HEAP.observe(Foreign { function, context }));
        // Nothing panics with the lock held.
        let mut place = OBSERVATION.lock().unwrap_or_else(PoisonError::into_inner);
        let before = core::mem::replace(&mut *place, new);
        drop(place);
        drop(before);
        Ok(())
    }))
}
