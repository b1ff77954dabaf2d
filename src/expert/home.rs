//! Homes: where experts live. A home brings an engine and a registry together.

use crate::engine::{Engine, Who};
#[cfg(feature = "std")]
use crate::expert::events::{Event, Refusal, Verdict};
use crate::expert::name::Name;
use crate::expert::registry::Registry;
use crate::expert::slot::Slot;
use crate::key::ExpertKey;

/// What the engine of a home keeps for each owner.
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
/// # Safety
///
/// - S1 [`registry`](Self::registry) always gives the same registry, used with
///   this engine only, and in place for as long as any copy of `self` is.
/// - S2 [`is_same`](Self::is_same) is true only for two references to the same
///   engine and registry.
/// - S3 [`pin`](Self::pin) keeps its promise.
pub unsafe trait Home: Copy + Send + Sync + sealed::Sealed {
    /// Where the memory comes from.
    #[doc(hidden)]
    type Engine: Engine;

    /// How names are kept.
    #[doc(hidden)]
    type Name: Name;

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

    /// Until the result is dropped, [`Engine::drain`] of `key` on another
    /// thread waits. What is read of the expert's state after this call is
    /// either from after the change that `drain` follows, or waited for: a
    /// sequentially consistent fence on both sides. Pins of different keys on
    /// one thread may overlap.
    ///
    /// A home that is never used from two threads needs none of this.
    #[doc(hidden)]
    fn pin(self, key: ExpertKey) -> Self::Pin;

    /// Calls `f` while what this thread allocates from the global allocator is
    /// the host's. A home without scopes just calls it.
    #[doc(hidden)]
    fn as_host<T>(self, f: impl FnOnce() -> T) -> T {
        f()
    }

    /// Whether somebody is told what happens to experts, by this thread, now.
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

/// A home with scopes: what a thread allocates from the global allocator can
/// be attributed to an expert.
///
/// # Safety
///
/// - S1 an ambient owner that ends while it is current is replaced by the
///   host: [`enter`](Self::enter) keeps no reference that outlives its expert.
pub unsafe trait Ambient: Home {
    /// What was current before.
    #[doc(hidden)]
    type Entered: Copy;

    /// Makes `who` the owner of what this thread allocates.
    #[doc(hidden)]
    fn enter(self, who: Who<'_, OwnerOf<Self>>) -> Self::Entered;

    /// Makes current what was so before; the host, where that has ended.
    #[doc(hidden)]
    fn leave(self, previous: Self::Entered);

    /// The expert that owns what this thread allocates; `None` for the host.
    #[doc(hidden)]
    fn current(self) -> Option<ExpertKey>;
}

pub(crate) mod sealed {
    /// Keeps [`Home`](super::Home) to this crate.
    pub trait Sealed {}
}
