//! The shadow model of the fixed engine: random operations, and beside the
//! heap a plain list that knows every block, its owner and its content.
//!
//! Needs no `std` and no memory but what it is given, so that the same model
//! runs on a microcontroller. A failed run names the operation, and the same
//! seed and memory repeat it.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use super::check::Checked;
use super::engine::FixedEngine;
use super::header::{HEADER, MAX_SLACK};
use super::lock::SpinLock;
use super::owner::{Directory, Entry, Owner};
use crate::account::Account;
use crate::engine::{Engine, Kind, Who};
use crate::error::Error;
use crate::key::ExpertKey;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// Blocks alive at once, at most.
const BLOCKS: usize = 96;

/// Experts beside the host.
const PATRONS: usize = 5;

/// What went wrong, and in which operation of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The number of the operation.
    pub operation: u32,
    /// The rule that was broken.
    pub rule: &'static str,
}

/// What a run has done: it shows that the slow paths were entered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Blocks allocated.
    pub allocated: u32,
    /// Blocks freed one by one.
    pub freed: u32,
    /// Blocks resized without moving.
    pub resized: u32,
    /// Blocks that moved to be resized.
    pub moved: u32,
    /// Requests refused for want of memory.
    pub out_of_memory: u32,
    /// Requests refused for want of quota.
    pub over_quota: u32,
    /// Blocks reclaimed.
    pub reclaimed: u32,
    /// Blocks adopted by another owner.
    pub adopted: u32,
    /// Blocks transferred.
    pub transferred: u32,
    /// Pointers that were no blocks, and were refused.
    pub refused_pointers: u32,
    /// The most regions that a heap had.
    pub regions: u32,
}

/// One step of a run.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// Allocates into a slot that is empty.
    Allocate { slot: usize, patron: usize, kind: Kind, size: usize, align: usize, zeroed: bool },
    /// Frees the block in a slot.
    Free { slot: usize },
    /// Resizes the block in a slot.
    Reallocate { slot: usize, size: usize, align: usize, zeroed: bool },
    /// Passes a block to a patron who may not be its owner.
    FreeAs { slot: usize, patron: usize },
    /// Passes an address near a block, or anywhere, to the raw calls.
    Probe { slot: usize, offset: usize },
    /// Frees the address that was last freed, again.
    FreeAgain,
    /// Gives a raw block to another patron.
    Transfer { slot: usize, to: usize },
    /// Takes back one kind of block of a patron.
    Reclaim { patron: usize, kind: Kind },
    /// Ends a patron: the blocks of two kinds go, the rest is adopted.
    End { patron: usize, to: usize },
    /// Gives the heap one more region.
    AddRegion,
}

#[derive(Clone, Copy)]
struct Live {
    at: NonNull<u8>,
    size: usize,
    align: usize,
    kind: Kind,
    /// [`PATRONS`] for the host.
    patron: usize,
    fill: u8,
}

type Heap<'p> = FixedEngine<SpinLock, &'p Patrons>;

struct Patrons([Patron; PATRONS]);

struct Patron {
    account: Account,
    owner: Owner,
    slot: AtomicUsize,
    generation: AtomicUsize,
}

// SAFETY: S1: all patrons are there for as long as the heap is.
unsafe impl Directory for &Patrons {
    fn find(&self, slot: usize) -> Option<Entry<'_>> {
        let patron = self.0.iter().find(|patron| patron.slot.load(Relaxed) == slot)?;
        let Patron { account, owner, .. } = patron;
        Some(Entry { key: Some(patron.key()), account, owner })
    }

    fn for_each(&self, f: &mut dyn FnMut(&Owner)) {
        self.0.iter().for_each(|patron| f(&patron.owner));
    }
}

impl Patron {
    const fn new() -> Self {
        let (slot, generation) = (AtomicUsize::new(0), AtomicUsize::new(1));
        Self { account: Account::new(), owner: Owner::new(), slot, generation }
    }

    fn key(&self) -> ExpertKey {
        ExpertKey::new(self.slot.load(Relaxed), self.generation.load(Relaxed)).unwrap()
    }

    fn who(&self) -> Who<'_, Owner> {
        let overdraft = self.slot.load(Relaxed) % 2 == 0;
        Who { key: self.key(), account: &self.account, owner: &self.owner, overdraft }
    }
}

/// Xorshift64* (Vigna 2016): the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }
}

type Step = Result<(), &'static str>;

/// Fails with `rule` unless it holds.
fn rule(holds: bool, rule: &'static str) -> Step {
    if holds { Ok(()) } else { Err(rule) }
}

struct Shadow<'m> {
    random: Random,
    patrons: &'m Patrons,
    blocks: [Option<Live>; BLOCKS],
    last_freed: Option<NonNull<u8>>,
    memory: &'m mut [MaybeUninit<u8>],
    /// Address range of all memory, given to the heap or not yet.
    range: core::ops::Range<usize>,
    counts: Counts,
}

/// Runs `operations` random operations on a new heap in `memory`, which is cut
/// into random regions, with the walker after each.
///
/// # Errors
///
/// The first rule that was broken.
pub fn run(seed: u64, operations: u32, memory: &mut [MaybeUninit<u8>]) -> Result<Counts, Failure> {
    let patrons = Patrons([const { Patron::new() }; PATRONS]);
    let heap = Heap::empty(&patrons);
    let range = memory.as_ptr_range();
    let mut shadow = Shadow {
        random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
        patrons: &patrons,
        blocks: [None; BLOCKS],
        last_freed: None,
        memory,
        range: range.start.addr()..range.end.addr(),
        counts: Counts::default(),
    };
    let failure = |operation| move |rule| Failure { operation, rule };
    shadow.open_all();
    shadow.apply(&heap, Op::AddRegion).map_err(failure(0))?;
    for operation in 1..=operations {
        let op = shadow.choose();
        shadow.apply(&heap, op).map_err(failure(operation))?;
        let seen = heap.check().map_err(failure(operation))?;
        shadow.compare(&heap, seen).map_err(failure(operation))?;
    }
    shadow.empty(&heap).map_err(failure(operations + 1))?;
    Ok(shadow.counts)
}

impl Shadow<'_> {
    /// Opens the accounts: quotas from none to tight, one patron the child of
    /// another, slots far apart.
    fn open_all(&mut self) {
        let mut slot = 0;
        for index in 0..PATRONS {
            slot += 1 + self.random.below(9);
            self.patrons.0[index].slot.store(slot, Relaxed);
            self.open(index);
        }
    }

    fn open(&mut self, index: usize) {
        let memory = self.range.len();
        let quota = match self.random.below(3) {
            0 => 0,
            _ => 64 + self.random.below(memory),
        };
        // SAFETY: the account is empty, and has no parent.
        unsafe { self.patrons.0[index].account.open(quota, 0, None) };
    }

    fn choose(&mut self) -> Op {
        let patron = self.random.below(PATRONS + 1);
        let slot = self.random.below(BLOCKS);
        let kind = Kind::ALL[self.random.below(3)];
        let zeroed = self.random.below(4) == 0;
        let (size, align) = (self.size(), 1 << self.random.below(5));
        let align = if self.random.below(16) == 0 { align << self.random.below(7) } else { align };
        let live = self.blocks[slot].is_some();
        match self.random.below(256) {
            0 => Op::AddRegion,
            1..=3 => Op::Reclaim { patron: patron % PATRONS, kind },
            4 => Op::End { patron: patron % PATRONS, to: self.random.below(PATRONS + 1) },
            5..=12 => Op::FreeAgain,
            13..=36 => Op::Probe { slot, offset: self.random.next() as usize },
            37..=48 if live => Op::FreeAs { slot, patron },
            49..=60 if live => Op::Transfer { slot, to: patron },
            61..=120 if live => Op::Reallocate { slot, size, align, zeroed },
            _ if live => Op::Free { slot },
            _ => Op::Allocate { slot, patron, kind, size, align, zeroed },
        }
    }

    /// Mostly small sizes, a few as large as the memory or impossible.
    fn size(&mut self) -> usize {
        let most = if self.random.below(8) == 0 { 18 } else { 9 };
        let bits = self.random.below(most);
        match self.random.below(512) {
            0 => isize::MAX as usize - self.random.below(64),
            1 => 0,
            _ => self.random.below(1 << bits) + 1,
        }
    }

    fn apply(&mut self, heap: &Heap<'_>, op: Op) -> Step {
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
            Op::FreeAgain => self.free_again(heap),
            Op::Transfer { slot, to } => self.transfer(heap, slot, to),
            Op::Reclaim { patron, kind } => self.reclaim(heap, patron, kind),
            Op::End { patron, to } => self.end(heap, patron, to),
            Op::AddRegion => self.add_region(heap),
        }
    }

    fn who<'a>(&'a self, heap: &'a Heap<'_>, patron: usize) -> Who<'a, Owner> {
        self.patrons.0.get(patron).map_or_else(|| heap.host(), Patron::who)
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
        let at = match result {
            Ok(at) => at,
            Err(error) => return self.refused(heap, error, size, align, charged, quota),
        };
        self.counts.allocated += 1;
        let fill = self.random.next() as u8;
        let live = Live { at, size, align, kind, patron, fill };
        rule(!zeroed || all(at, 0..size, 0), "fresh memory is not zero-filled")?;
        self.place(slot, live)
    }

    /// Notes a new or moved block, after comparing it with all others.
    fn place(&mut self, slot: usize, live: Live) -> Step {
        let start = live.at.addr().get();
        rule(start % live.align == 0, "a block is not aligned")?;
        let inside = self.range.contains(&start) && start + live.size <= self.range.end;
        rule(inside, "a block is outside of the regions")?;
        for other in self.blocks.iter().flatten() {
            let begin = other.at.addr().get();
            let apart = start + live.size.max(1) <= begin || begin + other.size.max(1) <= start;
            rule(apart, "two blocks overlap")?;
        }
        // SAFETY: the block is the caller's, `size` bytes long.
        unsafe { live.at.write_bytes(live.fill, live.size) };
        self.blocks[slot] = Some(live);
        Ok(())
    }

    /// Whether there was a reason to refuse a request.
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

    /// Takes a block out of the list, if its content is whole.
    fn leave(&mut self, slot: usize) -> Result<Option<Live>, &'static str> {
        let Some(live) = self.blocks[slot].take() else { return Ok(None) };
        rule(all(live.at, 0..live.size, live.fill), "a block's content has changed")?;
        self.last_freed = Some(live.at);
        Ok(Some(live))
    }

    fn free(&mut self, heap: &Heap<'_>, slot: usize) -> Step {
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
        rule(all(old.at, 0..old.size, old.fill), "a block's content has changed")?;
        let who = self.who(heap, old.patron);
        let (charged, quota) = (who.account.charged(), who.account.quota());
        let result = if raw {
            heap.raw_reallocate(who, old.at.as_ptr(), size)
        } else {
            let layout = Layout::from_size_align(old.size, old.align).unwrap();
            // SAFETY: a live block of this heap, of this owner and kind, with its layout.
            unsafe { heap.reallocate(who, old.kind, old.at, layout, new, zeroed) }
        };
        let at = match result {
            Ok(at) => at,
            Err(error) => {
                let kept = all(old.at, 0..old.size, old.fill);
                rule(kept, "a failed realloc has changed the block")?;
                return self.refused(heap, error, size, align, charged, quota);
            }
        };
        let kept = old.size.min(size);
        rule(all(at, 0..kept, old.fill), "a realloc has lost content")?;
        rule(!zeroed || all(at, kept..size, 0), "a realloc has not filled what is new")?;
        if at == old.at {
            self.counts.resized += 1;
        } else {
            self.counts.moved += 1;
            self.last_freed = Some(old.at);
        }
        self.blocks[slot] = None;
        self.place(slot, Live { at, size, align, ..old })
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
        let found = self.blocks.iter().flatten().find(at);
        let due = found.map(|live| self.who(heap, live.patron).key);
        let owner = heap.owner_of(pointer);
        // Slack belongs to the block too, but the list does not know how much.
        rule(due.is_none() || owner == due, "an address has the wrong owner")?;
        if found.is_none_or(|live| live.at.addr().get() != address) {
            self.counts.refused_pointers += 1;
            let key = self.who(heap, slot % PATRONS).key;
            let freed = heap.raw_free(key, pointer);
            rule(freed == Err(Error::InvalidPointer), "a wild pointer was freed")?;
            let resized = heap.raw_reallocate(self.who(heap, slot % PATRONS), pointer, 8);
            rule(resized == Err(Error::InvalidPointer), "a wild pointer was resized")?;
        }
        Ok(())
    }

    fn free_again(&mut self, heap: &Heap<'_>) -> Step {
        let Some(at) = self.last_freed else { return Ok(()) };
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
        let (mut blocks, mut bytes) = (0, 0);
        for slot in 0..BLOCKS {
            if self.blocks[slot].is_some_and(|live| live.patron == patron && live.kind == kind) {
                let live = self.leave(slot)?;
                blocks += 1;
                bytes += live.map_or(0, |live| live.size);
            }
        }
        // SAFETY: the list has forgotten the blocks, and there is one thread.
        let taken = unsafe { heap.reclaim(self.who(heap, patron), kind) };
        self.counts.reclaimed += blocks as u32;
        rule(taken.blocks == blocks, "a reclaim took another number of blocks")?;
        let most = bytes + blocks * MAX_SLACK;
        rule((bytes..=most).contains(&taken.bytes), "a reclaim took another number of bytes")
    }

    fn end(&mut self, heap: &Heap<'_>, patron: usize, to: usize) -> Step {
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

    /// Cuts a region off the memory, at any alignment, and gives it to the heap.
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
        rule(usable + 64 > region.len() || usable == 0, "a region lost more than 64 bytes")?;
        self.counts.regions = self.counts.regions.max(heap.check()?.regions as u32);
        Ok(())
    }

    /// Compares the heap's counts with the list, after each operation.
    fn compare(&self, heap: &Heap<'_>, seen: Checked) -> Step {
        let live = self.blocks.iter().flatten().count();
        rule(seen.live_blocks == live, "the heap has another number of blocks")?;
        for patron in 0..=PATRONS {
            let who = self.who(heap, patron);
            let owned = self.blocks.iter().flatten().filter(|live| live.patron == patron);
            let (blocks, bytes) = owned.fold((0, 0), |(n, sum), live| (n + 1, sum + live.size));
            let usage = heap.usage(who);
            rule(usage.live_blocks == blocks, "an owner's count of blocks is wrong")?;
            let most = bytes + blocks * MAX_SLACK;
            rule((bytes..=most).contains(&usage.live_bytes), "an owner's bytes are wrong")?;
            let due = usage.live_bytes + blocks * HEADER;
            rule(who.account.charged() == due, "an owner is not charged what it holds")?;
        }
        Ok(())
    }

    /// Ends everyone and frees the rest: each region is one free block again,
    /// but for the engine's table.
    fn empty(&mut self, heap: &Heap<'_>) -> Step {
        for patron in 0..PATRONS {
            self.end(heap, patron, PATRONS)?;
        }
        for slot in 0..BLOCKS {
            self.free(heap, slot)?;
        }
        let seen = heap.check()?;
        rule(seen.live_blocks == 0, "blocks are left")?;
        rule(seen.free_blocks <= seen.regions + 1, "free blocks were not merged")
    }
}

/// Whether all bytes of a range behind `start` are `value`.
fn all(start: NonNull<u8>, mut range: core::ops::Range<usize>, value: u8) -> bool {
    range.all(|offset| {
        // SAFETY: the callers pass ranges of live blocks.
        let byte = unsafe { start.add(offset) };
        // SAFETY: as above; filled with zeros or by `place`.
        unsafe { byte.read() == value }
    })
}
