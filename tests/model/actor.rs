//! The interpreter: one thread's part of a run, over the global allocator and
//! the handles. The raw calls are in `raw.rs`.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use std::sync::RwLockReadGuard;
use std::sync::atomic::Ordering::SeqCst;

use allocator_api2::alloc::Allocator;
use expert_alloc::testing::{self, Call};
use expert_alloc::{ExpertKey, Scope, State};

use super::dice::Dice;
use super::op::Op;
use super::shadow::{Block, Face};
use super::world::{ALLOC, Seated, World};

/// Pointers that were good once, kept by each thread.
pub const STALE: usize = 64;
/// The most lasting scopes on one thread.
const SCOPES: usize = 8;
/// The most forgotten scopes on one thread; these last, too.
const FORGOTTEN: usize = 8;

/// The intended owner of a thread's allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Current {
    Host,
    Expert {
        seat: usize,
        incarnation: usize,
        key: ExpertKey,
    },
    /// There was no memory to enter a scope.
    Unknown,
}

/// One thread of a run. It moves from thread to thread, without its scopes.
pub struct Actor<'w> {
    pub world: &'w World,
    pub blocks: Vec<Block>,
    pub stale: [usize; STALE],
    pub ops: usize,
}

/// The part of an actor that stays on its thread: the scopes that stand, the innermost
/// last. For a forgotten scope, only the fact that it stands is kept.
pub struct Scopes(Vec<(Option<Scope<'static>>, Current)>);

impl Scopes {
    pub fn new() -> Self {
        Self(Vec::with_capacity(SCOPES + FORGOTTEN))
    }

    /// The intended owner of the thread's allocations.
    fn current(&self, world: &World) -> Current {
        match self.0.last() {
            None => Current::Host,
            Some((_, Current::Expert { seat, incarnation, .. }))
                if world.config.exact && world.has_ended(*seat, *incarnation) =>
            {
                Current::Host
            }
            Some((_, current)) => *current,
        }
    }

    fn held(&self) -> usize {
        self.0.iter().filter(|(scope, _)| scope.is_some()).count()
    }
}

/// The expert of a block, kept in place while the block is touched.
pub type Held<'w> = Option<RwLockReadGuard<'w, Option<Seated>>>;

impl<'w> Actor<'w> {
    pub fn new(world: &'w World) -> Self {
        let blocks = Vec::with_capacity(world.config.blocks);
        Self { world, blocks, stale: [0; STALE], ops: 0 }
    }

    /// Performs one operation.
    pub fn step(&mut self, op: Op, scopes: &mut Scopes) {
        self.ops += 1;
        match op {
            Op::AllocInScope { seat, layout, zeroed } => self.alloc_in_scope(seat, layout, zeroed),
            Op::AllocAmbient { layout, zeroed } => {
                self.alloc_ambient(scopes.current(self.world), layout, zeroed)
            }
            Op::AllocBound { seat, layout, zeroed } => self.alloc_bound(seat, layout, zeroed),
            Op::Burst { seat, size, count } => {
                let layout = Layout::from_size_align(size, 8).unwrap();
                (0..count).for_each(|_| self.alloc_bound(seat, layout, false));
            }
            Op::AllocRaw { seat, size } => self.alloc_raw(seat, size),
            Op::Realloc { which, layout, zeroed } => self.realloc(which, layout, zeroed),
            Op::Free { which } => {
                if let Some(at) = self.pick(which) {
                    self.free(at, false);
                }
            }
            Op::FreeTwice { which } => {
                if let Some(at) = self.pick(which) {
                    self.free(at, true);
                }
            }
            Op::WrongOwner { which, seat } => self.wrong_owner(which, seat),
            Op::Stale { which, seat } => self.try_stale(which, seat),
            Op::Wild { which, kind, offset, seat } => self.try_wild(which, kind, offset, seat),
            Op::Transfer { which, seat } => self.transfer(which, seat),
            Op::Look { which, offset } => {
                if let Some(at) = self.pick(which) {
                    self.look(at, offset);
                }
            }
            Op::Give { which } => self.give(which),
            Op::Take => self.take(),
            Op::Enter { seat } => self.enter(seat, scopes),
            Op::Leave { which, forget } => self.leave(which, forget, scopes),
            Op::Register { seat, quota, parent, refuse } => {
                self.world.register(seat, quota, parent, refuse);
            }
            Op::Finish { seat, all } => self.world.finish(seat, all),
            Op::Terminate { seat } => self.with_seat(seat, |seated| seated.expert.terminate()),
            Op::Stats { seat } => self.stats(seat),
            Op::FailPages { way, grants } if self.world.config.failures => match way {
                0 | 1 => testing::fail_after(grants),
                // There is memory to give back.
                2 | 3 => {
                    testing::fail_calls_after([Call::Unmap, Call::Purge][way - 2], grants);
                    ALLOC.purge();
                }
                4 => testing::fail_calls_after(Call::Protect, grants),
                _ => testing::fail_beyond(1 << (17 + 2 * grants)),
            },
            Op::FailPages { .. } | Op::Heal => testing::heal(),
            Op::Purge => ALLOC.purge(),
        }
    }

    fn pick(&self, which: usize) -> Option<usize> {
        which.checked_rem(self.blocks.len())
    }

    pub fn has_room(&self) -> bool {
        self.blocks.len() < self.world.config.blocks
    }

    pub fn with_seat(&self, seat: usize, f: impl FnOnce(&Seated)) {
        if let Ok(place) = self.world.seats[seat].expert.try_read() {
            place.as_ref().map(f);
        }
    }

    /// Keeps the block's expert from ending. `Err` if the block is gone.
    pub fn hold(&self, block: &Block) -> Result<Held<'w>, ()> {
        let (seat, ambient) = (block.seat, block.face == Face::Ambient);
        if seat == self.world.config.seats || ambient && !self.world.is_guarded(seat) {
            return Ok(None);
        }
        let place = self.world.seats[seat].expert.read().unwrap();
        if !self.world.has_ended(seat, block.incarnation) {
            return Ok(Some(place));
        }
        let is_left = ambient && !self.world.was_reclaimed(seat, block.incarnation);
        if is_left { Ok(Some(place)) } else { Err(()) }
    }

    /// Checks a fresh block and adds it to the shadow. `key` is the owner that it must
    /// have.
    pub fn keep(&mut self, block: Block, zeroed: bool) {
        assert_eq!(block.start.addr().get() % block.layout.align(), 0, "misaligned {block:?}");
        if zeroed {
            block.check_zero(0);
        }
        block.fill();
        self.check_owner(&block, 0);
        self.blocks.push(block);
    }

    /// Checks the owner that the heap reports for the block. The caller holds its expert.
    fn check_owner(&self, block: &Block, offset: usize) {
        let host = ALLOC.host().key();
        let was_over =
            self.world.has_ended(block.seat.min(self.world.config.seats - 1), block.incarnation)
                && block.seat < self.world.config.seats;
        // SAFETY: inside the block.
        let at = unsafe { block.start.as_ptr().add(offset) };
        let owner = ALLOC.owner_of(at).unwrap_or_else(|| panic!("nobody owns {block:?}"));
        if block.seat == self.world.config.seats || was_over {
            return assert_eq!(owner, host, "{block:?}");
        }
        let is_certain = block.face != Face::Ambient
            || self.world.config.exact
            || self.world.is_guarded(block.seat);
        // Its expert may be handing it to the host at this moment.
        assert!(owner == block.key || !is_certain && owner == host, "{owner} owns {block:?}");
    }

    fn look(&mut self, at: usize, offset: usize) {
        let block = self.blocks[at];
        match self.hold(&block) {
            Ok(_held) => {
                self.check_owner(&block, offset % block.layout.size().max(1));
                block.check();
            }
            Err(()) => self.forget(at),
        }
    }

    /// Drops a block from the shadow that went with its expert.
    pub fn forget(&mut self, at: usize) {
        let block = self.blocks.swap_remove(at);
        self.note_stale(&block);
    }

    pub fn note_stale(&mut self, block: &Block) {
        self.stale[self.ops % STALE] = block.start.addr().get();
    }

    fn alloc_in_scope(&mut self, seat: usize, layout: Layout, zeroed: bool) {
        if !self.has_room() {
            return;
        }
        let Ok(place) = self.world.seats[seat].expert.try_read() else { return };
        let Some(seated) = place.as_ref() else { return };
        let failures = testing::failures();
        let start = {
            let _scope = seated.expert.enter();
            allocate(layout, zeroed)
        };
        let failed = testing::failures() != failures;
        let Some(start) = start else {
            let may = failed || seated.refuses || !seated.is_unlimited || layout.size() > 1 << 30;
            return assert!(may, "null for {layout:?} of {:?}", seated.expert);
        };
        if failed {
            // The scope may not have been entered. SAFETY: just allocated.
            return unsafe { ALLOC.dealloc(start.as_ptr(), layout) };
        }
        self.world.seats[seat].ambient.fetch_add(1, SeqCst);
        let (incarnation, key) = (seated.incarnation, seated.expert.key());
        self.keep(self.block(start, layout, Face::Ambient, seat, incarnation, key), zeroed);
    }

    pub fn block(
        &self,
        start: NonNull<u8>,
        layout: Layout,
        face: Face,
        seat: usize,
        incarnation: usize,
        key: ExpertKey,
    ) -> Block {
        let seed = (start.addr().get() >> 4) as u64 ^ self.ops as u64;
        Block { start, layout, face, seat, incarnation, key, seed }
    }

    fn alloc_ambient(&mut self, current: Current, layout: Layout, zeroed: bool) {
        if !self.has_room() {
            return;
        }
        let failures = testing::failures();
        let Some(start) = allocate(layout, zeroed) else {
            let may = testing::failures() != failures
                || current != Current::Host
                || layout.size() > 1 << 30;
            return assert!(may, "null for {layout:?} of the host");
        };
        let host = (self.world.config.seats, 0, ALLOC.host().key());
        let (seat, incarnation, key) = match current {
            // SAFETY: just allocated.
            Current::Unknown => return unsafe { ALLOC.dealloc(start.as_ptr(), layout) },
            Current::Host => host,
            Current::Expert { seat, incarnation, .. }
                if self.world.config.exact && self.world.has_ended(seat, incarnation) =>
            {
                host
            }
            Current::Expert { seat, incarnation, key } => (seat, incarnation, key),
        };
        if seat < self.world.config.seats {
            self.world.seats[seat].ambient.fetch_add(1, SeqCst);
        }
        self.keep(self.block(start, layout, Face::Ambient, seat, incarnation, key), zeroed);
    }

    fn alloc_bound(&mut self, seat: usize, layout: Layout, zeroed: bool) {
        if !self.has_room() {
            return;
        }
        let Ok(place) = self.world.seats[seat].expert.try_read() else { return };
        let Some(seated) = place.as_ref() else { return };
        let allocator = seated.expert.allocator();
        let failures = testing::failures();
        let allocated =
            if zeroed { allocator.allocate_zeroed(layout) } else { allocator.allocate(layout) };
        let Ok(start) = allocated else {
            return self.check_refusal(seated, layout.size(), failures);
        };
        self.world.seats[seat].own.fetch_add(1, SeqCst);
        let (incarnation, key) = (seated.incarnation, seated.expert.key());
        self.keep(self.block(start.cast(), layout, Face::Bound, seat, incarnation, key), zeroed);
    }

    /// Checks that there was a reason to refuse a request of an expert.
    pub fn check_refusal(&self, seated: &Seated, size: usize, failures: usize) {
        let may = testing::failures() != failures
            || !seated.is_unlimited
            || size > 1 << 30
            || seated.expert.state() != State::Live;
        assert!(may, "{size} bytes refused to {:?}", seated.expert);
    }

    fn realloc(&mut self, which: usize, new: Layout, zeroed: bool) {
        let Some(at) = self.pick(which) else { return };
        let block = self.blocks[at];
        let Ok(held) = self.hold(&block) else { return self.forget(at) };
        block.check();
        let failures = testing::failures();
        match block.face {
            Face::Raw => self.realloc_raw(at, &held, new.size(), failures),
            Face::Ambient => {
                let old = block.layout;
                let Ok(new) = Layout::from_size_align(new.size(), old.align()) else { return };
                // SAFETY: a live block of this layout; the new one is checked.
                let moved = unsafe { ALLOC.realloc(block.start.as_ptr(), old, new.size()) };
                match NonNull::new(moved) {
                    Some(moved) => self.moved(at, moved, new, None),
                    None => {
                        assert!(new.size() > old.size(), "shrinking {block:?} failed");
                        block.check();
                    }
                }
            }
            Face::Bound => {
                let Some(seated) = held.as_ref().and_then(|held| held.as_ref()) else { return };
                let allocator = seated.expert.allocator();
                let old = block.layout;
                let grows = new.size() >= old.size();
                let moved = match (grows, zeroed) {
                    // SAFETY: a live block of this layout and allocator.
                    (true, true) => unsafe { allocator.grow_zeroed(block.start, old, new) },
                    // SAFETY: as above.
                    (true, false) => unsafe { allocator.grow(block.start, old, new) },
                    // SAFETY: as above.
                    (false, _) => unsafe { allocator.shrink(block.start, old, new) },
                };
                let Ok(moved) = moved else {
                    // Blocks aligned beyond a slice are found in another way, so they move.
                    let may_move = (new.align() > 1 << 16) != (old.align() > 1 << 16);
                    let must = !grows && new.align() <= old.align() && !may_move;
                    assert!(!must, "shrinking {block:?} failed");
                    block.check();
                    return self.check_refusal(seated, new.size(), failures);
                };
                self.moved(at, moved.cast(), new, (grows && zeroed).then_some(old.size()));
            }
        }
        drop(held);
    }

    /// Notes that a block was resized and perhaps moved; from `zero_from` on it is new.
    pub fn moved(&mut self, at: usize, start: NonNull<u8>, new: Layout, zero_from: Option<usize>) {
        let old = self.blocks[at];
        old.check_moved(start, new.size().min(old.layout.size()));
        let block = Block { start, layout: new, ..old };
        assert_eq!(start.addr().get() % new.align(), 0, "misaligned {block:?}");
        if let Some(from) = zero_from {
            block.check_zero(from.min(new.size()));
        }
        block.fill();
        self.check_owner(&block, 0);
        self.blocks[at] = block;
    }

    fn free(&mut self, at: usize, twice: bool) {
        let block = self.blocks[at];
        let Ok(held) = self.hold(&block) else { return self.forget(at) };
        block.check();
        self.blocks.swap_remove(at);
        match block.face {
            Face::Raw => return self.free_raw(&block, &held, twice),
            // SAFETY: a live block of this layout.
            Face::Ambient => unsafe { ALLOC.dealloc(block.start.as_ptr(), block.layout) },
            Face::Bound => {
                let Some(seated) = held.as_ref().and_then(|held| held.as_ref()) else { return };
                // SAFETY: a live block of this layout and allocator.
                unsafe { seated.expert.allocator().deallocate(block.start, block.layout) };
            }
        }
        self.count_freed(&block);
        self.note_stale(&block);
    }

    pub fn count_freed(&self, block: &Block) {
        if block.seat == self.world.config.seats {
            return;
        }
        let seat = &self.world.seats[block.seat];
        if !self.world.has_ended(block.seat, block.incarnation) {
            let count = if block.face == Face::Ambient { &seat.ambient } else { &seat.own };
            count.fetch_sub(1, SeqCst);
        }
    }

    fn give(&mut self, which: usize) {
        let Some(at) = self.pick(which) else { return };
        let mut mailbox = self.world.mailbox.lock().unwrap();
        if mailbox.len() < mailbox.capacity() {
            mailbox.push(self.blocks.swap_remove(at));
        }
    }

    fn take(&mut self) {
        if self.has_room() {
            let taken = self.world.mailbox.lock().unwrap().pop();
            self.blocks.extend(taken);
        }
    }

    fn enter(&mut self, seat: usize, scopes: &mut Scopes) {
        if scopes.held() == SCOPES || self.world.is_guarded(seat) {
            return;
        }
        let Ok(place) = self.world.seats[seat].expert.try_read() else { return };
        let Some(seated) = place.as_ref() else { return };
        let failures = testing::failures();
        let scope = seated.expert.enter();
        // SAFETY: a scope refers to nothing of its expert: it may be forgotten, and then
        // the expert may end. The model remembers this scope longer than its expert.
        let scope = unsafe { core::mem::transmute::<Scope<'_>, Scope<'static>>(scope) };
        let Seated { incarnation, ref expert, .. } = *seated;
        let current = match testing::failures() == failures {
            true => Current::Expert { seat, incarnation, key: expert.key() },
            false => Current::Unknown,
        };
        scopes.0.push((Some(scope), current));
    }

    fn leave(&mut self, which: usize, forget: bool, scopes: &mut Scopes) {
        let Some(which) = which.checked_rem(scopes.held()) else { return };
        // Any scope may end, not only the last one, because scopes may end out of order.
        let held = scopes.0.iter().enumerate().filter(|(_, (scope, _))| scope.is_some());
        let at = held.map(|(at, _)| at).nth(which).unwrap();
        if forget && scopes.0.len() - scopes.held() < FORGOTTEN {
            return core::mem::forget(scopes.0[at].0.take());
        }
        scopes.0.remove(at);
    }

    fn stats(&self, seat: usize) {
        self.with_seat(seat, |seated| {
            let stats = seated.expert.stats();
            let is_within = stats.quota == 0 || stats.charged_bytes <= stats.quota;
            // An overdraft is charged to the parents, too, but only marks the child.
            let is_parent = self.world.seats[seat].is_parent.load(SeqCst);
            assert!(is_within || is_parent || seated.expert.state() != State::Live, "{stats}");
            if self.world.config.exact {
                let here = &self.world.seats[seat];
                let live = here.own.load(SeqCst) + here.ambient.load(SeqCst);
                assert_eq!(stats.live_blocks, live, "live blocks of seat {seat}: {stats}");
                assert_eq!(stats.allocations - stats.frees, live as u64, "{stats}");
            }
        });
    }

    /// Checks all blocks that this thread knows.
    pub fn check_all(&mut self) {
        for at in (0..self.blocks.len()).rev() {
            self.look(at, 0);
        }
    }

    /// Frees all that is left.
    pub fn free_all(&mut self) {
        while let Some(at) = self.blocks.len().checked_sub(1) {
            self.free(at, false);
        }
    }
}

fn allocate(layout: Layout, zeroed: bool) -> Option<NonNull<u8>> {
    let allocate = if zeroed { GlobalAlloc::alloc_zeroed } else { GlobalAlloc::alloc };
    // SAFETY: the size is not 0.
    NonNull::new(unsafe { allocate(&ALLOC, layout) })
}

/// Whether this operation needs the dice of a thread with blocks: for tests.
pub fn roll(dice: &mut Dice<'_>, world: &World) -> Op {
    Op::roll(dice, world.config.seats, world.config.largest)
}
