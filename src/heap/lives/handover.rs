//! Whole caches and heaps change hands when a thread ends, an expert is reclaimed, or the
//! host adopts an expert's blocks.
//!
//! Each case is decided under the heap's lock. So if a thread ends and an expert is
//! reclaimed at the same moment, exactly one of them handles a cache.

use super::sweep;
use super::usage;
use crate::engine::Taken;
use crate::heap::base::number::Number;
use crate::heap::base::paths::{self, Path};
use crate::heap::caches::cache::{Cache, CacheFate};
use crate::heap::owners::begin_end;
use crate::heap::owners::heap::{HOST, Heap};
use crate::heap::owners::lists::Lists;
use crate::heap::owners::numbers;
use crate::heap::pages::arena;
use crate::heap::spans::span::{Span, SpanState};
use crate::heap::threads::thread::tending;
use crate::sync::{Ordering, fence};

/// Takes back all blocks of a number, whose owner ends, and refunds them. A sweep frees
/// those in common spans. The time grows with the numbers of the owner's own spans and
/// caches, and of the threads that have allocated for it.
///
/// # Safety
///
/// - S1 as for [`reclaim`], for all blocks of the number.
pub unsafe fn reclaim_number(number: Number) -> Taken {
    let entry = numbers::entry(number);
    let mut taken = Taken::default();
    let heap = entry.end(number, false, || {
        let usage = usage::in_common(number, entry);
        taken = Taken { blocks: usage.live_blocks, bytes: usage.live_bytes };
        usage.live_bytes
    });
    if let Some(heap) = heap {
        // SAFETY: S1.
        let own = unsafe { reclaim(heap) };
        taken = Taken { blocks: taken.blocks + own.blocks, bytes: taken.bytes + own.bytes };
        heap.close();
        entry.close_heap(number);
    }
    tending::forget(number);
    sweep::sweep_if_worth_it();
    taken
}

/// Gives all blocks of an ambient number, whose owner ends, to the host. The time is that
/// of [`reclaim_number`].
pub fn adopt_number(number: Number) -> Taken {
    let entry = numbers::entry(number);
    let mut taken = Taken::default();
    let heap = entry.end(number, true, || {
        let usage = usage::in_common(number, entry);
        taken = Taken { blocks: usage.live_blocks, bytes: usage.live_bytes };
        usage.live_bytes
    });
    HOST.with(|lists| lists.count_adopted(taken.blocks as u64));
    if let Some(heap) = heap {
        let own = adopt(heap, &HOST);
        taken = Taken { blocks: taken.blocks + own.blocks, bytes: taken.bytes + own.bytes };
        heap.close();
        entry.close_heap(number);
        tending::tend();
    }
    tending::forget(number);
    taken
}

/// How many spans are given back before the arena's lock is given up for a moment.
const SPANS_PER_LOCK: usize = 1024;

/// Takes back every span of `heap`. The time grows with the numbers of its spans and
/// caches.
///
/// # Safety
///
/// - S1 nothing uses the heap's blocks any more, and no other thread allocates
///   or frees any.
pub unsafe fn reclaim(heap: &'static Heap) -> Taken {
    let mut taken = Taken::default();
    let mut own = None;
    heap.with(|lists| {
        let mut charged = 0;
        let mut spans = lists.spans().peekable();
        while spans.peek().is_some() {
            arena::with(|arena| {
                arena.keep_bound();
                let mut returned = arena.take_back();
                for span in spans.by_ref().take(SPANS_PER_LOCK) {
                    span.prefetch_next();
                    usage::count_live(&mut taken, span);
                    charged += span.charged();
                    if span.state() == SpanState::Abandoned {
                        heap.remove_abandoned(lists, span);
                    }
                    begin_end::release_slices_in(&mut returned, span);
                }
            });
        }
        for cache in lists.caches() {
            cache.set_fate(CacheFate::Dead);
            if cache.is_mine() {
                own = Some(cache);
            } else {
                notify(cache);
            }
        }
        heap.account().refund(charged);
        lists.clear();
    });
    // A thread has at most one cache for a heap.
    own.inspect(|&cache| tending::drop_dead(cache));
    taken
}

/// Tells the thread of `cache` that the cache does not belong to it any more. The caller
/// holds the lock of the cache's heap.
fn notify(cache: &'static Cache) {
    cache.home().inspect(|home| home.send(cache));
}

/// Gives all spans and caches of `from`, an expert's heap, to `to`, the host's. Threads may
/// go on allocating from the caches, whose memory is then the host's. The time grows with
/// the numbers of spans and caches.
pub fn adopt(from: &'static Heap, to: &'static Heap) -> Taken {
    from.with(|old| {
        to.with(|new| {
            paths::entered(Path::HeapAdopted);
            let taken = usage::live(old);
            for cache in old.caches() {
                old.remove_cache(cache);
                cache.set_heap(to);
                cache.set_fate(CacheFate::Adopted);
                // The cache's allocations so far count for the expert, not for the host.
                new.count_allocations(cache.allocations().wrapping_neg());
                new.add_cache(cache);
                notify(cache);
            }
            for span in old.spans() {
                adopt_span(from, old, to, new, span);
            }
            new.count_adopted(taken.blocks as u64);
            old.clear();
            from.disown();
            taken
        })
    })
}

fn adopt_span(from: &Heap, old: &Lists, to: &'static Heap, new: &Lists, span: &'static Span) {
    let is_abandoned = span.state() == SpanState::Abandoned;
    if is_abandoned {
        from.remove_abandoned(old, span);
    }
    old.remove_span(span);
    from.account().refund(span.charged());
    to.account().overdraw(span.charged());
    // Release: the charge (the Acquire in `Cache::charge`).
    fence(Ordering::Release);
    span.set_heap(to);
    new.add_span(span);
    if is_abandoned {
        to.add_abandoned(new, span);
    }
}
