//! `Expert`: the value that owns an expert's memory.
//!
//! Invariants
//!
//! - EXPERT1 an `Expert` owns its slot: while it exists, and is not being ended by
//!   value, the slot's generation is that of `key`.
//! - EXPERT2 a handle, and so a collection over it, borrows the `Expert`, or holds
//!   a reference that keeps it (SHARED1).

use core::fmt;
use core::mem::ManuallyDrop;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::ptr::NonNull;

use crate::api::ExpertHandle;
use crate::api::home::DefaultHome;
use crate::engine::Who;
use crate::error::Error;
use crate::expert::home::{Home, OwnerOf, SlotOf};
use crate::expert::life::{self, Fate};
use crate::expert::name::Name;
use crate::expert::report::{self, ExpertSnapshot};
use crate::expert::stats::{Reclaimed, Stats};
use crate::expert::stop;
use crate::expert::visit::State;
use crate::key::ExpertKey;

/// One expert: a plug-in, module, query, connection, task. It owns everything
/// that is allocated through it, and gives it back when it ends.
///
/// It is shared by reference between threads, and ends by value, in
/// [`finish`](Self::finish) or when dropped: the borrow checker proves that no
/// collection over its [`allocator`](Self::allocator) is left.
///
/// ```compile_fail,E0505
/// # use expert_alloc::ExpertAlloc;
/// let expert = ExpertAlloc::new().expert("short-lived").register()?;
/// let users = hashbrown::HashMap::<u32, u32, std::hash::RandomState, _>::with_hasher_in(
///     Default::default(),
///     expert.allocator(),
/// );
/// let reclaimed = expert.finish();       // `users` still borrows the expert
/// drop(users);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[must_use = "dropping an expert ends it"]
pub struct Expert<H: Home = DefaultHome> {
    home: H,
    key: ExpertKey,
    slot: NonNull<SlotOf<H>>,
}

// SAFETY: it refers to a slot, which is `Sync`, of a home that is `Send`, and
// every method that changes anything does so through atomics or the engine.
unsafe impl<H: Home> Send for Expert<H> {}
// SAFETY: as above.
unsafe impl<H: Home> Sync for Expert<H> {}

// A panic leaves no call of an expert half done, so a host that catches one may go
// on using the expert.
impl<H: Home> UnwindSafe for Expert<H> {}
impl<H: Home> RefUnwindSafe for Expert<H> {}

impl<H: Home> Expert<H> {
    /// Its key. Its key, which no other expert has or ever had.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let one = heap.expert("one").register()?;
    /// let key = one.key();
    /// assert!(heap.get(key).is_some());
    /// let _ = one.finish();
    /// assert!(heap.get(key).is_none(), "nobody ever has this key again");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn key(&self) -> ExpertKey {
        self.key
    }

    /// Its name; hosts keep 63 bytes of it.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("top-users").register()?;
    /// assert_eq!(expert.name(), "top-users");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        // SAFETY: S1: EXPERT1 keeps the slot's generation odd, so SLOT5 keeps the name.
        unsafe { self.slot().name().get() }
    }

    /// An allocator for collections that live in the expert's memory. They
    /// borrow the expert, so none outlives it.
    ///
    /// ```
    /// use allocator_api2::vec::Vec;
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let expert = ExpertAlloc::new().expert("frames").register()?;
    /// let mut frames = Vec::new_in(expert.allocator());
    /// frames.push(7_u32);
    /// assert_eq!(expert.stats().live_blocks, 1);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn allocator(&self) -> ExpertHandle<'_, H> {
        ExpertHandle::new(self)
    }

    /// Registers a closure to run when the expert ends, before its memory is freed:
    /// to close a file, or to unregister a callback. The last one registered runs
    /// first, and a panic in one is caught (with `std`) and counted in
    /// [`Reclaimed`].
    ///
    /// Clean-ups are kept in the host's memory and run as the host, so that an
    /// expert that has used up its quota is cleaned up as well.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    ///
    /// static CLOSED: AtomicBool = AtomicBool::new(false);
    /// let expert = heap.expert("with a socket").register()?;
    /// expert.on_reclaim(|| CLOSED.store(true, Relaxed))?;
    /// assert_eq!(expert.finish().cleanups_run, 1);
    /// assert!(CLOSED.load(Relaxed));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if the host has no memory for it.
    pub fn on_reclaim(&self, cleanup: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.slot().cleanups().push(self.home.engine(), cleanup)
    }

    /// Tells the expert to stop, for good. It may free, but its raw calls and
    /// handles are refused with [`Error::Terminated`], and those of its children
    /// with [`Error::ParentStopped`]. The global allocator does not refuse blocks
    /// in a scope, because that would abort the process, unless the expert was made
    /// with [`refuse_overdraft`](crate::ExpertBuilder::refuse_overdraft).
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertAlloc};
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("slow").register()?;
    /// let block = expert.alloc(100)?;
    /// expert.terminate();
    /// assert_eq!(expert.alloc(100), Err(Error::Terminated));
    /// assert_eq!(expert.free(block.as_ptr()), Ok(()));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn terminate(&self) {
        stop::terminate(self.home, self.key, self.slot());
    }

    /// Whether it may allocate, and the reason if not.
    ///
    /// ```
    /// use expert_alloc::{ExpertAlloc, State};
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("one").register()?;
    /// assert_eq!(expert.state(), State::Live);
    /// expert.terminate();
    /// assert_eq!(expert.state(), State::Terminated);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn state(&self) -> State {
        State::of(self.slot().word(), self.slot().account())
    }

    /// Its figures: live blocks and bytes, charges, counts.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("one").register()?;
    /// expert.alloc(100)?;
    /// let stats = expert.stats();
    /// assert_eq!((stats.live_blocks, stats.allocations), (1, 1));
    /// assert!(stats.live_bytes >= 100 && stats.charged_bytes >= stats.live_bytes);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(self.home.engine(), self.who())
    }

    /// Its row of the report.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("one").soft_quota(1 << 20).register()?;
    /// let row = expert.snapshot();
    /// assert_eq!((row.key, row.name.as_str()), (expert.key(), "one"));
    /// assert!(!row.is_over_soft_quota());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> ExpertSnapshot<H::Text> {
        report::row(self.home, self.key).expect("EXPERT1: a borrowed expert has not ended")
    }

    /// Ends the expert: runs its clean-ups, takes back every block of its
    /// handles and raw calls, and lets the host adopt the blocks
    /// that the global allocator handed out in its scopes. Dropping it does the same.
    ///
    /// The cost does not grow with the number of its blocks: the memory of a small
    /// expert is marked and freed later, that of a large expert goes back in spans of
    /// 64 KiB.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("forgetful").register()?;
    /// for size in 1..=1000 {
    ///     expert.alloc(size)?;
    /// }
    /// assert_eq!(expert.finish().blocks, 1000);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn finish(self) -> Reclaimed {
        // SAFETY: S1 does not concern `Adopt`.
        unsafe { self.into_end(Fate::Adopt) }
    }

    /// As [`finish`](Self::finish), but also frees the ambient blocks, which the global
    /// allocator handed out in scopes of the expert.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// let expert = ALLOC.expert("gone").register()?;
    /// let lost = expert.run(|| std::mem::forget(vec![0_u8; 1000]));
    /// assert!(lost.is_ok());
    /// // SAFETY: nothing refers to the forgotten vector, and no thread is in a scope.
    /// let reclaimed = unsafe { expert.reclaim_all() };
    /// assert_eq!((reclaimed.blocks, reclaimed.adopted_blocks), (1, 0));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    ///
    /// Beware of values that are made on first use and kept: if that happened in a scope of
    /// this expert, the program goes on using freed memory. The buffer of standard output
    /// is such a block, after a `println!`. [`warm_up`] creates those of the standard
    /// library before; `hosts` in this documentation lists others.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// ALLOC.warm_up();                             // without this: use after free
    /// let expert = ALLOC.expert("prints").register()?;
    /// expert.run(|| println!("hello from the expert")).unwrap();
    /// // SAFETY: the closure has kept nothing; the buffer is the host's.
    /// assert_eq!(unsafe { expert.reclaim_all() }.blocks, 0);
    /// println!("hello from the host");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    ///
    #[cfg_attr(feature = "std", doc = "[`warm_up`]: crate::ExpertAlloc::warm_up")]
    #[cfg_attr(not(feature = "std"), doc = "[`warm_up`]: crate")]
    ///
    /// # Safety
    ///
    /// - S1 nothing will use or free a block that the global allocator handed
    ///   out in a scope of this expert, and no thread is in a scope of it (one
    ///   that was forgotten, or that of an inherited task that is being polled),
    ///   from the last clean-up on.
    pub unsafe fn reclaim_all(self) -> Reclaimed {
        // SAFETY: S1.
        unsafe { self.into_end(Fate::Reclaim) }
    }

    /// # Safety
    ///
    /// - S1 for [`Fate::Reclaim`], as [`reclaim_all`](Self::reclaim_all).
    unsafe fn into_end(self, fate: Fate) -> Reclaimed {
        let ending = ManuallyDrop::new(self);
        // SAFETY: S1, and the expert is not dropped again.
        unsafe { ending.end(fate) }
    }

    /// # Safety
    ///
    /// - S1 for [`Fate::Reclaim`], as [`reclaim_all`](Self::reclaim_all).
    /// - S2 the expert is not used afterwards.
    unsafe fn end(&self, fate: Fate) -> Reclaimed {
        // SAFETY: S1: by EXPERT2 and S2 no handle is left, and nobody is in a call by
        // reference; raw blocks are raw pointers, which only unsafe code follows.
        // S2 is our S1.
        let ended = unsafe { life::finish(self.home, self.key, self.slot(), 0, fate) };
        ended.unwrap_or_default()
    }

    /// The value for an expert that was just registered, in `slot` of `home`.
    pub(crate) fn registered(home: H, key: ExpertKey, slot: &SlotOf<H>) -> Self {
        Self { home, key, slot: NonNull::from(slot) }
    }

    /// The home that the expert lives in.
    #[inline]
    pub(crate) fn home(&self) -> H {
        self.home
    }

    #[inline]
    pub(crate) fn slot(&self) -> &SlotOf<H> {
        // SAFETY: slots never move, and stay as long as the home does.
        unsafe { self.slot.as_ref() }
    }

    /// The engine's view of it, for bound and raw blocks.
    #[inline]
    pub(crate) fn who(&self) -> Who<'_, OwnerOf<H>> {
        life::borrowed::<H>(self.slot(), self.key)
    }

    /// The key, if the expert was not told to stop, has not overdrawn its quota, and has no
    /// parent; otherwise no valid key.
    #[cfg(any(feature = "allocator-api2", feature = "allocator-api2-04", expert_alloc_allocator))]
    #[inline(always)]
    pub(crate) fn pass(&self) -> crate::engine::Pass {
        crate::engine::Pass::new(self.key, self.slot().account())
    }

    /// Refuses, and counts the refusal, if the expert must stop.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.slot().account().is_open() {
            return Ok(());
        }
        self.refuse()
    }

    /// Counts a refusal and says why.
    #[cold]
    fn refuse(&self) -> Result<(), Error> {
        self.slot().account().count_refusal();
        // An account that was sealed or overdrawn is not opened again, but the quota may
        // have been raised since the check.
        self.state().refusal().map_or(Ok(()), Err)
    }

    /// The result of `request` for that many bytes, at the last try: when a quota has no
    /// room, the host's observer is asked first. If the quota refused because the expert
    /// was told to stop during the call, the result is that reason.
    #[inline]
    pub(crate) fn or_asked<T>(
        &self,
        bytes: usize,
        request: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut result = request();
        let mut tries = 0;
        while matches!(result, Err(Error::QuotaExceeded)) && self.is_worth_a_try(bytes, tries) {
            tries += 1;
            result = request();
        }
        result.map_err(|why| self.refused(why))
    }

    /// Asks the observer before a refusal for want of quota, a limited number of times.
    #[cold]
    fn is_worth_a_try(&self, bytes: usize, tries: u32) -> bool {
        #[cfg(feature = "std")]
        return tries < 8 && crate::expert::look::ask(self.home, self.key, bytes);
        #[cfg(not(feature = "std"))]
        {
            let _ = (bytes, tries);
            false
        }
    }

    /// The reason for a refusal, which is also reported to the observer.
    #[cold]
    fn refused(&self, why: Error) -> Error {
        #[cfg(feature = "std")]
        crate::expert::look::look(self.home, self.key, self.slot());
        match why {
            Error::QuotaExceeded => self.state().refusal().unwrap_or(why),
            why => why,
        }
    }

    /// Gives up the value, but not the expert, which then ends by its key.
    #[cfg(feature = "capi")]
    pub(crate) fn into_key(self) -> ExpertKey {
        self.slot().detach(self.key);
        ManuallyDrop::new(self).key
    }
}

impl<H: Home> Drop for Expert<H> {
    fn drop(&mut self) {
        // SAFETY: S1 does not concern `Adopt`; S2: this is the drop.
        let _ = unsafe { self.end(Fate::Adopt) };
    }
}

impl<H: Home> fmt::Debug for Expert<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expert")
            .field("key", &self.key)
            .field("name", &self.name())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
