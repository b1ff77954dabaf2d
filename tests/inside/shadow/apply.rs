//! The steps of a run. Each changes the heap and the list in the same way, and compares the
//! results.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::content::Content;
use super::{BLOCKS, Heap, Live, Op, PATRONS, STALE, Shadow, Step, rule};
use crate::engine::{Engine, Kind};
use crate::error::Error;
use crate::fixed::block::Block;
use crate::fixed::header::{GRANULE, HEADER, MAX_SLACK, MIN_BLOCK};
use crate::fixed::region::LOST;
use crate::key::ExpertKey;
use crate::sync::Ordering::Relaxed;

/// How often a block is filled with forged headers again, to ask about them.
const FORGERIES: usize = 16;

impl Shadow<'_> {
    pub(super) fn apply(&mut self, heap: &Heap<'_>, op: Op) -> Step {
        match op {
            Op::Allocate { slot, patron, kind, size, align, zeroed } => {
                self.allocate(heap, slot, patron, kind, size, align, zeroed)
            }
            Op::Free { slot } => self.free(heap, slot),
            Op::Reallocate { slot, size, align, zeroed } => {
                self.reallocate(heap, slot, size, align, zeroed)
            }
            Op::FreeAs { slot, patron } => self.free_as(heap, slot, patron),
            Op::Probe { slot, offset } => self.probe(heap, slot, offset),
            Op::FreeAgain { place } => self.free_again(heap, place),
            Op::Transfer { slot, to } => self.transfer(heap, slot, to),
            Op::Reclaim { patron, kind } => self.reclaim(heap, patron, kind),
            Op::End { patron, to } => self.end(heap, patron, to),
            Op::AddRegion => self.add_region(heap),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of an operation")]
    fn allocate(
        &mut self,
        heap: &Heap<'_>,
        slot: usize,
        patron: usize,
        kind: Kind,
        size: usize,
        align: usize,
        zeroed: bool,
    ) -> Step {
        let Ok(layout) = Layout::from_size_align(size, align) else { return Ok(()) };
        if size == 0 && kind != Kind::Raw {
            return Ok(());
        }
        let who = self.who(heap, patron);
        let (charged, quota) = (who.account.charged(), who.account.quota());
        let (result, align, zeroed) = match kind {
            Kind::Raw => (heap.raw_allocate(who, size), 16, true),
            _ => (heap.allocate(who, kind, layout, zeroed), align, zeroed),
        };
        let granted = kind == Kind::Ambient && who.overdraft;
        let after = who.account.charged();
        rule(granted || quota == 0 || after <= quota.max(charged), "granted beyond the quota")?;
        let wrong = granted && result == Err(Error::QuotaExceeded);
        rule(!wrong, "refused what is granted beyond the quota")?;
        let at = match result {
            Ok(at) => at,
            Err(error) => return self.refused(heap, error, size, align, charged, quota),
        };
        self.counts.allocated += 1;
        rule(!zeroed || Content::Byte(0).is_at(at, 0..size), "fresh memory is not zero-filled")?;
        let content = self.content(at, size);
        self.place(heap, slot, Live { at, size, align, kind, patron, content })
    }

    /// The content for a new block of `size` bytes at `at`, often words that look like
    /// headers, if there is room for them.
    fn content(&mut self, at: NonNull<u8>, size: usize) -> Content {
        match self.random.below(8) {
            0 => {
                let other = self.blocks[self.random.below(BLOCKS)];
                Content::copied(other.map_or(at, |live| live.at))
            }
            n if n < 4 && size > 3 * MIN_BLOCK => {
                let patron = &self.patrons.0[self.random.below(PATRONS)];
                Content::forged(&mut self.random, patron.slot.load(Relaxed), size)
            }
            _ => Content::Byte(self.random.next() as u8),
        }
    }

    /// Notes a new or moved block, after comparing it with all others.
    fn place(&mut self, heap: &Heap<'_>, slot: usize, live: Live) -> Step {
        let start = live.at.addr().get();
        rule(start % live.align == 0, "a block is not aligned")?;
        let inside = self.range.contains(&start) && start + live.size <= self.range.end;
        rule(inside, "a block is outside of the regions")?;
        for other in self.blocks.iter().flatten() {
            let begin = other.at.addr().get();
            let apart = start + live.size.max(1) <= begin || begin + other.size.max(1) <= start;
            rule(apart, "two blocks overlap")?;
        }
        live.content.write(live.at, live.size);
        if live.content.is_like_headers() {
            // The words there may pass for the header of a freed block.
            let covered = |at: NonNull<u8>| {
                let header = at.addr().get() - HEADER;
                (start..start + live.size).contains(&header)
            };
            self.stale.iter_mut().for_each(|at| *at = at.filter(|&at| !covered(at)));
        }
        self.blocks[slot] = Some(live);
        self.doubt_all(heap, slot)?;
        self.forge_again(heap, slot)
    }

    /// Checks that there was a reason to refuse a request.
    fn refused(
        &mut self,
        heap: &Heap<'_>,
        error: Error,
        size: usize,
        align: usize,
        charged: usize,
        quota: usize,
    ) -> Step {
        match error {
            Error::OutOfMemory => {
                self.counts.out_of_memory += 1;
                let largest = heap.check()?.largest_free;
                // A class spans at most as much as its first size; a gap, the
                // alignment and a block.
                let enough = size.saturating_add(align + 2 * MAX_SLACK).saturating_mul(2);
                rule(largest < enough, "refused although there is memory")
            }
            Error::QuotaExceeded => {
                self.counts.over_quota += 1;
                let most = size.saturating_add(HEADER + MAX_SLACK);
                rule(quota != 0 && charged.saturating_add(most) > quota, "refused within the quota")
            }
            _ => Err("refused for a reason that there is not"),
        }
    }

    /// Checks the content of a block, and takes the block out of the list.
    fn leave(&mut self, slot: usize) -> Result<Option<Live>, &'static str> {
        let Some(live) = self.blocks[slot].take() else { return Ok(None) };
        rule(live.content.is_at(live.at, 0..live.size), "a block's content has changed")?;
        self.note_freed(live.at);
        Ok(Some(live))
    }

    fn note_freed(&mut self, at: NonNull<u8>) {
        let place = self.random.below(STALE);
        self.stale[place] = Some(at);
    }

    pub(super) fn free(&mut self, heap: &Heap<'_>, slot: usize) -> Step {
        let Some(live) = self.leave(slot)? else { return Ok(()) };
        self.counts.freed += 1;
        if live.kind == Kind::Raw {
            let key = self.who(heap, live.patron).key;
            rule(heap.raw_size(key, live.at.as_ptr()) == Ok(live.size), "a raw size is wrong")?;
            return rule(
                heap.raw_free(key, live.at.as_ptr()) == Ok(()),
                "a raw block is not freed",
            );
        }
        let layout = Layout::from_size_align(live.size, live.align).unwrap();
        // SAFETY: a live block of this heap with its layout.
        unsafe { heap.deallocate(live.at, layout) };
        Ok(())
    }

    fn reallocate(
        &mut self,
        heap: &Heap<'_>,
        slot: usize,
        size: usize,
        align: usize,
        zeroed: bool,
    ) -> Step {
        let Some(old) = self.blocks[slot] else { return Ok(()) };
        let raw = old.kind == Kind::Raw;
        let (align, zeroed) = if raw { (16, true) } else { (align, zeroed) };
        let Ok(new) = Layout::from_size_align(size, align) else { return Ok(()) };
        if size == 0 && !raw {
            return Ok(());
        }
        rule(old.content.is_at(old.at, 0..old.size), "a block's content has changed")?;
        let who = self.who(heap, old.patron);
        let (charged, quota) = (who.account.charged(), who.account.quota());
        let result = if raw {
            heap.raw_reallocate(who, old.at.as_ptr(), size)
        } else {
            let layout = Layout::from_size_align(old.size, old.align).unwrap();
            // SAFETY: a live block of this heap, of this owner and kind, with its layout.
            unsafe { heap.reallocate(who, old.kind, old.at, layout, new, zeroed) }
        };
        let granted = old.kind == Kind::Ambient && who.overdraft;
        let after = who.account.charged();
        rule(granted || quota == 0 || after <= quota.max(charged), "granted beyond the quota")?;
        let wrong = granted && result == Err(Error::QuotaExceeded);
        rule(!wrong, "refused what is granted beyond the quota")?;
        let at = match result {
            Ok(at) => at,
            Err(error) => {
                let kept = old.content.is_at(old.at, 0..old.size);
                rule(kept, "a failed realloc has changed the block")?;
                return self.refused(heap, error, size, align, charged, quota);
            }
        };
        let kept = old.size.min(size);
        rule(old.content.is_at(at, 0..kept), "a realloc has lost content")?;
        let is_filled = !zeroed || Content::Byte(0).is_at(at, kept..size);
        rule(is_filled, "a realloc has not filled what is new")?;
        if at == old.at {
            self.counts.resized += 1;
        } else {
            self.counts.moved += 1;
            self.note_freed(old.at);
        }
        self.blocks[slot] = None;
        self.place(heap, slot, Live { at, size, align, ..old })
    }

    fn free_as(&mut self, heap: &Heap<'_>, slot: usize, patron: usize) -> Step {
        let Some(live) = self.blocks[slot] else { return Ok(()) };
        let key = self.who(heap, patron).key;
        let due = match live.kind {
            Kind::Raw if patron == live.patron => return self.free(heap, slot),
            Kind::Raw => Error::AccessDenied,
            _ => Error::InvalidPointer,
        };
        self.counts.refused_pointers += 1;
        let at = live.at.as_ptr();
        rule(heap.raw_size(key, at) == Err(due), "another's block has a size")?;
        rule(heap.raw_free(key, at) == Err(due), "another's block was freed")?;
        let stale = ExpertKey::new(key.slot().unwrap_or(0), key.generation() + 2).unwrap();
        rule(heap.raw_free(stale, at).is_err(), "a stale key has freed a block")
    }

    /// Asks about an address inside a block, or anywhere near the regions.
    fn probe(&mut self, heap: &Heap<'_>, slot: usize, offset: usize) -> Step {
        self.doubt_all(heap, slot)?;
        let (start, span) = match self.blocks[slot] {
            Some(live) => (live.at.addr().get(), live.size),
            None => (self.range.start.wrapping_sub(512), self.range.len() + 1024),
        };
        let address = if span == 0 { start } else { start.wrapping_add(offset % span) };
        let pointer = core::ptr::without_provenance_mut::<u8>(address);
        let at = |live: &&Live| {
            let begin = live.at.addr().get();
            address == begin || (begin..begin + live.size).contains(&address)
        };
        let found = self.blocks.iter().flatten().find(at).copied();
        let is_start = found.is_some_and(|live| live.at.addr().get() == address);
        // Free memory still has the content of earlier blocks.
        let is_doubtful = !is_start && found.is_none_or(|live| live.content.is_like_headers());
        if is_doubtful && self.doubt(heap, address, found)? {
            return Ok(());
        }
        let due = found.map(|live| self.who(heap, live.patron).key);
        let owner = heap.owner_of(pointer);
        // Slack belongs to the block too, but the list does not know how much.
        rule(due.is_none() || owner == due, "an address has the wrong owner")?;
        if !is_start {
            self.counts.refused_pointers += 1;
            let key = self.who(heap, slot % PATRONS).key;
            let freed = heap.raw_free(key, pointer);
            rule(freed == Err(Error::InvalidPointer), "a wild pointer was freed")?;
            let resized = heap.raw_reallocate(self.who(heap, slot % PATRONS), pointer, 8);
            rule(resized == Err(Error::InvalidPointer), "a wild pointer was resized")?;
        }
        Ok(())
    }

    /// Forges other headers in a block that has some, and asks about them.
    fn forge_again(&mut self, heap: &Heap<'_>, slot: usize) -> Step {
        for _ in 0..FORGERIES {
            let Some(live) = &mut self.blocks[slot] else { break };
            if live.size > 1024 || !live.content.forge_again(&mut self.random) {
                break;
            }
            live.content.write(live.at, live.size);
            self.doubt_all(heap, slot)?;
        }
        Ok(())
    }

    /// Asks about each address inside a block with words like headers.
    fn doubt_all(&mut self, heap: &Heap<'_>, slot: usize) -> Step {
        if let Some(live) = self.blocks[slot].filter(|live| live.content.is_like_headers()) {
            for inside in (GRANULE..live.size).step_by(GRANULE).take(64) {
                self.doubt(heap, live.at.addr().get() + inside, Some(live))?;
            }
        }
        Ok(())
    }

    /// Asks whether an address behind words like a header, where no block begins, passes
    /// for a block. A rare pass by chance is no mistake, so it is counted, and the block is
    /// not used.
    fn doubt(
        &mut self,
        heap: &Heap<'_>,
        address: usize,
        inside: Option<Live>,
    ) -> Result<bool, &'static str> {
        let passed = heap.lock().at(address).is_some();
        if inside.is_some_and(|live| leads_inside(live, address)) {
            self.counts.forged += 1;
            self.counts.forged_passed += u32::from(passed);
        } else {
            self.counts.doubtful += 1;
            self.counts.doubtful_passed += u32::from(passed);
        }
        if let Some(live) = inside {
            let owner = heap.owner_of(core::ptr::without_provenance::<u8>(address));
            let due = self.who(heap, live.patron).key;
            rule(owner == Some(due), "what looks like a header has an owner")?;
        }
        Ok(passed)
    }

    fn free_again(&mut self, heap: &Heap<'_>, place: usize) -> Step {
        let Some(at) = self.stale[place] else { return Ok(()) };
        if self.blocks.iter().flatten().any(|live| live.at == at) {
            return Ok(());
        }
        self.counts.refused_pointers += 1;
        for patron in 0..=PATRONS {
            let freed = heap.raw_free(self.who(heap, patron).key, at.as_ptr());
            rule(freed == Err(Error::InvalidPointer), "a block was freed twice")?;
        }
        Ok(())
    }

    fn transfer(&mut self, heap: &Heap<'_>, slot: usize, to: usize) -> Step {
        let Some(live) = self.blocks[slot] else { return Ok(()) };
        let target = self.who(heap, to);
        let (charged, quota) = (target.account.charged(), target.account.quota());
        match heap.raw_transfer(self.who(heap, live.patron), live.at.as_ptr(), target) {
            Ok(at) => {
                rule(live.kind == Kind::Raw && at == live.at, "what is not raw was transferred")?;
                self.counts.transferred += 1;
                self.blocks[slot] = Some(Live { patron: to, ..live });
                Ok(())
            }
            Err(Error::InvalidPointer) => rule(live.kind != Kind::Raw, "a raw block is unknown"),
            Err(error) => self.refused(heap, error, live.size, live.align, charged, quota),
        }
    }

    fn reclaim(&mut self, heap: &Heap<'_>, patron: usize, kind: Kind) -> Step {
        let (mut blocks, mut bytes, mut most) = (0, 0, 0);
        for slot in 0..BLOCKS {
            if self.blocks[slot].is_some_and(|live| live.patron == patron && live.kind == kind) {
                let live = self.leave(slot)?;
                blocks += 1;
                bytes += live.map_or(0, |live| live.size);
                most += live.map_or(0, |live| live.most());
            }
        }
        // SAFETY: the list has dropped the blocks, and there is one thread.
        let taken = unsafe { heap.reclaim(self.who(heap, patron), kind) };
        self.counts.reclaimed += blocks as u32;
        rule(taken.blocks == blocks, "a reclaim took another number of blocks")?;
        rule((bytes..=most).contains(&taken.bytes), "a reclaim took another number of bytes")
    }

    pub(super) fn end(&mut self, heap: &Heap<'_>, patron: usize, to: usize) -> Step {
        if to == patron {
            return Ok(());
        }
        self.reclaim(heap, patron, Kind::Bound)?;
        self.reclaim(heap, patron, Kind::Raw)?;
        let mut blocks = 0;
        for live in self.blocks.iter_mut().flatten().filter(|live| live.patron == patron) {
            live.patron = to;
            blocks += 1;
        }
        let taken = heap.adopt(self.who(heap, patron), self.who(heap, to));
        rule(taken.blocks == blocks, "another number of blocks was adopted")?;
        self.counts.adopted += blocks as u32;
        let who = self.who(heap, patron);
        rule(who.account.charged() == 0, "an owner that ended is still charged")?;
        heap.close(who);
        rule(heap.usage(who) == Default::default(), "an owner that ended is not as new")?;
        self.patrons.0[patron].generation.fetch_add(2, Relaxed);
        self.open(patron);
        Ok(())
    }

    /// Cuts a region with any alignment off the memory, and gives it to the heap.
    fn add_region(&mut self, heap: &Heap<'_>) -> Step {
        let memory = core::mem::take(&mut self.memory);
        let lost = self.random.below(24).min(memory.len());
        let (_, memory) = memory.split_at_mut(lost);
        let most = memory.len().saturating_sub(256);
        let len = if most == 0 { memory.len() } else { 256 + self.random.below(most) };
        let (region, memory) = memory.split_at_mut(len);
        self.memory = memory;
        // SAFETY: the memory is borrowed for longer than the heap lives, and
        // cut off from what is left.
        let usable = unsafe { heap.add_region(region.as_mut_ptr().cast(), region.len()) };
        rule(usable != 0 || region.len() < 256, "a region of 256 bytes is too small")?;
        rule(usable + LOST >= region.len() || usable == 0, "a region lost more than is said")?;
        self.counts.regions = self.counts.regions.max(heap.check()?.regions as u32);
        Ok(())
    }
}

/// Whether the words before an address in a live block look like the header of
/// a block that ends within the same content.
fn leads_inside(live: Live, address: usize) -> bool {
    let begin = live.at.addr().get();
    let Some(header) = address.checked_sub(HEADER).filter(|&at| at >= begin) else { return false };
    if address % GRANULE != 0 {
        return false;
    }
    // SAFETY: in a live block, aligned.
    let extent = unsafe { Block::at(header) }.seen_extent();
    let is_live = !extent.is_free() && extent.is_possible();
    is_live && header + extent.size() + HEADER <= begin + live.size
}
