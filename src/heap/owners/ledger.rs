//! Ledgers: what a thread keeps for each owner whose blocks it hands out from common
//! spans: a *line* of 16 bytes with the credit and the counts.
//!
//! *Credit* is what the owner was charged and does not use: a block is paid out of it
//! without a look at the account. Only the ledger's thread writes a line; others add
//! lines up.
//!
//! # Invariants
//!
//! - LED1 a line is open iff its owner's entry counts it; a closed line is all 0.
//! - LED2 over the open lines of a live number and its entry: `charged` is the credits and
//!   what was returned, plus the bytes in use; the blocks in use are the allocations less
//!   the frees. A single line may have more frees than allocations.
//! - LED3 `holds` counts the scopes of the thread that stand for this line; it is not
//!   closed while there is one.

use core::alloc::Layout;
use core::ptr;

use crate::engine::Kind;
use crate::heap::base::number::{FIRST_SEGMENT, Number, SEGMENT_COUNT, place_of};
use crate::heap::base::tables;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicI32, AtomicPtr, AtomicU8, AtomicU16, AtomicU32};

/// Marks of a line.
const OPEN: u8 = 1;
const HAS_CACHE: u8 = 2;

/// The record of a thread for one owner number.
#[repr(C)]
pub struct Line {
    /// Bytes. Below 0 only within a call.
    credit: AtomicI32,
    allocations: AtomicU32,
    frees: AtomicU32,
    /// How often the owner made the common cache look for blocks in this window.
    hits: AtomicU8,
    window: AtomicU8,
    marks: AtomicU8,
    holds: AtomicU8,
}

const _: () = assert!(size_of::<Line>() == 16);

/// The counts of a thread's line.
#[derive(Clone, Copy, Debug)]
pub struct LineCounts {
    pub allocations: u32,
    pub frees: u32,
    /// Bytes.
    pub credit: usize,
}

/// All lines of a thread: for each kind segments that double in size, as `numbers` has
/// them, behind each of which stands how many of its lines are open.
pub struct Ledger([[AtomicPtr<Line>; SEGMENT_COUNT]; 3]);

impl Ledger {
    /// A ledger without lines.
    pub const fn new() -> Self {
        Self([const { [const { AtomicPtr::new(ptr::null_mut()) }; SEGMENT_COUNT] }; 3])
    }

    /// The line of `number`, if its segment was made.
    #[inline]
    pub fn find(&self, number: Number) -> Option<&'static Line> {
        let (segment, place) = place_of(number.index());
        // Acquire: the lines (the Release in `make`).
        let first = self.0[number.kind() as usize][segment].load(Acquire);
        if first.is_null() {
            return None;
        }
        // SAFETY: a segment has `FIRST_SEGMENT << segment` lines.
        let line = unsafe { first.add(place) };
        // SAFETY: initialised (zero is a line), and never unmapped.
        Some(unsafe { &*line })
    }

    /// The line of `number`, if it is open.
    #[inline]
    pub fn opened(&self, number: Number) -> Option<&'static Line> {
        self.find(number).filter(|line| line.is_open())
    }

    /// Opens the line of `number`, its segment made if need be. By the ledger's thread.
    pub fn open(&self, number: Number) -> Option<&'static Line> {
        if self.find(number).is_none() {
            self.make(number)?;
        }
        let line = self.find(number)?;
        line.marks.store(OPEN, Relaxed);
        self.count(number, 1);
        Some(line)
    }

    /// Closes the line of `number`. By the ledger's thread.
    pub fn close(&self, number: Number, line: &Line) {
        line.close();
        self.count(number, 1_u16.wrapping_neg());
    }

    fn make(&self, number: Number) -> Option<()> {
        let (segment, _) = place_of(number.index());
        let memory = tables::allocate_zeroed(layout(segment)?)?;
        // Release: the zeros (the Acquire in `find`).
        self.0[number.kind() as usize][segment].store(memory.as_ptr().cast(), Release);
        Some(())
    }

    /// Adds to how many lines of the page of `number` are open.
    fn count(&self, number: Number, more: u16) {
        let (segment, place) = place_of(number.index());
        if let Some(open) = self.page(number.kind(), segment, place / FIRST_SEGMENT) {
            open.store(open.load(Relaxed).wrapping_add(more), Relaxed);
        }
    }

    /// How many lines are open of a page of [`FIRST_SEGMENT`] lines; `None` where the
    /// segment was not made.
    fn page(&self, kind: Kind, segment: usize, page: usize) -> Option<&'static AtomicU16> {
        let first = self.0[kind as usize][segment].load(Acquire);
        if first.is_null() {
            return None;
        }
        // SAFETY: the counts stand behind the lines.
        let counts = unsafe { first.add(FIRST_SEGMENT << segment) }.cast::<AtomicU16>();
        // SAFETY: there are `1 << segment` of them.
        let count = unsafe { counts.add(page) };
        // SAFETY: initialised (zero), aligned behind lines of 16 bytes, never unmapped.
        Some(unsafe { &*count })
    }

    /// The lines of a page; none where the segment was not made.
    fn lines(&self, kind: Kind, segment: usize, page: usize) -> &'static [Line] {
        // Acquire: the lines (the Release in `make`).
        let first = self.0[kind as usize][segment].load(Acquire);
        if first.is_null() {
            return &[];
        }
        // SAFETY: a segment has `1 << segment` pages of so many lines.
        let first = unsafe { first.add(page * FIRST_SEGMENT) };
        // SAFETY: initialised (zero is a line), and never unmapped.
        unsafe { core::slice::from_raw_parts(first, FIRST_SEGMENT) }
    }

    /// All lines that are open, with their numbers. Time in the lines open, and a 256th
    /// of all that the segments have.
    pub fn open_lines(&self) -> impl Iterator<Item = (Number, &'static Line)> {
        Kind::ALL.into_iter().flat_map(move |kind| {
            let is_made =
                move |&segment: &usize| !self.0[kind as usize][segment].load(Relaxed).is_null();
            let has_open = move |&(segment, page): &(usize, usize)| {
                self.page(kind, segment, page).is_some_and(|open| open.load(Relaxed) > 0)
            };
            let pages = (0..SEGMENT_COUNT)
                .filter(is_made)
                .flat_map(|segment| (0..1_usize << segment).map(move |page| (segment, page)));
            pages.filter(has_open).flat_map(move |(segment, page)| {
                let first = (FIRST_SEGMENT << segment) - FIRST_SEGMENT + page * FIRST_SEGMENT;
                let lines = self.lines(kind, segment, page).iter().enumerate();
                let open = lines.filter(|(_, line)| line.is_open());
                open.filter_map(move |(place, line)| {
                    Some((Number::new(kind, first + place)?, line))
                })
            })
        })
    }
}

/// The lines of a segment, and behind them how many are open of each page.
fn layout(segment: usize) -> Option<Layout> {
    let lines = Layout::array::<Line>(FIRST_SEGMENT << segment).ok()?;
    let counts = Layout::array::<AtomicU16>(1 << segment).ok()?;
    Some(lines.extend(counts).ok()?.0)
}

impl Line {
    /// Bytes that blocks may be paid with.
    #[inline(always)]
    pub fn credit(&self) -> i32 {
        self.credit.load(Relaxed)
    }

    /// Adds to the credit. By the ledger's thread, as all that follows.
    #[inline(always)]
    pub fn add_credit(&self, bytes: i32) {
        self.credit.store(self.credit.load(Relaxed).wrapping_add(bytes), Relaxed);
    }

    /// Counts a block of `bytes` handed out.
    #[inline(always)]
    pub fn count_allocation(&self, bytes: i32) {
        self.allocations.store(self.allocations.load(Relaxed).wrapping_add(1), Relaxed);
        self.add_credit(-bytes);
    }

    /// Counts a block of `bytes` freed.
    #[inline(always)]
    pub fn count_free(&self, bytes: i32) {
        // Release: its allocation (the Acquire in `frees`).
        self.frees.store(self.frees.load(Relaxed).wrapping_add(1), Release);
        self.add_credit(bytes);
    }

    /// Blocks freed.
    pub fn frees(&self) -> u32 {
        // Acquire: the allocations before them (the Release in `count_free`).
        self.frees.load(Acquire)
    }

    /// Blocks handed out.
    pub fn allocations(&self) -> u32 {
        self.allocations.load(Relaxed)
    }

    /// All that it says.
    pub fn counts(&self) -> LineCounts {
        let credit = usize::try_from(self.credit()).unwrap_or(0);
        LineCounts { allocations: self.allocations(), frees: self.frees(), credit }
    }

    /// Whether a count is far on its way to 2^32, and the entry has to take over.
    pub fn is_long(&self) -> bool {
        (self.allocations() | self.frees()) >= 1 << 30
    }

    /// Begins the counts anew, which somebody has taken over.
    pub fn reset_counts(&self) {
        self.frees.store(0, Relaxed);
        self.allocations.store(0, Relaxed);
    }

    /// Whether the line is open (LED1).
    #[inline]
    pub fn is_open(&self) -> bool {
        self.marks.load(Relaxed) & OPEN != 0
    }

    /// Empties the line, which is closed from now on.
    fn close(&self) {
        self.reset_counts();
        self.credit.store(0, Relaxed);
        self.hits.store(0, Relaxed);
        self.window.store(0, Relaxed);
        self.marks.store(0, Relaxed);
        self.holds.store(0, Relaxed);
    }

    /// Whether the thread has a cache for the number.
    #[inline]
    pub fn has_cache(&self) -> bool {
        self.marks.load(Relaxed) & HAS_CACHE != 0
    }

    /// Notes whether the thread has a cache for the number.
    pub fn set_cache(&self, has: bool) {
        self.marks.store(if has { OPEN | HAS_CACHE } else { OPEN }, Relaxed);
    }

    /// Counts a look for blocks in `window`; how many there were in it.
    pub fn hit(&self, window: u8) -> u8 {
        let before = if self.window.load(Relaxed) == window { self.hits.load(Relaxed) } else { 0 };
        let hits = before.saturating_add(1);
        self.window.store(window, Relaxed);
        self.hits.store(hits, Relaxed);
        hits
    }

    /// Counts a scope that stands for the line (LED3).
    pub fn hold(&self) {
        let holds = self.holds.load(Relaxed);
        // Once there are so many, they are never all let go.
        self.holds.store(holds.saturating_add(1), Relaxed);
    }

    /// Undoes a [`hold`](Self::hold).
    pub fn let_go(&self) {
        let holds = self.holds.load(Relaxed);
        if holds < u8::MAX {
            self.holds.store(holds.saturating_sub(1), Relaxed);
        }
    }

    /// Whether a scope stands for the line.
    pub fn is_held(&self) -> bool {
        self.holds.load(Relaxed) > 0
    }
}
