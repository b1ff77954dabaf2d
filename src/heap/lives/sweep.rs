//! Sweeps free the blocks of ended owners in common spans.
//!
//! The end of an owner marks its number and refunds the charge; its blocks stay where they
//! are, with the tag of a dead number. A sweep walks over the tags of the common spans and
//! frees these blocks, once they are an eighth of that memory, or when a thread purges. So
//! a block is freed in amortised constant time, by the thread that allocates next.
//!
//! Ambient blocks that the host has adopted stay in use. A sweep gives those that lie in
//! spans of its own thread the host's number, so that the ended owner's number becomes free
//! for the next owner.
//!
//! A sweep may do that while others allocate and free (TAG3), because only a sweep may free
//! a dead block, and one of two sweeps wins the exchange. Any thread may free an adopted
//! block: the span's own, which is the sweeping thread, or another, which takes the current
//! tag by an exchange.

use crate::heap::base::number::Number;
use crate::heap::base::paths::{self, Path};
use crate::heap::base::size_class;
use crate::heap::owners::entry;
use crate::heap::owners::entry::Standing;
use crate::heap::owners::heap::{COMMON, COMMON_ACCOUNT};
use crate::heap::owners::numbers::{self};
use crate::heap::presence::token::token;
use crate::heap::spans::pushes;
use crate::heap::spans::span::{Span, TAGGED};
use crate::heap::spans::tags::Tag;
use crate::heap::threads::thread;
use crate::heap::threads::thread::giving_back;
use crate::lock::Lock;
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// Dead blocks of fewer bytes are not worth a sweep.
const LEAST_DEAD: usize = 64 << 10;

/// The common heap's lock is given up after this many spans.
const SPANS_PER_LOCK: usize = 16;

/// One sweep runs at a time, because the walk has one cursor.
static SWEEPING: Lock<()> = Lock::new(());

/// A sweep begins when this many more numbers wait than after the last sweep, and when more
/// numbers wait than one for each of these bytes of common memory.
const LEAST_WAITING: usize = 1024;
const BYTES_PER_WAITING: usize = 4096;

/// How many numbers still waited after the last sweep. A hint.
static LEFT_WAITING: AtomicUsize = AtomicUsize::new(0);

/// Sweeps if dead blocks are more than an eighth of the common memory, or if many numbers
/// of ended owners wait for a sweep.
#[inline]
pub fn sweep_if_worth_it() {
    let (dead, memory) = (entry::dead_bytes(), COMMON_ACCOUNT.charged());
    let waiting = entry::waiting().saturating_sub(LEFT_WAITING.load(Relaxed));
    let are_many = waiting > LEAST_WAITING.max(memory / BYTES_PER_WAITING);
    if dead > LEAST_DEAD && dead > memory / 8 || are_many {
        sweep();
    }
}

/// Frees the blocks of all owners that have ended, unless another thread sweeps now. The
/// time grows with the number of blocks of the common spans.
#[cold]
#[inline(never)]
pub fn sweep() {
    let Some(_alone) = SWEEPING.try_lock() else { return };
    paths::entered(Path::Swept);
    COMMON.with(crate::heap::owners::lists::Lists::begin_walk);
    loop {
        let goes_on = COMMON.with(|lists| {
            for _ in 0..SPANS_PER_LOCK {
                let Some(span) = lists.walk_on() else { return false };
                sweep_span(span);
                COMMON.end_if_left(lists, span);
            }
            true
        });
        if !goes_on {
            break;
        }
    }
    LEFT_WAITING.store(entry::waiting(), Relaxed);
    if let Some(thread) = thread::known() {
        let _held = thread.home().presence().hold();
        thread.common_if_any().inspect(|common| common.collect());
    }
    // Collects blocks that were freed in spans of sleeping threads.
    giving_back::end_empty_spans_of_others(|cache| core::ptr::eq(cache.heap(), &COMMON));
}

/// Frees the dead blocks of a common span. The caller holds the common heap's lock, so the
/// span does not end.
fn sweep_span(span: &'static Span) {
    let class = span.class();
    let bytes = size_class::size_of(class);
    let is_own = span.thread() == token() | TAGGED;
    // The last number that was found live is remembered, because blocks of one owner often
    // lie side by side.
    let mut live: Option<Number> = None;
    // The last number that was found dead, and how many of its blocks were freed but not
    // counted. Until they are counted, they count as in use, so the number stays its owner's
    // (NUM3).
    let mut dead: Option<(Number, u32)> = None;
    for (index, word) in span.tag_words().enumerate() {
        let tag = word.load();
        let Some(number) = tag.number() else { continue };
        if live == Some(number) {
            continue;
        }
        if dead.is_none_or(|(same, _)| same != number) {
            crate::sync::delay(crate::sync::Window::Sweep);
            match numbers::entry(number).standing() {
                Standing::Dead => count_swept(dead.replace((number, 0)), bytes),
                Standing::Live => live = Some(number),
                Standing::Adopted if is_own => pass_to_host(number, word, tag, class),
                _ => {}
            }
        }
        if let Some((_, count)) = dead.as_mut().filter(|(same, _)| *same == number) {
            if word.exchange(tag, Tag::NONE) {
                *count += 1;
                // SAFETY: a block of this span, which only this sweep has now.
                unsafe { pushes::push_swept(span, span.block(index * bytes)) };
            }
        }
    }
    count_swept(dead, bytes);
}

/// Counts the blocks of a dead number that were freed.
fn count_swept(dead: Option<(Number, u32)>, bytes: usize) {
    if let Some((number, count @ 1..)) = dead {
        numbers::entry(number).count_swept(number, count, count as usize * bytes);
    }
}

/// Gives the host's number to an adopted block in a span of this thread.
fn pass_to_host(number: Number, word: &crate::heap::spans::tags::TagWord, tag: Tag, class: usize) {
    let Some((host, entry)) = numbers::host() else { return };
    let bytes = size_class::size_of(class);
    // The count comes before the block can be freed as the host's.
    entry.count_passed(bytes);
    if word.exchange(tag, Tag::new(host, class)) {
        numbers::entry(number).pass_to_host(number, bytes);
    } else {
        entry.uncount_passed(bytes);
    }
}

/// Keeps sweeps from beginning, for `fork`.
#[cfg(unix)]
pub fn lock_forever() {
    SWEEPING.lock_forever();
}

/// Undoes [`lock_forever`].
///
/// # Safety
///
/// - S1 as for `tables::unlock`.
#[cfg(unix)]
pub unsafe fn unlock() {
    // SAFETY: S1.
    unsafe { SWEEPING.force_unlock() };
}
