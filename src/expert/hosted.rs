//! The part of a slot that only hosts have, beside the name: hosts tell an observer and
//! wake tasks, which small systems do not.

use core::sync::atomic::AtomicU32;

use crate::expert::tasks::Tasks;
use crate::expert::told::Told;

/// The rest of a host's slot beside its name.
pub struct Hosted {
    pub(crate) tasks: Tasks,
    pub(crate) told: Told,
    /// Blocks that were transferred to the host on purpose.
    pub(crate) handed_over: AtomicU32,
}

/// [`Hosted`], or nothing.
pub trait Beside: Send + Sync {
    /// The value for a slot that was never taken.
    const NEW: Self;

    /// The part itself; small systems have none.
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
