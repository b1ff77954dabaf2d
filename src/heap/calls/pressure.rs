//! After a refusal by the quota or the system, this thread uses all free memory in its
//! caches, or gives it back and asks again.
//!
//! After a refusal a cache is *tight*, until the quota has granted several charges. In a
//! tight cache, a span becomes available as soon as it has a free block, and ends with its
//! last block. So there is nothing to look through at the next refusal, unless another
//! thread has freed into one of the spans.

use core::ptr::NonNull;

use crate::error::Error;
use crate::heap::base::paths::{self, Path};
use crate::heap::base::size_class::{self, BinPlace, CLASSES, SMALL_MAX};
use crate::heap::caches::cache::Cache;
use crate::heap::owners::heap::COMMON;
use crate::heap::presence::present;
use crate::heap::spans::span::SpanState;
use crate::heap::threads::relief;

impl Cache {
    /// Allocates a block of `class` within the quota; the bin is empty.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::QuotaExceeded`]; a refusal is not counted.
    #[inline(always)]
    pub fn allocate_cold(&'static self, class: usize) -> Result<NonNull<u8>, Error> {
        let _held = present::hold();
        if let Some(block) = self.reuse_current(BinPlace::of_class(class)) {
            return Ok(block);
        }
        self.lose_bin(class);
        match self.refill(class) {
            Ok(()) => self.pop(BinPlace::of_class(class)).ok_or(Error::OutOfMemory),
            Err(why) => self.find_under_pressure(class).ok_or(why),
        }
    }

    /// After a refusal by the quota or the system, finds a free block anywhere in this
    /// cache, and first gives back empty spans.
    #[cold]
    fn find_under_pressure(&'static self, class: usize) -> Option<NonNull<u8>> {
        paths::entered(Path::Pressure);
        let has_more = relief::relieve(self.heap().account());
        if let Some(block) = self.scrape(class) {
            paths::entered(Path::PressureRelieved);
            return Some(block);
        }
        // The caller tags a block of a common span, and the place of the tag depends on the
        // class.
        let is_common = core::ptr::eq(self.heap(), &raw const COMMON);
        let mut larger = larger_classes(class).filter(|_| !is_common);
        let found = larger.find_map(|class| {
            self.pop(BinPlace::of_class(class)).or_else(|| {
                self.lose_bin(class);
                self.scrape(class)
            })
        });
        if found.is_some() {
            paths::entered(Path::LargerClass);
            return found;
        }
        if has_more && self.refill(class).is_ok() {
            self.pop(BinPlace::of_class(class))
        } else {
            None
        }
    }

    /// A block of `class` from a span of the queue that has one: the current span, an
    /// available one, or one of the first few waiting ones.
    fn scrape(&'static self, class: usize) -> Option<NonNull<u8>> {
        if !self.bin(class).is_empty() {
            return None;
        }
        let queue = self.queue(class);
        let candidates = queue.current.get().into_iter().chain(queue.available.iter());
        let span = candidates.into_iter().find(|span| span.outstanding() < span.carved());
        let is_filled = match span {
            Some(span) => {
                if span.state() != SpanState::Current {
                    self.dequeue(span);
                    self.make_current(class, span);
                }
                self.fill_from(span, 1)
            }
            None => self.poll_waiting(class),
        };
        if is_filled { self.pop(BinPlace::of_class(class)) } else { None }
    }

    /// One block beyond the quota, if the owner's heap allows that.
    ///
    /// # Errors
    ///
    /// `why`, if it does not.
    pub fn allocate_beyond(&'static self, class: usize, why: Error) -> Result<NonNull<u8>, Error> {
        if why != Error::QuotaExceeded {
            return Err(why);
        }
        let span = match self.queue(class).current.get() {
            Some(span) if span.carved() < span.capacity() => span,
            _ => self.fresh_span(class)?,
        };
        let bytes = span.charge_of(span.carved() + 1).saturating_sub(span.charged());
        // The owner may be the host by now, which has no quota.
        let charged = self.charge(span, bytes, |heap, span, bytes| {
            heap.charge(span, bytes).or_else(|_| heap.charge_beyond(span, bytes))
        });
        if charged.is_err() {
            // The fresh span is not kept as idle.
            if self.is_empty(span) {
                self.end_current(span);
            }
            return Err(why);
        }
        self.make_blocks(span, span.carved(), 1);
        self.pop(BinPlace::of_class(class)).ok_or(Error::OutOfMemory)
    }
}

/// The classes up to twice the size whose blocks can be used instead of those of `class`:
/// they are aligned at least as much, and in spans of one slice if those are.
fn larger_classes(class: usize) -> impl Iterator<Item = usize> {
    let size = size_class::size_of(class);
    let align = 1 << size.trailing_zeros();
    let largest = if size <= SMALL_MAX { SMALL_MAX.min(2 * size) } else { 0 };
    (class + 1..CLASSES)
        .take_while(move |&class| size_class::size_of(class) <= largest)
        .filter(move |&class| size_class::size_of(class) % align == 0)
}
