//! The blocks of a span: the counts and the lists of its free blocks (SPAN1, SPAN2, SPAN7).

use core::ptr::NonNull;

use super::{NEVER, Span};
use crate::heap::pages::address;
use crate::heap::spans::free_block::{self, FreeBlock, FreeList};
use crate::heap::spans::tags::Tag;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::fence;
use crate::wait::Backoff;

/// How often the counts of a span are read while its blocks move: 128 times at once, then
/// 32 times after sleeps that double up to 1 ms.
const READ_ROUNDS: u32 = 160;

impl Span {
    /// Runs `f`, which moves free blocks from list to list (SPAN7). The span's thread calls
    /// this, or the holder of its heap's lock if it has no thread. May be nested.
    #[inline(always)]
    pub fn moving<T>(&self, f: impl FnOnce() -> T) -> T {
        if self.version.load(Relaxed) % 2 != 0 { f() } else { self.moving_alone(f) }
    }

    /// As [`moving`](Self::moving), if nothing else is moving.
    #[inline(always)]
    pub fn moving_alone<T>(&self, f: impl FnOnce() -> T) -> T {
        let version = self.version.load(Relaxed);
        debug_assert!(version % 2 == 0);
        self.version.store(version.wrapping_add(1), Relaxed);
        // Release: the odd version before the moves (the fence in `used`).
        fence(Release);
        crate::sync::delay(crate::sync::Window::Moving);
        let done = f();
        crate::sync::delay(crate::sync::Window::Moved);
        // Release: the moves before the even version (the Acquire in `used`).
        self.version.store(version.wrapping_add(2), Release);
        done
    }

    /// How many blocks are in use, for a caller that does not own the span but holds the heap's
    /// lock. `in_bin` tells how many are in the bin, if the span is current. The count is exact if
    /// no thread allocates or frees meanwhile; otherwise it is off by what they allocate and free.
    ///
    /// While blocks move, the counts are read again; if the span's thread was stopped within
    /// the ten or so instructions of a move, the caller waits for it. After about 20 ms all
    /// blocks count as in use, because then there is no telling: a program that is told of
    /// too many loses none.
    pub fn used(&self, in_bin: impl Fn() -> u32) -> u32 {
        let mut backoff = Backoff::new();
        while backoff.rounds() < READ_ROUNDS {
            // Acquire: the moves (the Release in `moving`).
            let version = self.version.load(Acquire);
            // Frees first, as in `usage::in_common`: a block that is allocated in between counts
            // as in use, and one that is freed does, too.
            let free = self.own_free().wrapping_add(self.remote.state().count());
            fence(Acquire);
            crate::sync::delay(crate::sync::Window::SpanUsed);
            let in_bin = in_bin();
            let used = self.carved().saturating_sub(free.saturating_add(in_bin));
            fence(Acquire);
            if version % 2 == 0 && self.version.load(Relaxed) == version {
                return used;
            }
            backoff.pause();
        }
        self.carved()
    }

    /// Frees the block at `memory`. Returns false if the span waits for exactly this free.
    /// Then the block is not counted yet, see [`count_noticed`](Self::count_noticed).
    ///
    /// The block is written and not read: it may have left the processor's caches, and a
    /// store need not wait for it.
    ///
    /// # Safety
    ///
    /// - S1 `memory` is the start of a block of this span, which is this thread's.
    /// - S2 the caller gives up its use.
    #[inline(always)]
    pub unsafe fn push(&self, memory: NonNull<u8>) -> bool {
        // SAFETY: S1: a block of this heap lies there.
        let memory = unsafe { address::block_at(memory.addr().get()) };
        // SAFETY: S2; the pointer has the chunk's provenance.
        self.local.set(unsafe { FreeBlock::new(memory, self.local.get()) }.into());
        let wait = self.wait.load(Relaxed).wrapping_sub(1);
        if wait == 0 {
            return false;
        }
        // Release: the block's content and words, to a thread that counts the free blocks.
        // If this was the last block, the span may end the moment after.
        self.wait.store(wait, Release);
        true
    }

    /// Counts the block whose free was waited for.
    pub fn count_noticed(&self) {
        // Release: as in `push`.
        self.wait.store(0, Release);
    }

    /// The local list.
    #[cfg(feature = "testing")]
    pub fn local(&self) -> FreeList {
        self.local.get()
    }

    /// Takes the local list; the caller must then set `wait`.
    #[inline(always)]
    pub fn take_local(&self) -> FreeList {
        self.local.take()
    }

    /// How many blocks are on the local list (SPAN2).
    pub fn local_count(&self) -> u32 {
        // Acquire: the blocks freed (the Release in `push`).
        let wait = self.wait.load(Acquire);
        self.base.load(Relaxed).wrapping_sub(wait)
    }

    /// From now on, with `local` blocks on the local list, `wait` more local
    /// frees bring the span back to its cache's attention.
    pub fn set_wait(&self, local: u32, wait: u32) {
        self.moving(|| self.set_wait_moving(local, wait));
    }

    /// As [`set_wait`](Self::set_wait), within [`moving`](Self::moving).
    #[inline(always)]
    pub fn set_wait_moving(&self, local: u32, wait: u32) {
        self.wait.store(wait, Relaxed);
        self.base.store(local.wrapping_add(wait), Relaxed);
    }

    /// How many blocks are left over from a bin.
    pub fn leftover_count(&self) -> u32 {
        u32::from(self.leftover_count.load(Relaxed))
    }

    /// The rest.
    pub fn leftover(&self) -> FreeList {
        self.leftover.get()
    }

    /// Keeps `list`, of `count` blocks, as blocks left over from a bin.
    pub fn set_leftover(&self, list: FreeList, count: u32) {
        self.leftover.set(list);
        self.leftover_count.store(count as u16, Relaxed);
    }

    /// Takes back `count` blocks that a bin still held.
    pub fn take_back(&self, list: FreeList, count: u32) {
        if self.local.get().is_empty() {
            self.local.set(list);
            self.set_wait(self.local_count() + count, NEVER);
            return;
        }
        let before = self.leftover();
        if !before.is_empty() {
            // The loop is counted, because a block that was freed twice makes a ring.
            let is_sound = |block: &FreeBlock| block.is_guarded();
            let all = before.iter().take_while(is_sound).take(self.leftover_count() as usize);
            let Some(last) = all.last() else { return };
            last.set_next(list);
        }
        let all = if before.is_empty() { list } else { before };
        self.set_leftover(all, self.leftover_count() + count);
    }

    /// Collects the blocks that other threads freed. Only the span's thread calls this.
    pub fn bring_home(&'static self) {
        self.moving(|| {
            let taken = self.remote.take();
            let Some(first) = taken.first() else { return };
            // SAFETY: the first of the remote list just taken.
            let list = unsafe { FreeBlock::listed(self.block(first)) };
            self.take_back(list.into(), taken.count());
        });
    }

    /// How many free blocks of the span this thread has, without the remote list and the
    /// bin.
    pub fn own_free(&self) -> u32 {
        self.local_count().wrapping_add(self.leftover_count())
    }

    /// Carved blocks that are on no list of the span: in use, or in the bin.
    pub fn outstanding(&self) -> u32 {
        // Other threads may free meanwhile, so the counts may not match.
        self.carved().saturating_sub(self.own_free().wrapping_add(self.remote.state().count()))
    }

    /// Whether every carved block carries its guard, or has no tag. So a block in use does
    /// not count as free because another block was freed twice.
    pub fn is_all_free(&self) -> bool {
        if self.is_tagged() {
            return self.tag_words().all(|word| word.load() == Tag::NONE);
        }
        let (size, start) = (self.block_size(), self.start());
        let mut address = start + self.carved() as usize * size;
        while address > start {
            address -= size;
            // SAFETY: a carved block's start, in a mapped chunk.
            let memory = unsafe { address::block_at(address) };
            // SAFETY: as above.
            if !unsafe { free_block::has_guard(memory) } {
                return false;
            }
        }
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::boxed::Box;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// A span with 100 blocks, of which 40 are on the local list.
    fn span() -> &'static Span {
        // SAFETY: zero is a header (`header_of`).
        let span: &'static Span = Box::leak(Box::new(unsafe { core::mem::zeroed() }));
        span.set_carved(100);
        span.set_wait(40, NEVER);
        span
    }

    /// A move of the local list to the bin, which stops in the middle for so long.
    fn counted_while_it_moves(stops_for: Duration) -> u32 {
        let (span, in_bin, ready) = (span(), AtomicU32::new(0), Barrier::new(2));
        thread::scope(|threads| {
            threads.spawn(|| {
                span.moving(|| {
                    in_bin.store(40, SeqCst);
                    ready.wait();
                    thread::sleep(stops_for);
                    span.set_wait_moving(0, NEVER);
                });
            });
            ready.wait();
            span.used(|| in_bin.load(SeqCst))
        })
    }

    #[test]
    fn whoever_counts_waits_for_a_thread_that_is_stopped_in_a_move() {
        assert_eq!(counted_while_it_moves(Duration::from_millis(1)), 60);
    }

    #[test]
    fn all_blocks_count_as_in_use_where_a_move_does_not_end() {
        assert_eq!(counted_while_it_moves(Duration::from_secs(1)), 100);
    }
}
