//! The blocks of owners, added up on request: for common spans from the entry and the lines
//! of all threads, and otherwise from the spans that an owner has to itself.

use core::iter::Sum;
use core::ops::Add;

use crate::engine::{HOST_KEY, Kind, Taken, Usage};
use crate::heap::base::number::Number;
use crate::heap::caches::cache::Cache;
use crate::heap::owners::entry::Entry;
use crate::heap::owners::heap::{HOST, Heap};
use crate::heap::owners::lists::Lists;
use crate::heap::owners::numbers::{self};
use crate::heap::spans::span::{Span, SpanState};
use crate::heap::threads::thread;

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            live_blocks: self.live_blocks + other.live_blocks,
            live_bytes: self.live_bytes + other.live_bytes,
            allocations: self.allocations.wrapping_add(other.allocations),
            frees: self.frees.wrapping_add(other.frees),
        }
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// The blocks of the owner of `number`, in common spans and in its own.
pub fn of_number(number: Number) -> Usage {
    let entry = numbers::entry(number);
    let common = entry.lock(number, || in_common(number, entry));
    match entry.heap() {
        Some(heap) => common + of_heap(heap),
        None => common,
    }
}

/// The blocks of the host: those of its own spans, and adopted ones in common spans. The
/// time also grows with the count of numbers given out so far.
pub fn of_host() -> Usage {
    let is_host = |entry: &Entry| entry.key() == Some(HOST_KEY);
    let adopted: Usage = numbers::made(Kind::Ambient)
        .filter(|(_, entry)| is_host(entry))
        .map(|(number, entry)| {
            entry.lock(number, || {
                if is_host(entry) { in_common(number, entry) } else { Usage::default() }
            })
        })
        .sum();
    crate::sync::delay(crate::sync::Window::HostFigures);
    let own = of_heap(&HOST);
    let live_blocks = own.live_blocks + adopted.live_blocks;
    let live_bytes = own.live_bytes + adopted.live_bytes;
    let came = own.allocations.wrapping_add(HOST.with(Lists::adopted));
    Usage {
        live_blocks,
        live_bytes,
        allocations: own.allocations,
        frees: came.saturating_sub(live_blocks as u64),
    }
}

/// The blocks of a number that are in use in common spans. The caller holds the entry's
/// lock.
///
/// All frees are read before the allocations, and each free was counted after its
/// allocation, so there never seem to be more frees than allocations. Bytes are off by at
/// most 8 KiB for each thread that allocates meanwhile.
pub fn in_common(number: Number, entry: &Entry) -> Usage {
    let (mut frees, mut credit) = entry.own_frees();
    let lines = || {
        let threads = entry.threads();
        let may_have = move |thread: &&thread::Thread| thread.is_among(threads);
        thread::made().filter(may_have).filter_map(|thread| thread.ledger().opened(number))
    };
    for line in lines() {
        let counts = line.counts();
        frees = frees.wrapping_add(u64::from(counts.frees));
        credit = credit.saturating_add(counts.credit);
    }
    crate::sync::delay(crate::sync::Window::Figures);
    let own = entry.own_allocations();
    let allocations =
        lines().fold(own, |sum, line| sum.wrapping_add(u64::from(line.allocations())));
    let live_blocks = allocations.saturating_sub(frees) as usize;
    let live_bytes = if live_blocks == 0 { 0 } else { entry.charged().saturating_sub(credit) };
    Usage { live_blocks, live_bytes, allocations, frees: frees.min(allocations) }
}

/// The blocks in use in a heap's own spans.
pub fn of_heap(heap: &Heap) -> Usage {
    heap.with(|lists| {
        let live = live(lists);
        let caches =
            lists.caches().fold(0, |sum: u64, cache: &Cache| sum.wrapping_add(cache.allocations()));
        let allocations = lists.allocations().wrapping_add(caches);
        let came = allocations.wrapping_add(lists.adopted());
        let frees = came.saturating_sub(live.blocks as u64);
        Usage { live_blocks: live.blocks, live_bytes: live.bytes, allocations, frees }
    })
}

/// The blocks in use of the spans of a heap.
pub fn live(lists: &Lists) -> Taken {
    let mut live = Taken::default();
    lists.spans().for_each(|span| count_live(&mut live, span));
    live
}

/// Adds the blocks in use of `span`. The caller holds the lock of its heap.
pub fn count_live(live: &mut Taken, span: &Span) {
    let blocks = match span.state() {
        SpanState::Large | SpanState::Huge => 1,
        SpanState::Spare | SpanState::Idle | SpanState::Free => 0,
        _ => span.used(|| span.in_bin()) as usize,
    };
    live.blocks += blocks;
    live.bytes += blocks * span.block_size();
}
