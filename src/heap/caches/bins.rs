//! Bins, which the fast path pops, and the queues of spans that fill them.

use core::cell::Cell;

use crate::heap::base::geometry::SLICE;
use crate::heap::base::size_class::BinPlace;
use crate::heap::spans::free_block::FreeList;
use crate::heap::spans::span::{NEVER, Span, SpanList};

use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// The list that the fast path pops.
#[repr(C)]
pub struct Bin {
    pub(super) head: Cell<FreeList>,
    /// Blocks taken from this bin so far. Only the thread writes it, without a locked
    /// instruction; any thread may read it for figures.
    pub(super) allocated: AtomicUsize,
}

const _: () = assert!(size_of::<Bin>() == BinPlace::BIN);

impl Bin {
    /// An empty bin.
    pub const fn new() -> Self {
        Self { head: Cell::new(FreeList::EMPTY), allocated: AtomicUsize::new(0) }
    }

    /// The list.
    #[inline(always)]
    pub fn list(&self) -> FreeList {
        self.head.get()
    }

    /// Puts a list of `count` blocks of the current span of `queue`, which is the bin's,
    /// into the empty bin.
    #[inline(always)]
    pub fn fill(&self, queue: &Queue, list: FreeList, count: u32) {
        self.head.set(list);
        let limit = self.allocated.load(Relaxed).wrapping_add(count as usize);
        queue.limit.store(limit, Relaxed);
    }
}

/// The spans that fill a bin.
pub struct Queue {
    /// The span that the bin is filled from.
    pub current: Cell<Option<&'static Span>>,
    /// Spans with enough free or uncarved blocks, oldest first.
    pub available: SpanList,
    /// Spans with too few free blocks.
    pub waiting: SpanList,
    /// Spans without a block in use (see `idle`).
    pub idle: SpanList,
    /// See CACHE2.
    pub(super) limit: AtomicUsize,
}

const _: () = assert!(size_of::<Queue>() % BinPlace::BIN == 0);

impl Queue {
    /// No spans.
    pub const fn new() -> Self {
        Self {
            current: Cell::new(None),
            available: SpanList::new(),
            waiting: SpanList::new(),
            idle: SpanList::new(),
            limit: AtomicUsize::new(0),
        }
    }

    /// All spans of the queue.
    pub fn spans(&self) -> impl Iterator<Item = &'static Span> {
        let lists = [&self.available, &self.waiting, &self.idle];
        self.current.get().into_iter().chain(lists.into_iter().flat_map(SpanList::iter))
    }
}

/// The current span is watched if at least this many of its blocks, and bytes, are in use.
const LEAST_WATCHED: u32 = 8;
const WATCHED: usize = SLICE / 4;

/// How many frees a current span with `used` blocks in use waits for, if the quota is not
/// tight.
#[inline(always)]
pub fn wait_for(span: &Span, used: u32) -> u32 {
    let is_much = used >= LEAST_WATCHED && used as usize * span.block_size() >= WATCHED;
    if is_much { used } else { NEVER }
}
