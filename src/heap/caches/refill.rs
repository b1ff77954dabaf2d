//! The cold half of allocation, for an empty bin.
//!
//! The bin is filled from the first source that has blocks, the cheapest first: blocks
//! freed meanwhile in the current span; the next available span; an idle span; a span that
//! an ended thread left with enough free blocks; fresh pages of the current span; a waiting
//! span that other threads have freed into; any span that was left with a free block; a
//! fresh span. When the quota or the system refuses, see `calls/pressure`.

use core::ptr::NonNull;

use super::bins::wait_for;
use super::cache::Cache;
use super::collect;
use super::idle;
use crate::error::Error;
use crate::heap::base::geometry::PAGE;
use crate::heap::base::paths::{self, Path};
use crate::heap::base::size_class::{self, BinPlace};
use crate::heap::owners::heap::Heap;
use crate::heap::pages::address;
use crate::heap::pages::runs::{self, Run};
use crate::heap::presence::present;
use crate::heap::presence::token::token;
use crate::heap::spans::free_block::{FreeBlock, FreeList};
use crate::heap::spans::span::TAGGED;
use crate::heap::spans::span::{Span, SpanState};
use crate::sync::Ordering::Acquire;
use crate::sync::fence;

/// How many waiting or abandoned spans are looked at before a fresh one is begun. They then
/// go to the back, so each has its turn.
const LOOKS: usize = 4;

/// How many bytes the host carves at once, of memory that was used before.
const CARVED_AGAIN: usize = 4 * PAGE;

impl Cache {
    /// Fills the bin with the blocks freed meanwhile in the current span, and takes one.
    /// Returns `None` if they are too few, or if the bin is not empty. This is by far the
    /// most frequent slow path.
    #[inline(always)]
    pub fn reuse_current(&self, place: BinPlace) -> Option<NonNull<u8>> {
        let (bin, queue) = self.bin_and_queue(place);
        let current = queue.current.get()?;
        let local = current.local_count();
        if self.is_tight() {
            return self.reuse_tight(place, current, local);
        }
        let carved = current.carved();
        if local < carved / 8 || local == 0 || !bin.list().is_empty() {
            return None;
        }
        current.moving_alone(|| {
            bin.fill(queue, current.take_local(), local);
            // Blocks that are left over count as used, so the span is looked at later.
            current.set_wait_moving(0, wait_for(current, carved.saturating_sub(local)));
        });
        self.pop(place)
    }

    /// As [`reuse_current`](Self::reuse_current), for a tight quota.
    #[cold]
    #[inline(never)]
    fn reuse_tight(
        &self,
        place: BinPlace,
        current: &'static Span,
        local: u32,
    ) -> Option<NonNull<u8>> {
        let class = place.class();
        if local == 0 || !self.bin(class).is_empty() {
            return None;
        }
        current.moving_alone(|| {
            self.fill(class, current.take_local(), local);
            current.set_wait_moving(0, self.watched(current, 0));
        });
        self.pop(place)
    }

    /// Allocates a block of `class` within the quota, without giving back memory for it.
    ///
    /// # Errors
    ///
    /// As [`allocate_slow`](Self::allocate_slow); a refusal is not counted.
    pub fn allocate_within(&'static self, class: usize) -> Result<NonNull<u8>, Error> {
        let place = BinPlace::of_class(class);
        if let Some(block) = self.pop(place).or_else(|| self.reuse_current(place)) {
            return Ok(block);
        }
        let _held = present::hold();
        self.lose_bin(class);
        let done = self.refill(class);
        if done.is_err() {
            // The fresh span is not kept as idle.
            if let Some(span) = self.queue(class).current.get().filter(|span| self.is_empty(span)) {
                self.end_current(span);
            }
        }
        done.and_then(|()| self.pop(place).ok_or(Error::OutOfMemory))
    }

    /// Fills the bin, in the order of the module's documentation.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] or [`Error::QuotaExceeded`], without an attempt to give
    /// memory back.
    pub fn refill(&'static self, class: usize) -> Result<(), Error> {
        let queue = self.queue(class);
        if let Some(current) = queue.current.get() {
            if self.fill_from(current, self.enough(current)) {
                return Ok(());
            }
        }
        if let Some(span) = self.pop_front(&queue.available) {
            self.make_current(class, span);
            if self.fill_from(span, 1) {
                return Ok(());
            }
        }
        if let Some(span) = self.wake(class) {
            self.make_current(class, span);
            self.fill_from(span, 1);
            return Ok(());
        }
        if self.adopt_abandoned(class, |span| self.enough(span)) {
            return Ok(());
        }
        if let Some(current) = queue.current.get() {
            if current.carved() < current.capacity() {
                return self.carve(current);
            }
        }
        if self.poll_waiting(class) || self.adopt_abandoned(class, |_| 1) {
            return Ok(());
        }
        self.begin_span(class)
    }

    /// Fills the bin from the current span's local or remote list, if one has at least
    /// `enough` blocks, or with blocks that were left over.
    pub fn fill_from(&self, span: &'static Span, enough: u32) -> bool {
        span.moving(|| self.fill_moving(span, enough))
    }

    fn fill_moving(&self, span: &'static Span, enough: u32) -> bool {
        let local = span.local_count();
        if local >= enough {
            self.fill(span.class(), span.take_local(), local);
            self.watch(span, 0);
            return true;
        }
        if !span.leftover().is_empty() {
            self.fill(span.class(), span.leftover(), span.leftover_count());
            span.set_leftover(FreeList::EMPTY, 0);
            return true;
        }
        if span.remote.state().count() < enough {
            return false;
        }
        paths::entered(Path::CollectedRemote);
        let taken = span.remote.take();
        let Some(first) = taken.first() else { return false };
        // SAFETY: the first of the remote list just taken.
        let list = unsafe { FreeBlock::listed(span.block(first)) };
        self.fill(span.class(), list.into(), taken.count());
        true
    }

    /// Looks at a few waiting spans for one that others have freed into.
    pub fn poll_waiting(&'static self, class: usize) -> bool {
        let waiting = &self.queue(class).waiting;
        for _ in 0..LOOKS {
            let Some(span) = self.pop_front(waiting) else { return false };
            if span.remote.state().count() >= self.enough(span) {
                self.make_current(class, span);
                return self.fill_from(span, 1);
            }
            waiting.push_back(span);
        }
        false
    }

    /// Adopts a span that an ended thread left, if one has as many free blocks as `least`
    /// demands.
    fn adopt_abandoned(&'static self, class: usize, least: impl Fn(&Span) -> u32) -> bool {
        let heap = self.heap();
        if !heap.has_abandoned(class) {
            return false;
        }
        crate::sync::delay(crate::sync::Window::AdoptAbandoned);
        let adopted = self.if_own(|heap, lists| {
            let list = &lists.abandoned[class];
            for _ in 0..LOOKS {
                let span = list.first()?;
                heap.remove_abandoned(lists, span);
                if span.outstanding() + least(span) <= span.carved() {
                    // This is done under the lock, so a thread that frees the last block
                    // meanwhile sees that it must not end the span.
                    span.set_state(SpanState::Current);
                    return Some(span);
                }
                heap.add_abandoned(lists, span);
            }
            None
        });
        let Some(span) = adopted.flatten() else { return false };
        paths::entered(Path::AdoptedSpan);
        self.own(span);
        // Frees into it while it had no cache left no note.
        if span.remote.set_abandoned(false).count() != 0 {
            self.set_freed_into(true);
        }
        self.make_current(class, span);
        self.fill_from(span, 1)
    }

    /// Makes this thread the owner of a span that no thread owns.
    fn own(&'static self, span: &'static Span) {
        span.set_cache(Some(self));
        let tagged = if span.is_tagged() { TAGGED } else { 0 };
        span.set_thread(token() | tagged);
    }

    fn begin_span(&'static self, class: usize) -> Result<(), Error> {
        let span = self.fresh_span(class)?;
        self.carve(span)
    }

    /// Begins a span for the owner of this cache, and makes it current.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`].
    pub fn fresh_span(&'static self, class: usize) -> Result<&'static Span, Error> {
        self.look_around(collect::LOOKS);
        self.give_idle(size_class::slices(class));
        let span = loop {
            let run = self.take_run(size_class::slices(class)).ok_or(Error::OutOfMemory)?;
            let heap = self.heap();
            let is_open = || core::ptr::eq(heap, self.heap());
            if let Some(span) = heap.begin_span(class, &run, is_open) {
                break span;
            }
        };
        self.own(span);
        self.make_current(class, span);
        Ok(span)
    }

    /// Takes a run of slices. If the system has no more, this thread first gives up its kept
    /// spans.
    fn take_run(&self, slices: usize) -> Option<Run> {
        let take = || runs::take(slices, 1);
        take().or_else(|| self.home().is_some_and(idle::give_up_all).then(take)?)
    }

    /// Carves blocks of the current span's memory, for a page or at least one block, and
    /// fills the bin with them. The host, which has no quota, carves more if that takes no
    /// physical memory.
    fn carve(&self, span: &'static Span) -> Result<(), Error> {
        let (size, carved) = (span.block_size(), span.carved());
        let step = if span.is_fresh() || !self.heap().is_host() { PAGE } else { CARVED_AGAIN };
        let begin = carved as usize * size;
        let end = (begin + size + step - 1) & !(step - 1);
        // Both numbers fit 32 bits, and a division of 32 bits is much faster.
        let count = (end - begin) as u32 / size as u32;
        let count = count.min(span.capacity() - carved);
        let charge = span.charge_of(carved + count).saturating_sub(span.charged());
        self.charge(span, charge, Heap::charge)?;
        self.make_blocks(span, carved, count);
        self.ease();
        Ok(())
    }

    /// Carves `count` blocks of the current span's memory, which was charged, and fills the
    /// bin with them.
    pub fn make_blocks(&self, span: &'static Span, carved: u32, count: u32) {
        let size = span.block_size();
        let begin = span.start() + carved as usize * size;
        let mut address = begin + count as usize * size;
        let mut list = FreeList::EMPTY;
        while address > begin {
            address -= size;
            // SAFETY: inside this span, which is inside a mapped chunk.
            let memory = unsafe { address::block_at(address) };
            // SAFETY: uncarved memory of this span, which is not used.
            list = unsafe { FreeBlock::new(memory, list) }.into();
        }
        span.moving(|| {
            span.set_carved(carved + count);
            self.fill(span.class(), list, count);
            self.watch(span, span.local_count());
        });
    }

    /// Charges the owner. Charges `bytes` for the current span. An expert's heap may be
    /// adopted by the host at any moment, so its lock is held, and the charge goes to the
    /// span's owner. The host's charges are made in the same way until a span that is being
    /// adopted has arrived.
    ///
    /// # Errors
    ///
    /// Those of `how`.
    pub fn charge(
        &self,
        span: &Span,
        bytes: usize,
        how: impl Fn(&Heap, &Span, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let heap = self.heap();
        let has_span = span.is_in(heap);
        if has_span && heap.is_host() {
            // Acquire: the charge so far (the Release in `adopt_span`).
            fence(Acquire);
            crate::sync::delay(crate::sync::Window::HostCharge);
            return how(heap, span, bytes);
        }
        self.with_own(|heap, _| how(heap, span, bytes))
    }
}
