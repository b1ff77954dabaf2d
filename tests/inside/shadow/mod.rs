//! The shadow model of the fixed engine: it runs random operations on the heap, and keeps a
//! plain list of every block, its owner and its content.
//!
//! It needs no `std` and only the memory that it is given, so the same model runs on a
//! microcontroller. A failed run names the operation, and the same seed and memory repeat
//! it.

mod apply;
mod content;

use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr::NonNull;

use self::content::Content;
use crate::account::Account;
use crate::engine::{Engine, Kind, Who};
use crate::fixed::check::Checked;
use crate::fixed::header::{GRANULE, HEADER, MAX_SLACK, TAGS};
use crate::fixed::heap::FixedEngine;
use crate::fixed::index::KEPT;
use crate::fixed::lock::SpinLock;
use crate::fixed::owner::{Directory, Entry, Owner};
use crate::key::ExpertKey;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// Blocks alive at once, at most.
const BLOCKS: usize = 96;

/// How many freed addresses are remembered, to be freed again.
const STALE: usize = 16;

/// Experts beside the host.
const PATRONS: usize = 5;

/// The mistake, and the operation of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The number of the operation.
    pub operation: u32,
    /// The rule that was broken.
    pub rule: &'static str,
}

/// Counts of a run, which show that the slow paths were entered.
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
    /// Pointers behind words like a header that lead to other such words.
    pub forged: u32,
    /// How many of those passed for blocks, because both checks fitted by chance.
    pub forged_passed: u32,
    /// Pointers behind other words that may look like a header.
    pub doubtful: u32,
    /// How many of those passed for blocks, because the check fitted by chance.
    pub doubtful_passed: u32,
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
    /// Frees an address that was freed, again.
    FreeAgain { place: usize },
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
    content: Content,
}

impl Live {
    /// The most bytes that its payload can have.
    fn most(&self) -> usize {
        let is_kept = (GRANULE..=KEPT).contains(&self.align);
        self.size + MAX_SLACK + if is_kept { self.align - GRANULE } else { 0 }
    }
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
    /// The addresses freed last, unless words like headers were written over their headers.
    stale: [Option<NonNull<u8>>; STALE],
    memory: &'m mut [MaybeUninit<u8>],
    /// Address range of all memory, given to the heap or not yet.
    range: Range<usize>,
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
        stale: [None; STALE],
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
    /// Opens the accounts. Quotas range from none to tight, one patron is the child of
    /// another, and slots are far apart. The slots of two patrons are such that a link that
    /// is mistaken for a label names them.
    fn open_all(&mut self) {
        let Range { start, end } = self.range;
        let likely = [start, end].map(|address| address >> 16 & 0xFFFF);
        let mut slot = 0;
        for index in 0..PATRONS {
            slot += 1 + self.random.below(9);
            let link = likely.get(index).copied().filter(|&link| (100..TAGS).contains(&link));
            let is_new = index == 0 || likely[0] != likely[1];
            let chosen = link.filter(|_| is_new).unwrap_or(slot);
            self.patrons.0[index].slot.store(chosen, Relaxed);
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
            5..=12 => Op::FreeAgain { place: self.random.below(STALE) },
            13..=36 => Op::Probe { slot, offset: self.random.next() as usize },
            37..=48 if live => Op::FreeAs { slot, patron },
            49..=60 if live => Op::Transfer { slot, to: patron },
            61..=120 if live => Op::Reallocate { slot, size, align, zeroed },
            _ if live => Op::Free { slot },
            _ => Op::Allocate { slot, patron, kind, size, align, zeroed },
        }
    }

    /// A random size: usually small, sometimes as large as the memory or impossible.
    fn size(&mut self) -> usize {
        let most = if self.random.below(8) == 0 { 18 } else { 9 };
        let bits = self.random.below(most);
        match self.random.below(512) {
            0 => isize::MAX as usize - self.random.below(64),
            1 => 0,
            _ => self.random.below(1 << bits) + 1,
        }
    }

    fn who<'a>(&'a self, heap: &'a Heap<'_>, patron: usize) -> Who<'a, Owner> {
        self.patrons.0.get(patron).map_or_else(|| heap.host(), Patron::who)
    }

    /// Compares the heap's counts with the list, after each operation.
    fn compare(&self, heap: &Heap<'_>, seen: Checked) -> Step {
        let live = self.blocks.iter().flatten().count();
        rule(seen.live_blocks == live, "the heap has another number of blocks")?;
        for patron in 0..=PATRONS {
            let who = self.who(heap, patron);
            let owned = self.blocks.iter().flatten().filter(|live| live.patron == patron);
            let (blocks, bytes, most) = owned.fold((0, 0, 0), |(blocks, bytes, most), live| {
                (blocks + 1, bytes + live.size, most + live.most())
            });
            let usage = heap.usage(who);
            rule(usage.live_blocks == blocks, "an owner's count of blocks is wrong")?;
            rule((bytes..=most).contains(&usage.live_bytes), "an owner's bytes are wrong")?;
            let due = usage.live_bytes + blocks * HEADER;
            rule(who.account.charged() == due, "an owner is not charged what it holds")?;
            let quota = who.account.quota();
            let within = quota == 0 || due <= quota || who.account.is_overdrawn();
            rule(within, "an owner holds more than its quota")?;
        }
        Ok(())
    }

    /// Ends all patrons and frees the rest. Then each region is one free block again,
    /// except for the engine's table.
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
