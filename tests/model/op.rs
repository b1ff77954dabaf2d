//! Operations of all ways to allocate.

use core::alloc::Layout;

use super::dice::Dice;

/// One step of one thread. `which` chooses among the blocks that the thread
/// knows, `seat` among the experts.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Allocates by the global allocator, in a scope of an expert around this call.
    AllocInScope { seat: usize, layout: Layout, zeroed: bool },
    /// Allocates by the global allocator, in whatever scope the thread is.
    AllocAmbient { layout: Layout, zeroed: bool },
    /// A handle.
    AllocBound { seat: usize, layout: Layout, zeroed: bool },
    /// Allocates many blocks of a size by a handle, so spans become full.
    Burst { seat: usize, size: usize, count: usize },
    /// Allocates by a raw call of an expert, or of the host.
    AllocRaw { seat: usize, size: usize },
    /// Resizes a block in the way that it was allocated.
    Realloc { which: usize, layout: Layout, zeroed: bool },
    /// Frees a block in the way that it was allocated.
    Free { which: usize },
    /// Frees a block, and a raw block a second time.
    FreeTwice { which: usize },
    /// Makes the raw calls of another expert with this one's block.
    WrongOwner { which: usize, seat: usize },
    /// Makes the raw calls with a stale pointer.
    Stale { which: usize, seat: usize },
    /// Makes the raw calls with a pointer that never was a block.
    Wild { which: usize, kind: usize, offset: usize, seat: usize },
    /// Transfers a raw block.
    Transfer { which: usize, seat: usize },
    /// Asks for the owner of a block.
    Look { which: usize, offset: usize },
    /// Leaves a block to any thread that takes it.
    Give { which: usize },
    /// Takes a block that another thread has left.
    Take,
    /// Begins a scope that lasts.
    Enter { seat: usize },
    /// Ends one of the scopes that last, or forgets it.
    Leave { which: usize, forget: bool },
    /// Registers an expert on an empty seat.
    Register { seat: usize, quota: usize, parent: usize, refuse: bool },
    /// Ends an expert.
    Finish { seat: usize, all: bool },
    /// Tells an expert to stop.
    Terminate { seat: usize },
    /// Compares figures.
    Stats { seat: usize },
    /// Makes the page source fail in one of several ways, after a number of calls.
    FailPages { way: usize, grants: usize },
    /// Makes the page source work again.
    Heal,
    /// Gives free memory back.
    Purge,
}

impl Op {
    /// The next operation. Sizes are at most about `largest`.
    pub fn roll(dice: &mut Dice<'_>, seats: usize, largest: usize) -> Self {
        let kind = dice.below(1000);
        let (which, seat) = (dice.next() as usize >> 8, dice.below(seats));
        match kind {
            0..=99 => {
                Self::AllocInScope { seat, layout: dice.layout(largest), zeroed: dice.once_in(4) }
            }
            100..=199 => {
                Self::AllocAmbient { layout: dice.layout(largest), zeroed: dice.once_in(4) }
            }
            200..=204 => Self::Burst { seat, size: 16 << dice.below(7), count: dice.below(200) },
            205..=319 => {
                Self::AllocBound { seat, layout: dice.layout(largest), zeroed: dice.once_in(4) }
            }
            320..=409 => Self::AllocRaw {
                // A seat number beyond the last seat stands for the host.
                seat: dice.below(seats + 1),
                size: if dice.once_in(50) { 0 } else { dice.size(largest) },
            },
            410..=529 => {
                Self::Realloc { which, layout: dice.layout(largest), zeroed: dice.once_in(2) }
            }
            530..=799 => Self::Free { which },
            800..=804 => Self::FreeTwice { which },
            805..=814 => Self::WrongOwner { which, seat },
            815..=824 => Self::Stale { which, seat },
            825..=834 => {
                Self::Wild { which, kind: dice.below(10), offset: dice.below(1 << 25), seat }
            }
            835..=849 => Self::Transfer { which, seat: dice.below(seats + 1) },
            850..=879 => Self::Look { which, offset: dice.next() as usize },
            880..=909 => Self::Give { which },
            910..=939 => Self::Take,
            940..=949 => Self::Enter { seat },
            950..=957 => Self::Leave { which, forget: dice.once_in(4) },
            958..=973 => Self::Register {
                seat,
                quota: if dice.once_in(3) { 0 } else { 1 << (14 + dice.below(9)) },
                parent: dice.below(seats * 2),
                refuse: dice.once_in(4),
            },
            974..=983 => Self::Finish { seat, all: dice.once_in(2) },
            984..=985 => Self::Terminate { seat },
            986..=990 => Self::Stats { seat },
            991..=992 => Self::FailPages { way: dice.below(6), grants: dice.below(3) },
            993..=998 => Self::Heal,
            _ => Self::Purge,
        }
    }
}
