//! Counts how often each of the engine's slow paths was entered, because a test that never
//! entered one has not tested it.
//!
//! Without the feature `testing`, nothing is counted and no code is generated.

/// The slow paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Path {
    /// A thread took over a span that an ended one had left.
    AdoptedSpan,
    /// A thread took the remote list of a span.
    CollectedRemote,
    /// The quota or the system refused, and a thread looked for free blocks.
    Pressure,
    /// Such a look found a block.
    PressureRelieved,
    /// A block of a larger class was used instead.
    LargerClass,
    /// More than the quota was granted.
    Overdrawn,
    /// A request was refused for want of quota.
    Refused,
    /// A thread ended and left spans with live blocks.
    Abandoned,
    /// The last block of an abandoned span came back, and the span ended.
    AbandonedSpanEnded,
    /// A large block grew where it was.
    GrewInPlace,
    /// A large block shrank where it was.
    ShrankInPlace,
    /// A block stayed where it was, because there was no memory to move it.
    Stayed,
    /// A block was allocated in a mapping of its own.
    Huge,
    /// A huge mapping was kept because a thread was pinned.
    HugeKept,
    /// The mapping of a huge block that was freed was used again.
    HugeReused,
    /// A span without a block in use, kept by its thread, was used again.
    IdleSpanUsed,
    /// The span of a large block that was freed was used again.
    SpareUsed,
    /// A thread gave up its idle spans, because the interval was over or the system had no
    /// memory.
    IdleSpansEnded,
    /// The heap of an expert was adopted by the host.
    HeapAdopted,
    /// A thread merged an adopted cache with its own of the host.
    CacheMerged,
    /// A cache was dropped because its heap had been reclaimed.
    CacheDropped,
    /// A heap changed owners between a read of it and its lock.
    HeapMoved,
    /// Free slices went back to the system.
    Purged,
    /// A chunk went back to the system.
    ChunkReleased,
    /// The system refused to take a chunk back.
    NotUnmapped,
    /// A block without its guard was next to be handed out, and was not handed out.
    GuardMissed,
    /// An owner got spans of its own for a class that had grown.
    ClassGrown,
    /// An owner got spans of its own because it was busy.
    BusyOwner,
    /// A sweep looked for blocks of owners that had ended.
    Swept,
    /// A span that a bin was filled from was set aside in a phase of frees.
    CurrentSetAside,
}

#[cfg(feature = "testing")]
impl Path {
    /// All paths, in the order of their numbers.
    pub const ALL: [Self; 30] = [
        Self::AdoptedSpan,
        Self::CollectedRemote,
        Self::Pressure,
        Self::PressureRelieved,
        Self::LargerClass,
        Self::Overdrawn,
        Self::Refused,
        Self::Abandoned,
        Self::AbandonedSpanEnded,
        Self::GrewInPlace,
        Self::ShrankInPlace,
        Self::Stayed,
        Self::Huge,
        Self::HugeKept,
        Self::HugeReused,
        Self::IdleSpanUsed,
        Self::SpareUsed,
        Self::IdleSpansEnded,
        Self::HeapAdopted,
        Self::CacheMerged,
        Self::CacheDropped,
        Self::HeapMoved,
        Self::Purged,
        Self::ChunkReleased,
        Self::NotUnmapped,
        Self::GuardMissed,
        Self::ClassGrown,
        Self::BusyOwner,
        Self::Swept,
        Self::CurrentSetAside,
    ];
}

#[cfg(feature = "testing")]
mod counts {
    use super::Path;
    use crate::sync::{AtomicUsize, Ordering::Relaxed};

    /// Statistics: order nothing.
    static COUNTS: [AtomicUsize; Path::ALL.len()] =
        [const { AtomicUsize::new(0) }; Path::ALL.len()];

    /// Counts an entry.
    pub fn entered(path: Path) {
        COUNTS[path as usize].fetch_add(1, Relaxed);
    }

    /// How often `path` was entered so far.
    pub fn count(path: Path) -> usize {
        COUNTS[path as usize].load(Relaxed)
    }
}

#[cfg(not(feature = "testing"))]
mod counts {
    use super::Path;

    /// Counts nothing.
    #[inline(always)]
    pub fn entered(_: Path) {}
}

#[cfg(feature = "testing")]
pub use counts::count;
pub use counts::entered;
