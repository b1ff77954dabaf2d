//! The locks that a fixed heap comes with. Any other `lock_api::RawMutex` works, too:
//! the heap holds it for a bounded time and calls no other code meanwhile.

/// A lock that spins until it is free, for threads on several cores.
///
/// It is not for interrupt handlers, because a handler that interrupts the holder would
/// wait for ever.
///
/// ```
/// use expert_alloc::{ExpertHeap, fixed::SpinLock};
///
/// static HEAP: ExpertHeap<SpinLock> = ExpertHeap::empty();        // the default
/// ```
pub type SpinLock = spin::mutex::SpinMutex<()>;

#[cfg(feature = "critical-section")]
pub use section::CriticalSectionLock;

#[cfg(feature = "critical-section")]
mod section {
    use core::cell::Cell;

    use critical_section::RestoreState;

    /// A lock that is a critical section, for firmware whose interrupt handlers allocate.
    /// The program decides what a critical section is, by the implementation of the
    /// `critical-section` crate that it links.
    ///
    /// ```
    /// use expert_alloc::{ExpertHeap, fixed::CriticalSectionLock};
    ///
    /// static HEAP: ExpertHeap<CriticalSectionLock> = ExpertHeap::empty();
    /// ```
    pub struct CriticalSectionLock {
        /// - SECTION1 the state is only read and written within a critical section.
        held: Cell<Option<RestoreState>>,
    }

    // SAFETY: SECTION1.
    unsafe impl Sync for CriticalSectionLock {}

    // SAFETY: a critical section excludes every other one, and `held` tells
    // apart whether the lock is taken, so at most one caller has it.
    unsafe impl lock_api::RawMutex for CriticalSectionLock {
        const INIT: Self = Self { held: Cell::new(None) };

        /// A critical section ends on the core where it began, so the guard is not `Send`.
        type GuardMarker = lock_api::GuardNoSend;

        #[inline]
        fn lock(&self) {
            while !self.try_lock() {
                // Only a caller that already holds the lock comes here. The engine
                // never does: it calls no other code while it holds the lock.
                core::hint::spin_loop();
            }
        }

        #[inline]
        fn try_lock(&self) -> bool {
            // SAFETY: released in `unlock`, or here at once.
            let before = unsafe { critical_section::acquire() };
            if self.held.get().is_some() {
                // SAFETY: taken just above; sections are left in reverse order.
                unsafe { critical_section::release(before) };
                return false;
            }
            self.held.set(Some(before));
            true
        }

        #[inline]
        unsafe fn unlock(&self) {
            if let Some(before) = self.held.take() {
                // SAFETY: `lock` entered this section, and the caller, who
                // holds the lock, has left those within it.
                unsafe { critical_section::release(before) };
            }
        }
    }
}
