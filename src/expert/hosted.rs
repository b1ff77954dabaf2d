//! What a slot of a host has beside the name of its expert: hosts tell an observer
//! and wake tasks, and small systems have neither.

use core::sync::atomic::AtomicU32;

use crate::expert::tasks::Tasks;
use crate::expert::told::Told;

/// The rest of a host's slot beside its name.
pub struct Hosted {
    pub(crate) tasks: Tasks,
    pub(crate) told: Told,
    /// Blocks that were given to the host on purpose.
    pub(crate) handed_over: AtomicU32,
}

/// [`Hosted`], or nothing.
pub trait Beside: Send + Sync {
    /// That of a slot that was never taken.
    const NEW: Self;

    /// It, if there is one.
    fn hosted(&self) -> Option<&Hosted>;
}

impl Beside for Hosted {
    const NEW: Self =
        Self { tasks: Tasks::new(), told: Told::new(), handed_over: AtomicU32::new(0) };

    fn hosted(&self) -> Option<&Hosted> {
        Some(self)
    }
}

impl Beside for () {
    const NEW: Self = ();

    fn hosted(&self) -> Option<&Hosted> {
        None
    }
}
