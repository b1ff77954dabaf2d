//! Ledgers: for each owner whose blocks a thread hands out from common spans, the thread
//! keeps a *line* of 16 bytes with the credit and the counts.
//!
//! *Credit* is bytes that the owner is charged for and does not use; a block is paid out of
//! it without a look at the account. Only the ledger's thread writes a line; others add
//! lines up.
//!
//! # Invariants
//!
//! - LED1 a line is open iff its owner's entry counts it; a closed line is all 0: it has
//!   neither credit nor room for any, so a payment or a free takes the slow path, which
//!   finds the line closed.
//! - LED2 over the open lines of a live number and its entry: `charged` is the sum of the
//!   credits, the returned bytes and the bytes in use; the blocks in use are the
//!   allocations less the frees. A single line may have more frees than allocations.
//! - LED3 `holds` counts the scopes of the thread that stand for this line; a line is not
//!   closed while there is one.

use core::alloc::Layout;
use core::ptr;

use crate::engine::Kind;
use crate::heap::base::number::{FIRST_SEGMENT, Number, SEGMENT_COUNT, SEGMENTS_PER_KIND, places};
use crate::heap::base::tables;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicI32, AtomicPtr, AtomicU8, AtomicU16, AtomicU32};

/// The most credit that a line keeps, in bytes.
pub const MOST_CREDIT: i32 = 8192;

/// Marks of a line.
const OPEN: u8 = 1;
const HAS_CACHE: u8 = 2;

/// The record of a thread for one owner number.
#[repr(C)]
pub struct Line {
    /// The room for more credit, in bytes: [`MOST_CREDIT`] less the credit. It is below 0
    /// only within a call. One subtraction tells a free that the line is closed, or has too
    /// much credit.
    room: AtomicI32,
    frees: AtomicU32,
    allocations: AtomicU32,
    /// How many refills of the common cache the owner caused in this window.
    hits: AtomicU8,
    window: AtomicU8,
    marks: AtomicU8,
    holds: AtomicU8,
}

const _: () = assert!(size_of::<Line>() == 16);

/// The room of a line after a block was paid.
#[must_use = "a block that is handed out counts"]
pub struct Paid(i32);

/// The counts of a thread's line.
#[derive(Clone, Copy, Debug)]
pub struct LineCounts {
    pub allocations: u32,
    pub frees: u32,
    /// Bytes.
    pub credit: usize,
}

/// All lines of a thread, in segments for each kind that double in size, as in `numbers`.
/// Behind the lines of a segment are the counts of open lines. For a segment that was made,
/// this is the address at which place 0 would be (see [`Number::place`]).
pub struct Ledger([AtomicPtr<Line>; SEGMENT_COUNT]);

impl Ledger {
    /// A ledger without lines.
    pub const fn new() -> Self {
        Self([const { AtomicPtr::new(ptr::null_mut()) }; SEGMENT_COUNT])
    }

    /// The line of `number`, if its segment was made.
    #[inline(always)]
    pub fn find(&self, number: Number) -> Option<&'static Line> {
        // Acquire: the lines (the Release in `make`).
        let origin = self.0[number.segment()].load(Acquire);
        if origin.is_null() {
            return None;
        }
        let line = origin.wrapping_add(number.place());
        // SAFETY: one of the segment's lines.
        unsafe { core::hint::assert_unchecked(!line.is_null()) };
        // SAFETY: as above; initialised (zero is a line), and never unmapped.
        Some(unsafe { &*line })
    }

    /// The line of `number`, if it is open.
    #[inline]
    pub fn opened(&self, number: Number) -> Option<&'static Line> {
        self.find(number).filter(|line| line.is_open())
    }

    /// Opens the line of `number`, and makes its segment if there is none. Only the
    /// ledger's thread calls this.
    pub fn open(&self, number: Number) -> Option<&'static Line> {
        if self.find(number).is_none() {
            self.make(number)?;
        }
        let line = self.find(number)?;
        line.open();
        self.count(number, 1);
        Some(line)
    }

    /// Closes the line of `number`. Only the ledger's thread calls this.
    pub fn close(&self, number: Number, line: &Line) {
        line.close();
        self.count(number, 1_u16.wrapping_neg());
    }

    fn make(&self, number: Number) -> Option<()> {
        let segment = number.segment();
        let memory = tables::allocate_zeroed(layout(segment)?)?;
        let origin = memory.as_ptr().cast::<Line>().wrapping_sub(places(segment));
        // Null would mean that there are no lines.
        let origin = Some(origin).filter(|origin| !origin.is_null())?;
        // Release: the zeros (the Acquire in `find`).
        self.0[segment].store(origin, Release);
        Some(())
    }

    /// The first line of a segment, if that was made.
    fn first(&self, segment: usize) -> Option<*mut Line> {
        // Acquire: the lines (the Release in `make`).
        let origin = self.0[segment].load(Acquire);
        (!origin.is_null()).then(|| origin.wrapping_add(places(segment)))
    }

    /// Adds `change` to the count of open lines on the page of `number`.
    fn count(&self, number: Number, more: u16) {
        let segment = number.segment();
        let place = number.place() - places(segment);
        if let Some(open) = self.page(segment, place / FIRST_SEGMENT) {
            open.store(open.load(Relaxed).wrapping_add(more), Relaxed);
        }
    }

    /// How many lines of a page of [`FIRST_SEGMENT`] lines are open; `None` if the segment
    /// was not made.
    fn page(&self, segment: usize, page: usize) -> Option<&'static AtomicU16> {
        let first = self.first(segment)?;
        // SAFETY: the counts stand behind the lines.
        let counts = unsafe { first.add(places(segment)) }.cast::<AtomicU16>();
        // SAFETY: there is one for each page.
        let count = unsafe { counts.add(page) };
        // SAFETY: initialised (zero), aligned behind lines of 16 bytes, never unmapped.
        Some(unsafe { &*count })
    }

    /// The lines of a page; empty if the segment was not made.
    fn lines(&self, segment: usize, page: usize) -> &'static [Line] {
        let Some(first) = self.first(segment) else { return &[] };
        // SAFETY: a segment has that many pages of so many lines.
        let first = unsafe { first.add(page * FIRST_SEGMENT) };
        // SAFETY: initialised (zero is a line), and never unmapped.
        unsafe { core::slice::from_raw_parts(first, FIRST_SEGMENT) }
    }

    /// All lines that are open, with their numbers. The time grows with the number of open
    /// lines, and with a 256th of all lines.
    pub fn open_lines(&self) -> impl Iterator<Item = (Number, &'static Line)> {
        let is_made = |&segment: &usize| !self.0[segment].load(Relaxed).is_null();
        let has_open = |&(segment, page): &(usize, usize)| {
            self.page(segment, page).is_some_and(|open| open.load(Relaxed) > 0)
        };
        let pages = (0..Kind::ALL.len() * SEGMENTS_PER_KIND)
            .filter(is_made)
            .flat_map(|segment| (0..places(segment) / FIRST_SEGMENT).map(move |it| (segment, it)));
        pages.filter(has_open).flat_map(|(segment, page)| {
            let kind = Kind::ALL[segment / SEGMENTS_PER_KIND];
            // The index of the page's first place.
            let first = places(segment) + page * FIRST_SEGMENT - FIRST_SEGMENT;
            let lines = self.lines(segment, page).iter().enumerate();
            let open = lines.filter(|(_, line)| line.is_open());
            open.filter_map(move |(place, line)| Some((Number::new(kind, first + place)?, line)))
        })
    }
}

/// The layout of a segment: its lines, and behind them the count of open lines of each
/// page.
fn layout(segment: usize) -> Option<Layout> {
    let lines = Layout::array::<Line>(places(segment)).ok()?;
    let counts = Layout::array::<AtomicU16>(places(segment) / FIRST_SEGMENT).ok()?;
    Some(lines.extend(counts).ok()?.0)
}

impl Line {
    /// The bytes that blocks may be paid with. The line is open.
    pub fn credit(&self) -> i32 {
        MOST_CREDIT.wrapping_sub(self.room.load(Relaxed))
    }

    /// Adds to the credit. Only the ledger's thread calls this and the functions below.
    pub fn add_credit(&self, bytes: i32) {
        self.room.store(self.room.load(Relaxed).wrapping_sub(bytes), Relaxed);
    }

    /// Pays for a block of `bytes` out of the credit; `None` if that is too little. The block
    /// counts with [`count_allocation`](Self::count_allocation).
    #[inline(always)]
    pub fn pay(&self, bytes: i32) -> Option<Paid> {
        let room = self.room.load(Relaxed).wrapping_add(bytes);
        (room <= MOST_CREDIT).then_some(Paid(room))
    }

    /// Counts a block handed out, and subtracts its price from the credit.
    #[inline(always)]
    pub fn count_allocation(&self, Paid(room): Paid) {
        self.allocations.store(self.allocations.load(Relaxed).wrapping_add(1), Relaxed);
        self.room.store(room, Relaxed);
    }

    /// Counts a block of `bytes` handed out, which was charged.
    pub fn count_charged(&self, bytes: i32) {
        self.add_credit(-bytes);
        self.allocations.store(self.allocations.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Counts a block of `bytes` freed, if the line is open and has room for so much
    /// credit.
    #[inline(always)]
    pub fn count_free_at_once(&self, bytes: i32) -> bool {
        let room = self.room.load(Relaxed).wrapping_sub(bytes);
        if room < 0 {
            return false;
        }
        self.room.store(room, Relaxed);
        self.count_one_free();
        true
    }

    /// Counts a block of `bytes` freed.
    pub fn count_free(&self, bytes: i32) {
        self.add_credit(bytes);
        self.count_one_free();
    }

    #[inline(always)]
    fn count_one_free(&self) {
        // Release: its allocation (the Acquire in `frees`).
        self.frees.store(self.frees.load(Relaxed).wrapping_add(1), Release);
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

    /// The credit and the counts of the line.
    pub fn counts(&self) -> LineCounts {
        let credit = usize::try_from(self.credit()).unwrap_or(0);
        LineCounts { allocations: self.allocations(), frees: self.frees(), credit }
    }

    /// Whether a count approaches 2^32, so the entry must take it over.
    pub fn is_long(&self) -> bool {
        (self.allocations() | self.frees()) >= 1 << 30
    }

    /// Resets the counts, which the entry has taken over.
    pub fn reset_counts(&self) {
        self.frees.store(0, Relaxed);
        self.allocations.store(0, Relaxed);
    }

    /// Whether the line is open (LED1).
    #[inline]
    pub fn is_open(&self) -> bool {
        self.marks.load(Relaxed) & OPEN != 0
    }

    /// Begins a line without credit.
    fn open(&self) {
        self.room.store(MOST_CREDIT, Relaxed);
        self.marks.store(OPEN, Relaxed);
    }

    /// Empties the line, which is closed from now on.
    fn close(&self) {
        self.reset_counts();
        self.room.store(0, Relaxed);
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

    /// How many refills were counted in `window`.
    #[inline]
    pub fn hits(&self, window: u8) -> u8 {
        if self.window.load(Relaxed) == window { self.hits.load(Relaxed) } else { 0 }
    }

    /// Counts a refill in `window`, and returns how many there were in it.
    #[inline]
    pub fn hit(&self, window: u8) -> u8 {
        let hits = self.hits(window).saturating_add(1);
        self.window.store(window, Relaxed);
        self.hits.store(hits, Relaxed);
        hits
    }

    /// Counts a scope that stands for the line (LED3).
    pub fn hold(&self) {
        let holds = self.holds.load(Relaxed);
        // Once a line has so many holds, it is never closed.
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn line() -> (&'static Ledger, Number, &'static Line) {
        // Lines are never unmapped, and refer to nothing.
        let ledger: &'static Ledger = std::boxed::Box::leak(std::boxed::Box::new(Ledger::new()));
        let number = Number::new(Kind::Bound, 300).expect("an index in range");
        (ledger, number, ledger.open(number).expect("memory is left"))
    }

    #[test]
    fn a_closed_line_neither_pays_nor_takes_what_is_freed() {
        let (ledger, number, line) = line();
        line.add_credit(64);
        assert!(line.pay(64).is_some() && line.pay(80).is_none());
        assert!(line.count_free_at_once(16) && line.credit() == 80);
        ledger.close(number, line);
        assert!(!line.count_free_at_once(16), "there is no room in a closed line");
        let all = (line.allocations(), line.frees(), line.room.load(Relaxed));
        assert_eq!((all, ledger.open_lines().count()), ((0, 0, 0), 0), "LED1");
        let same = ledger.open(number).expect("memory is left");
        assert_eq!((same.credit(), ledger.open_lines().count()), (0, 1));
    }

    #[test]
    fn a_line_takes_so_much_credit_and_no_more() {
        let (_, _, line) = line();
        line.add_credit(MOST_CREDIT - 16);
        assert!(line.count_free_at_once(16));
        assert_eq!((line.credit(), line.frees()), (MOST_CREDIT, 1));
        assert!(!line.count_free_at_once(16), "the rest goes back to the account");
        assert_eq!((line.credit(), line.frees()), (MOST_CREDIT, 1));
        let paid = line.pay(MOST_CREDIT).expect("all of it");
        line.count_allocation(paid);
        assert_eq!((line.credit(), line.allocations()), (0, 1));
    }

    #[test]
    fn hits_count_within_a_window() {
        let (_, _, line) = line();
        assert_eq!((line.hit(3), line.hit(3), line.hits(3), line.hits(4)), (1, 2, 2, 0));
        assert_eq!((line.hit(4), line.hits(3)), (1, 0));
    }
}
