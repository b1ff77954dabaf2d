//! Homes: where experts live. A home brings an engine and a registry together.

use crate::engine::{Engine, Who};
#[cfg(feature = "std")]
use crate::expert::events::{Event, Refusal, Verdict};
use crate::expert::name::Name;
use crate::expert::registry::Registry;
use crate::expert::slot::Slot;
use crate::key::ExpertKey;

/// The engine's part of each owner of a home.
pub type OwnerOf<H> = <<H as Home>::Engine as Engine>::Owner;

/// A slot of a home.
pub(crate) type SlotOf<H> = Slot<OwnerOf<H>, <H as Home>::Name>;

/// A copy of a name of a home.
#[cfg(feature = "std")]
pub(crate) type CopiedOf<H> = <<H as Home>::Name as Name>::Copied;

/// The registry of a home.
pub type RegistryOf<H> = Registry<OwnerOf<H>, <H as Home>::Name>;

/// Where experts live: a cheap reference to a heap, such as
/// `ExpertAlloc`, the process-wide heap, or a reference to an `ExpertHeap`.
///
/// Sealed: the homes are those of this crate.
///
/// ```
/// use allocator_api2::vec::Vec;
/// use expert_alloc::{Expert, ExpertAlloc, ExpertHandle, Home};
///
/// /// For experts of any heap.
/// fn squares<H: Home>(expert: &Expert<H>, count: u64) -> Vec<u64, ExpertHandle<'_, H>> {
///     let mut squares = Vec::new_in(expert.allocator());
///     squares.extend((0..count).map(|number| number * number));
///     squares
/// }
///
/// let expert = ExpertAlloc::new().expert("squares").register()?;
/// assert_eq!(squares(&expert, 4), [0, 1, 4, 9]);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// # Safety
///
/// - S1 [`registry`](Self::registry) always returns the same registry, which is used with
///   this engine only, and stays in place as long as any copy of `self` exists.
/// - S2 [`is_same`](Self::is_same) is true only for two references to the same
///   engine and registry.
/// - S3 [`pin`](Self::pin) keeps its promise.
pub unsafe trait Home: Copy + Send + Sync + sealed::Sealed {
    /// The engine that provides the memory.
    #[doc(hidden)]
    type Engine: Engine;

    /// A name by value: `NameCopy` on hosts, `&'static str`
    /// elsewhere.
    type Text: Copy + AsRef<str> + Send + Sync + 'static;

    /// The way in which names are kept.
    #[doc(hidden)]
    type Name: Name<Copied = Self::Text>;

    /// Holds an expert in place: see [`pin`](Self::pin).
    #[doc(hidden)]
    type Pin;

    /// The engine.
    #[doc(hidden)]
    fn engine(self) -> Self::Engine;

    /// The registry, const-constructed beside the heap (`Registry::new()`).
    #[doc(hidden)]
    fn registry<'a>(self) -> &'a RegistryOf<Self>
    where
        Self: 'a;

    /// Pins `key`: until the result is dropped, [`Engine::drain`] of `key` on another
    /// thread waits. Reads of the expert's state after this call either see the change that
    /// `drain` follows, or `drain` waits for them: a sequentially consistent fence on both
    /// sides. Pins of different keys on one thread may overlap.
    ///
    /// A home that is never used from two threads needs no pins.
    #[doc(hidden)]
    fn pin(self, key: ExpertKey) -> Self::Pin;

    /// Calls `f` with the host as owner of this thread's allocations from the global
    /// allocator. A home without scopes just calls `f`.
    #[doc(hidden)]
    fn as_host<T>(self, f: impl FnOnce() -> T) -> T {
        f()
    }

    /// Whether there is an observer that this thread must tell now.
    #[cfg(feature = "std")]
    #[doc(hidden)]
    fn is_observed(self) -> bool {
        false
    }

    /// Tells the observer.
    #[cfg(feature = "std")]
    #[doc(hidden)]
    fn tell(self, event: &Event<CopiedOf<Self>>) {
        let _ = event;
    }

    /// Asks the observer.
    #[cfg(feature = "std")]
    #[doc(hidden)]
    fn ask(self, refusal: &Refusal<CopiedOf<Self>>) -> Verdict {
        let _ = refusal;
        Verdict::Refuse
    }

    /// Whether both refer to the same heap.
    #[doc(hidden)]
    fn is_same(self, other: Self) -> bool;
}

/// A home with scopes: a thread's allocations from the global allocator can be
/// attributed to an expert.
///
/// ```
/// use expert_alloc::{Ambient, Expert, ExpertAlloc};
///
/// /// For experts of any heap that has scopes.
/// fn greeting<H: Ambient>(expert: &Expert<H>) -> String {
///     let _scope = expert.enter();
///     String::from("hello")
/// }
///
/// let expert = ExpertAlloc::new().expert("polite").register()?;
/// assert_eq!(greeting(&expert), "hello");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// # Safety
///
/// - S1 an ambient owner that ends while it is current is replaced by the
///   host: [`enter`](Self::enter) keeps no reference that outlives its expert.
pub unsafe trait Ambient: Home {
    /// The type of a scope that was entered.
    #[doc(hidden)]
    type Entered: Copy;

    /// Makes `who` the owner of this thread's allocations, if there is memory for that:
    /// see [`has_entered`](Self::has_entered). The host becomes the owner in any case.
    #[doc(hidden)]
    fn enter(self, who: Who<'_, OwnerOf<Self>>) -> Self::Entered;

    /// Whether there was memory to enter the scope. If not, the owner stays as it was, and
    /// there is nothing to leave.
    #[doc(hidden)]
    fn has_entered(entered: Self::Entered) -> bool;

    /// Leaves a scope, in whatever order. Then the innermost scope that stands is current,
    /// or the host, if none stands or its owner has ended.
    #[doc(hidden)]
    fn leave(self, entered: Self::Entered);

    /// Leaves a scope, with all scopes that were entered in it and still stand.
    #[cfg(feature = "capi")]
    #[doc(hidden)]
    fn leave_all(self, entered: Self::Entered);

    /// The expert that owns this thread's allocations; `None` for the host.
    #[doc(hidden)]
    fn current(self) -> Option<ExpertKey>;
}

pub(crate) mod sealed {
    /// Keeps [`Home`](super::Home) to this crate.
    pub trait Sealed {}
}
