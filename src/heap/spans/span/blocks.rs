//! The blocks of a span: the counts and the lists of its free blocks (SPAN1, SPAN2, SPAN7).

use core::ptr::NonNull;

use super::{NEVER, Span};
use crate::heap::pages::address;
use crate::heap::spans::free_block::{self, FreeBlock, FreeList};
use crate::heap::spans::tags::Tag;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::fence;

/// How often the counts of a span are read again while its blocks move. The span's thread
/// moves blocks within about ten instructions. If it is stopped there, a count may be off
/// by the blocks that are being moved.
const READ_TRIES: u32 = 1000;

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
        let done = f();
        // Release: the moves before the even version (the Acquire in `used`).
        self.version.store(version.wrapping_add(2), Release);
        done
    }

    /// How many blocks are in use, for a caller that does not own the span but holds the heap's
    /// lock. `in_bin` tells how many are in the bin, if the span is current. The count is exact if
    /// no thread allocates or frees meanwhile; otherwise it is off by what they allocate and free.
    pub fn used(&self, in_bin: impl Fn() -> u32) -> u32 {
        let mut used = 0;
        for _ in 0..READ_TRIES {
            // Acquire: the moves (the Release in `moving`).
            let version = self.version.load(Acquire);
            let in_bin = in_bin();
            crate::sync::delay(crate::sync::Window::SpanUsed);
            let free = self.own_free().wrapping_add(self.remote.state().count());
            used = self.carved().saturating_sub(free.saturating_add(in_bin));
            fence(Acquire);
            if version % 2 == 0 && self.version.load(Relaxed) == version {
                break;
            }
            core::hint::spin_loop();
        }
        used
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
