//! Figures: the memory of one expert, and the memory that its end brought back.

use core::fmt;
#[cfg(feature = "std")]
use core::time::Duration;

use crate::engine::{Engine, Taken, Who};

/// The memory of an expert, in bytes and blocks.
///
/// Exact while no other thread allocates or frees for the expert; otherwise
/// each figure is from some moment during the call.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let heap = ExpertAlloc::new();
/// let expert = heap.expert("one").quota(1 << 20).register()?;
/// let block = expert.alloc(100)?;
/// expert.free(block.as_ptr())?;
/// let stats = expert.stats();
/// assert_eq!((stats.allocations, stats.frees, stats.live_blocks), (1, 1, 0));
/// assert!(stats.peak_bytes >= 100);
/// println!("{stats}");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes in blocks handed out and not freed: their usable sizes, which
    /// may be a little larger than the requests. For raw blocks of the process-wide
    /// heap this includes the 16 bytes in front.
    pub live_bytes: usize,
    /// Blocks handed out and not freed.
    pub live_blocks: usize,
    /// The highest `charged_bytes` so far: a quota of that size would have been enough.
    pub peak_bytes: usize,
    /// Bytes that count against the quota: blocks, whole pages, and all other memory that
    /// is set aside for the expert and its children.
    pub charged_bytes: usize,
    /// The hard limit of `charged_bytes`; 0 for none.
    pub quota: usize,
    /// Blocks handed out so far.
    pub allocations: u64,
    /// Blocks freed so far. The host counts the frees of blocks that it adopted.
    pub frees: u64,
    /// Requests refused because the quota had no room or the expert must stop.
    pub refusals: u64,
}

impl Stats {
    /// The figures of `who`.
    pub(crate) fn of<E: Engine>(engine: E, who: Who<'_, E::Owner>) -> Self {
        let usage = engine.usage(who);
        Self {
            live_bytes: usage.live_bytes,
            live_blocks: usage.live_blocks,
            peak_bytes: who.account.peak(),
            charged_bytes: who.account.charged(),
            quota: who.account.quota(),
            allocations: usage.allocations,
            frees: usage.frees,
            refusals: who.account.refusals() as u64,
        }
    }

    /// Adds each figure, except for the quota. A parent's charge includes its children's,
    /// so charges and peaks are added only for experts without a parent. Peaks were not
    /// reached at the same time: their sum may be more memory than there is.
    pub(crate) fn add(&mut self, other: &Self, has_parent: bool) {
        self.live_bytes += other.live_bytes;
        self.live_blocks += other.live_blocks;
        if !has_parent {
            self.peak_bytes = self.peak_bytes.saturating_add(other.peak_bytes);
            self.charged_bytes += other.charged_bytes;
        }
        self.allocations += other.allocations;
        self.frees += other.frees;
        self.refusals += other.refusals;
    }
}

/// Shows live bytes, charged bytes and the numbers of calls in one line.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { live_bytes, live_blocks, charged_bytes, peak_bytes, .. } = self;
        write!(f, "{live_bytes} bytes live in {live_blocks} blocks, {charged_bytes} charged")?;
        write!(f, " (peak {peak_bytes}")?;
        match self.quota {
            0 => f.write_str(", no quota)")?,
            quota => write!(f, ", quota {quota})")?,
        }
        write!(f, ", {} allocations", self.allocations)?;
        write!(f, ", {} frees, {} refusals", self.frees, self.refusals)
    }
}

/// The blocks and bytes that the end of an expert brought back.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let heap = ExpertAlloc::new();
/// let expert = heap.expert("forgetful").register()?;
/// expert.alloc(100)?;
/// let reclaimed = expert.finish();
/// assert_eq!((reclaimed.blocks, reclaimed.cleanups_run), (1, 0));
/// println!("{reclaimed}");
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "it tells which blocks the expert had not freed, and whether a clean-up failed"]
pub struct Reclaimed {
    /// Live blocks that were taken back.
    pub blocks: usize,
    /// Their bytes, as in [`Stats::live_bytes`].
    pub bytes: usize,
    /// Live blocks of the global allocator. They stay valid and are the host's now. If the
    /// host copies the values that it keeps (`ExpertAlloc::hand_over`), these blocks are
    /// leaks.
    pub adopted_blocks: usize,
    /// Their bytes.
    pub adopted_bytes: usize,
    /// Raw blocks that the expert transferred to the host during its life: it returned
    /// these on purpose, unlike the adopted ones. They are no part of the figures above. 0
    /// on systems without `std`, which do not count them.
    pub handed_over_blocks: usize,
    /// Clean-ups that were run.
    pub cleanups_run: usize,
    /// Clean-ups that panicked.
    pub cleanups_failed: usize,
    /// The time from the beginning of the first clean-up until the slot was free again.
    #[cfg(feature = "std")]
    pub elapsed: Duration,
}

impl Reclaimed {
    /// Counts a clean-up that is about to run: as failed until it has returned.
    pub(crate) fn count_cleanup(&mut self) {
        self.cleanups_run += 1;
        self.cleanups_failed += 1;
    }

    /// Counts that the clean-up counted last has returned.
    pub(crate) fn count_return(&mut self) {
        self.cleanups_failed -= 1;
    }

    pub(crate) fn count_reclaimed(&mut self, taken: Taken) {
        self.blocks += taken.blocks;
        self.bytes += taken.bytes;
    }

    #[cfg(feature = "std")]
    pub(crate) fn count_handed_over(&mut self, blocks: u32) {
        self.handed_over_blocks = blocks as usize;
    }

    pub(crate) fn count_adopted(&mut self, taken: Taken) {
        self.adopted_blocks += taken.blocks;
        self.adopted_bytes += taken.bytes;
    }
}

/// One line: `reclaimed 12 blocks (4096 bytes), adopted 1 (48 bytes), 2 clean-ups (0 failed), 12µs`.
impl fmt::Display for Reclaimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reclaimed {} blocks ({} bytes)", self.blocks, self.bytes)?;
        write!(f, ", adopted {} ({} bytes)", self.adopted_blocks, self.adopted_bytes)?;
        write!(f, ", {} clean-ups ({} failed)", self.cleanups_run, self.cleanups_failed)?;
        #[cfg(feature = "std")]
        write!(f, ", {:?}", self.elapsed)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_peaks_may_be_more_than_a_word_holds() {
        let mut sum = Stats::default();
        for _ in 0..2 {
            sum.add(&Stats { peak_bytes: usize::MAX - 1, ..Stats::default() }, false);
        }
        assert_eq!(sum.peak_bytes, usize::MAX);
    }
}
