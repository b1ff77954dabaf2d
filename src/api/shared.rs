//! Shared experts: reference-counted, for values that keep their expert alive.
//!
//! Invariants
//!
//! - SHARED1 every clone, handle and future of a shared expert holds it; the expert ends
//!   when the last of them is dropped, and not before. A reference that is forgotten holds
//!   it for ever.

use core::fmt;
use core::future::Future;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::Vec;

use crate::api::expert::Expert;
use crate::api::home::DefaultHome;
use crate::api::scope::InScope;
use crate::api::task::RunAsync;
use crate::expert::home::{Ambient, Home};
use crate::expert::stats::Reclaimed;

/// The report of an expert's end.
type Told = Box<dyn FnOnce(Reclaimed) + Send>;

/// The part that clones and handles of a shared expert refer to. It is in the host's
/// memory.
struct Shared<H: Home + 'static> {
    expert: Expert<H>,
    told: Mutex<Vec<Told>>,
}

/// The end of a shared expert, which nothing holds any more (SHARED1).
fn end<H: Home>(expert: Expert<H>, told: Vec<Told>) -> Reclaimed {
    let home = expert.home();
    let reclaimed = expert.finish();
    home.as_host(|| {
        for tell in told {
            // A panic must not leave a destructor.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| tell(reclaimed))) {
                core::mem::forget(payload);
            }
        }
    });
    reclaimed
}

/// A hold on a shared expert.
struct Hold<H: Home + 'static>(ManuallyDrop<Arc<Shared<H>>>);

impl<H: Home> Hold<H> {
    fn new(expert: Expert<H>) -> Self {
        let home = expert.home();
        let shared = Shared { expert, told: Mutex::default() };
        Self(ManuallyDrop::new(home.as_host(|| Arc::new(shared))))
    }

    /// Ends the expert, if this was the last hold.
    fn give_up(shared: Arc<Shared<H>>) -> Option<Reclaimed> {
        let Shared { expert, told } = Arc::into_inner(shared)?;
        Some(end(expert, told.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl<H: Home> Drop for Hold<H> {
    fn drop(&mut self) {
        // SAFETY: this is the drop: nobody reads the field any more.
        let shared = unsafe { ManuallyDrop::take(&mut self.0) };
        let _ = Self::give_up(shared);
    }
}

impl<H: Home> Clone for Hold<H> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A reference-counted expert. Clones of this, its [handles](SharedHandle), and
/// futures that were made with it keep it alive. It ends when the last of them is
/// dropped, so its collections may lie in a struct beside it, or go to another
/// task.
///
/// It derefs to [`Expert`], and so has all calls that borrow one. Prefer an
/// [`Expert`] and borrowed handles where lifetimes allow it: then the program says
/// where the expert ends. A shared expert ends when the last reference is dropped,
/// and never if a reference is forgotten, or lies in the expert's own memory.
///
/// ```
/// use expert_alloc::{ExpertAlloc, SharedExpert, SharedHandle};
///
/// struct Plugin {
///     users: hashbrown::HashMap<u32, u64, std::hash::RandomState, SharedHandle>,
///     expert: SharedExpert,
/// }
///
/// let expert = ExpertAlloc::new().expert("top-users").register()?.into_shared();
/// let hasher = std::hash::RandomState::new();
/// let users = hashbrown::HashMap::with_hasher_in(hasher, expert.allocator());
/// let mut plugin = Plugin { users, expert };
/// plugin.users.insert(7, 1);
/// assert_eq!(plugin.expert.stats().live_blocks, 1);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[must_use = "dropping the last one ends the expert"]
pub struct SharedExpert<H: Home + 'static = DefaultHome>(Hold<H>);

impl<H: Home + 'static> Expert<H> {
    /// Makes this expert reference-counted: it ends when the last reference is
    /// dropped.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("everywhere").register()?.into_shared();
    /// let elsewhere = expert.clone();
    /// let key = expert.key();
    /// std::thread::spawn(move || elsewhere.alloc(100).map(|_| ())).join().unwrap()?;
    /// assert_eq!(expert.stats().live_blocks, 1);
    /// drop(expert);
    /// assert!(heap.get(key).is_none());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn into_shared(self) -> SharedExpert<H> {
        SharedExpert(Hold::new(self))
    }
}

impl<H: Home + 'static> SharedExpert<H> {
    /// An allocator for collections in the expert's memory. They keep the expert
    /// alive, and may be moved anywhere.
    ///
    /// ```
    /// use allocator_api2::vec::Vec;
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let expert = ExpertAlloc::new().expert("frames").register()?.into_shared();
    /// let mut frames = Vec::new_in(expert.allocator());
    /// frames.push(7_u32);
    /// drop(expert);
    /// std::thread::spawn(move || frames.push(8)).join().unwrap();
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn allocator(&self) -> SharedHandle<H> {
        SharedHandle(self.0.clone())
    }

    /// Stops the expert: it gets no more memory, and its tasks are woken and
    /// stopped. Collections stay valid until they are dropped; the
    /// [report](Self::on_end) comes when the last reference is dropped.
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertAlloc};
    ///
    /// let expert = ExpertAlloc::new().expert("slow").register()?.into_shared();
    /// let mut held = allocator_api2::vec::Vec::new_in(expert.allocator());
    /// held.push(7);
    /// expert.revoke();
    /// assert_eq!(expert.alloc(1), Err(Error::Terminated));
    /// assert_eq!(held[0], 7);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn revoke(&self) {
        self.terminate();
    }

    /// Registers a closure that gets the report once the expert has ended. It is called as
    /// the host, in the thread that drops the last reference. A panic of the closure is
    /// discarded.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    /// use std::sync::mpsc;
    ///
    /// let expert = ExpertAlloc::new().expert("leaky").register()?.into_shared();
    /// let (send, receive) = mpsc::channel();
    /// expert.on_end(move |reclaimed| drop(send.send(reclaimed)));
    /// expert.alloc(100)?;
    /// drop(expert);
    /// assert_eq!(receive.recv().unwrap().blocks, 1);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn on_end(&self, tell: impl FnOnce(Reclaimed) + Send + 'static) {
        self.home().as_host(|| {
            let told = &mut self.0.0.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.push(Box::new(tell));
        });
    }

    /// Ends the expert, if this is the only reference.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let expert = ExpertAlloc::new().expert("shared").register()?.into_shared();
    /// let other = expert.clone();
    /// let expert = expert.try_finish().expect_err("the other holds it");
    /// drop(other);
    /// assert_eq!(expert.try_finish().unwrap().blocks, 0);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the expert itself if there are other references.
    pub fn try_finish(self) -> Result<Reclaimed, Self> {
        // A count of one cannot change meanwhile: only a holder could raise it, and
        // there is no other.
        if Arc::strong_count(&self.0.0) != 1 {
            return Err(self);
        }
        let mut last = ManuallyDrop::new(self.0);
        // SAFETY: not read or dropped once more.
        let shared = unsafe { ManuallyDrop::take(&mut last.0) };
        Ok(Hold::give_up(shared).unwrap_or_default())
    }
}

impl<H: Ambient + 'static> SharedExpert<H> {
    /// As [`Expert::run_async`], but the future holds the expert, so it can be spawned.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// fn spawn(_: impl Future + Send + 'static) {}
    ///
    /// let request = ExpertAlloc::new().expert("request").register()?.into_shared();
    /// spawn(request.run_async(async { 6 * 7 }));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn run_async<F: Future>(&self, future: F) -> RunAsync<Self, F, H> {
        RunAsync::new(self.clone(), future)
    }

    /// As [`Expert::in_scope`], but the future holds the expert.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// fn spawn(_: impl Future + Send + 'static) {}
    ///
    /// let request = ExpertAlloc::new().expert("request").register()?.into_shared();
    /// spawn(request.in_scope(async { 6 * 7 }));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn in_scope<F: Future>(&self, future: F) -> InScope<Self, F> {
        InScope::new(self.clone(), future)
    }
}

impl<H: Home> Clone for SharedExpert<H> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<H: Home> Deref for SharedExpert<H> {
    type Target = Expert<H>;

    fn deref(&self) -> &Expert<H> {
        &self.0.0.expert
    }
}

impl<H: Home> fmt::Debug for SharedExpert<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedExpert").field(&**self).finish()
    }
}

/// An allocator for the memory of a [shared expert](SharedExpert), which it keeps
/// alive.
///
/// A collection over it may go anywhere, be leaked or pinned: its memory is there
/// until the collection is dropped, because the collection holds the handle. A
/// handle in its own expert's memory that nothing outside leads to (a cycle of
/// `Rc`, for example) keeps that expert for ever.
///
/// ```
/// use allocator_api2::boxed::Box;
/// use expert_alloc::{ExpertAlloc, SharedHandle};
///
/// let heap = ExpertAlloc::new();
/// let expert = heap.expert("boxes").register()?.into_shared();
/// let key = expert.key();
/// let number: Box<u32, SharedHandle> = Box::new_in(7, expert.allocator());
/// drop(expert);
/// assert_eq!((*number, heap.owner_of(&*number)), (7, Some(key)));
/// drop(number);
/// assert!(heap.get(key).is_none(), "it was the last");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
pub struct SharedHandle<H: Home + 'static = DefaultHome>(Hold<H>);

impl<H: Home> SharedHandle<H> {
    /// A borrowed handle, for as long as this one is borrowed.
    #[cfg(any(feature = "allocator-api2", feature = "allocator-api2-04", expert_alloc_allocator))]
    #[inline(always)]
    pub(crate) fn handle(&self) -> crate::api::ExpertHandle<'_, H> {
        self.0.0.expert.allocator()
    }

    /// The expert that this handle allocates for.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let expert = ExpertAlloc::new().expert("one").register()?.into_shared();
    /// assert_eq!(expert.allocator().expert().key(), expert.key());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn expert(&self) -> SharedExpert<H> {
        SharedExpert(self.0.clone())
    }
}

impl<H: Home> Clone for SharedHandle<H> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<H: Home> fmt::Debug for SharedHandle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedHandle").field(&self.0.0.expert.key()).finish()
    }
}
