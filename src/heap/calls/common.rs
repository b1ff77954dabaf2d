//! Common spans: memory that is shared by owners that have too little for spans of their
//! own.
//!
//! All owners that are seated at a desk in a thread allocate from the thread's *common
//! cache*. A block gets its owner's tag when it is handed out and loses it when it is
//! freed. So the next request uses the blocks of an ended one while they are in the
//! processor's caches.
//!
//! ```text
//!  desk --> line   pays for the block: credit, or a charge of 512 to 4,096 bytes
//!    `----> common cache --> bin --> block --> tag: the owner's number and the class
//! ```
//!
//! An owner leaves the desk for a cache of its own
//!
//! - for classes that have grown by 16 KiB, once it was charged more than 64 KiB: its
//!   blocks then fill pages, and are reclaimed by the page;
//! - for all classes, when it is busy: it caused 16 of the last 256 refills of the common
//!   cache. At most 16 owners of a thread are busy at the same time.
//!
//! This policy and its numbers did best in a sketch of eight; see `docs/laboratory.md`.

use core::ptr::NonNull;

use crate::engine::Kind;
use crate::error::Error;
use crate::heap::base::number::Number;
use crate::heap::base::paths::{self, Path};
use crate::heap::base::size_class::{self, BinPlace};
use crate::heap::caches::cache::{Cache, Seat};
use crate::heap::lives::arrival;
use crate::heap::lives::sweep;
use crate::heap::owners::credit;
use crate::heap::owners::ledger::Line;
use crate::heap::owners::numbers::{self};
use crate::heap::spans::span;
use crate::heap::spans::span::Span;
use crate::heap::spans::tags::{Measure, Tag, TagWord};
use crate::heap::threads::relief;
use crate::heap::threads::thread;
use crate::heap::threads::thread::tending;
use crate::key::ExpertKey;

/// An owner that was charged more than this is no longer small, in bytes.
const SMALL_OWNER: usize = 64 << 10;

/// A busy owner has caused this many refills of the common cache within a window.
const BUSY_HITS: u8 = 16;

/// Whether a request may pass the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// If the quota refuses, the charge is granted all the same, or counted as a refusal.
    Usual,
    /// The charge is made only within the quota, and a refusal is not counted.
    Strict,
}

/// The place of the tag of the block of `class` at `block`.
#[inline(always)]
pub fn tag_word(block: NonNull<u8>, class: usize) -> &'static TagWord {
    let measure = Measure::of(class);
    if measure.is_one_slice() {
        // SAFETY: a carved block of a tagged span.
        return unsafe { measure.word_in_slice(block.addr().get()) };
    }
    tag_word_slow(block)
}

#[cold]
#[inline(never)]
fn tag_word_slow(block: NonNull<u8>) -> &'static TagWord {
    // SAFETY: a block of this heap, of a span that is in use.
    (unsafe { span::span_of(block) }).tag_word(block.addr().get())
}

/// A block of the class at `place` for the owner that is seated at `desk`, tagged, if one is
/// at hand, the credit covers it, and a span of the class is one slice. This is the fast
/// path of small owners.
#[inline(always)]
pub fn hand_out_at_once(desk: &'static Cache, place: BinPlace) -> Option<NonNull<u8>> {
    let seat = desk.seat()?;
    let measure = Measure::of(place.class());
    if !measure.is_one_slice() {
        return None;
    }
    let block = take_at_once(seat, place)?;
    // SAFETY: a carved block of a tagged span; looked at above.
    let word = unsafe { measure.word_in_slice(block.addr().get()) };
    word.store(Tag::new(seat.number, place.class()));
    Some(block)
}

/// As [`hand_out_at_once`], for an empty bin. It uses the blocks that were freed meanwhile
/// in the span that fills the bin, unless the owner may be busy.
#[cold]
#[inline(never)]
pub fn refill_and_hand_out(desk: &'static Cache, place: BinPlace) -> Option<NonNull<u8>> {
    let Seat { line, common, number } = desk.seat()?;
    let paid = line.pay(Measure::of(place.class()).bytes())?;
    let thread = thread::known()?;
    if line.hits(thread.refill_window()) >= BUSY_HITS - 1 {
        return None;
    }
    let block = common.reuse_current(place)?;
    line.hit(thread.count_refill());
    line.count_allocation(paid);
    tag_word(block, place.class()).store(Tag::new(number, place.class()));
    Some(block)
}

/// As [`hand_out_at_once`], without a tag: a raw block gets its tag after its content.
#[inline(always)]
pub fn take_at_once(seat: Seat, place: BinPlace) -> Option<NonNull<u8>> {
    let paid = seat.line.pay(Measure::of(place.class()).bytes())?;
    let block = seat.common.pop(place)?;
    seat.line.count_allocation(paid);
    Some(block)
}

/// The outcome of a request at a desk.
pub enum Served {
    /// A block from common spans.
    Block(NonNull<u8>),
    /// The owner has left the desk: this cache, its own, serves the class from now on.
    Own(&'static Cache),
}

/// A block of `class` for the owner that is seated at `desk`. `tag` says whether it gets
/// its tag now; a raw block gets its tag after its content.
///
/// # Errors
///
/// [`Error::OutOfMemory`], [`Error::QuotaExceeded`]; [`Error::InvalidKey`] if the owner has
/// ended.
#[cold]
#[inline(never)]
pub fn allocate(
    desk: &'static Cache,
    class: usize,
    tag: bool,
    limit: Limit,
) -> Result<Served, Error> {
    let Seat { line, common, number } = desk.seat().ok_or(Error::InvalidKey)?;
    let bytes = Measure::of(class).bytes();
    if line.pay(bytes).is_none() {
        if let Some(own) = charge(number, line, class, limit)? {
            return Ok(Served::Own(own));
        }
    }
    let block = match common.pop(BinPlace::of_class(class)) {
        Some(block) => block,
        None => {
            if let Some(own) = busy_cache(number, line) {
                return Ok(Served::Own(own));
            }
            sweep::sweep_if_worth_it();
            if line.is_long() {
                let entry = numbers::entry(number);
                entry.lock(number, || credit::fold(entry, line));
            }
            common.allocate_cold(class)?
        }
    };
    line.count_charged(bytes);
    if tag {
        tag_word(block, class).store(Tag::new(number, class));
    }
    Ok(Served::Block(block))
}

/// A block of a common span for the owner of `cache`. The quota granted no further page,
/// but it may have room for a single block. `None` if it has no room, or if the cache is
/// not an owner's.
#[cold]
pub fn allocate_instead(cache: &'static Cache, class: usize) -> Option<NonNull<u8>> {
    let Seat { line, common, number } = cache.seat()?;
    let bytes = size_class::size_of(class);
    credit::charge(numbers::entry(number), number, line, bytes).ok()?;
    let place = BinPlace::of_class(class);
    let block = common.pop(place).or_else(|| common.allocate_cold(class).ok())?;
    line.count_charged(bytes as i32);
    if number.kind() != Kind::Raw {
        tag_word(block, class).store(Tag::new(number, class));
    }
    Some(block)
}

/// The cache of its own that the owner gets if it is busy: it serves all classes.
fn busy_cache(number: Number, line: &'static Line) -> Option<&'static Cache> {
    let thread = thread::known()?;
    let hits = line.hit(thread.count_refill());
    if hits < BUSY_HITS || !thread.may_be_busy() {
        return None;
    }
    let cache = own_cache(thread, number, line)?;
    paths::entered(Path::BusyOwner);
    cache.serve_all();
    thread.count_busy();
    Some(cache)
}

/// An owner that allocates a large block is not small: it gets a cache of its own, which
/// keeps the spans of such blocks for the next (see `idle`).
pub fn open_for_large(number: Number, key: ExpertKey) {
    let Some(thread) = arrival::this() else { return };
    let line = thread.open_line(number);
    if let Ok(line) = line {
        if numbers::entry(number).key() == Some(key) {
            own_cache(thread, number, line);
        }
    }
}

/// The owner's cache in this thread. If there is none, it is opened, provided that there is
/// memory.
fn own_cache(
    thread: &'static thread::Thread,
    number: Number,
    line: &'static Line,
) -> Option<&'static Cache> {
    if line.has_cache() {
        return thread.cache_of(number);
    }
    thread.open_cache(number, line).ok()
}

/// Charges the owner for a block of `class`. If the owner's own cache serves the class from
/// now on, returns that cache, which then charges for the block itself.
///
/// # Errors
///
/// As [`allocate`].
#[cold]
#[inline(never)]
fn charge(
    number: Number,
    line: &'static Line,
    class: usize,
    limit: Limit,
) -> Result<Option<&'static Cache>, Error> {
    let entry = numbers::entry(number);
    let bytes = size_class::size_of(class);
    // Tending does not close the line of this call.
    line.hold();
    tending::tend();
    line.let_go();
    let mut done = credit::charge(entry, number, line, bytes);
    if done == Err(Error::QuotaExceeded) {
        paths::entered(Path::Pressure);
        relief::relieve(entry.lock(number, || entry.account()));
        done = credit::charge(entry, number, line, bytes);
    }
    if done == Err(Error::QuotaExceeded) && limit == Limit::Usual {
        done = credit::charge_beyond(entry, number, line, bytes);
    }
    let charged = done?;
    if entry.charged() <= SMALL_OWNER {
        return Ok(None);
    }
    let Some(thread) = thread::known() else { return Ok(None) };
    let Some(cache) = own_cache(thread, number, line) else { return Ok(None) };
    if charged == 0 || !cache.grow(class, charged) || !cache.serves(class) {
        return Ok(None);
    }
    paths::entered(Path::ClassGrown);
    credit::settle(number, line, 0);
    Ok(Some(cache))
}

/// Counts a free by this thread of a block of `class` of the owner of `number`; the block's
/// tag was taken off.
#[inline(always)]
pub fn count_free(number: Number, class: usize) {
    if !count_free_at_once(number, Measure::of(class)) {
        count_free_slow(number, class);
    }
}

/// Counts a block that this thread frees, if it has an open line for the owner with room
/// for the credit.
#[inline(always)]
fn count_free_at_once(number: Number, measure: Measure) -> bool {
    let line = thread::known().and_then(|thread| thread.ledger().find(number));
    line.is_some_and(|line| line.count_free_at_once(measure.bytes()))
}

/// As [`count_free`], if `line` is this thread's open line for `number`.
#[cfg(feature = "capi")]
#[inline(always)]
pub fn count_free_in(line: &'static Line, number: Number, class: usize) {
    let bytes = Measure::of(class).bytes();
    if !line.count_free_at_once(bytes) {
        credit::count_free(number, line, bytes);
    }
}

#[cold]
#[inline(never)]
fn count_free_slow(number: Number, class: usize) {
    let bytes = Measure::of(class).bytes();
    match thread::known().and_then(|thread| thread.ledger().opened(number)) {
        Some(line) => credit::count_free(number, line, bytes),
        None => numbers::entry(number).count_free(number, bytes as usize),
    }
}

/// Takes the tag of a block that its owner, or the host, frees in the thread that owns the
/// span, and counts the free, if the class has spans of one slice and all this can be done
/// at once. Returns false, with nothing changed, if that is not possible.
#[inline(always)]
pub fn take_own_tag_at_once(class: usize, block: NonNull<u8>) -> bool {
    let measure = Measure::of(class);
    if !measure.is_one_slice() {
        return false;
    }
    // SAFETY: a carved block of a tagged span; looked at above.
    let word = unsafe { measure.word_in_slice(block.addr().get()) };
    let Some(number) = word.load().number_unless_raw() else { return false };
    crate::sync::delay(crate::sync::Window::OwnTagAtOnce);
    let is_counted = count_free_at_once(number, measure);
    if is_counted {
        word.store(Tag::NONE);
    }
    is_counted
}

/// As [`take_own_tag_at_once`], for any class and without counting. `None` if the block is
/// free already, or raw.
pub fn take_own_tag(class: usize, block: NonNull<u8>) -> Option<Number> {
    let word = tag_word(block, class);
    let number = word.load().number_unless_raw()?;
    crate::sync::delay(crate::sync::Window::OwnTag);
    word.store(Tag::NONE);
    Some(number)
}

/// As [`take_own_tag`], for any other thread.
pub fn take_tag(span: &Span, address: usize) -> Option<Number> {
    let word = span.tag_word(address);
    let tag = word.load();
    let number = tag.number_unless_raw()?;
    crate::sync::delay(crate::sync::Window::TakeTag);
    // The span's own thread may change the owner meanwhile: see `sweep`.
    if word.exchange(tag, Tag::NONE) { Some(number) } else { word.take().number() }
}
