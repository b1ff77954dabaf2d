//! What happens when the quota or the system refuses: first whatever is free
//! anywhere in this thread's caches is used, or given back and asked for again.
//!
//! From a refusal on a cache is *tight*, until the quota has granted a while: a
//! span comes up as soon as it has a free block, and ends with its last one.
//! So there is nothing to look through at the next refusal, but where another
//! thread has freed into one of the spans.

use core::ptr::NonNull;

use super::cache::{Cache, Fate};
use super::common;
use super::numbers::{self, Standing};
use super::paths::{self, Path};
use super::record::{COMMON, Heap, Lists};
use super::size_class::{self, CLASSES, Place, SMALL_MAX};
use super::span::{Span, SpanList, State};
use super::thread;
use crate::account::Account;
use crate::error::Error;

impl Cache {
    /// The quota or the system has refused `why`: uses what is free somewhere
    /// in this cache, after giving back what is empty.
    #[cold]
    pub fn allocate_under_pressure(
        &'static self,
        class: usize,
        why: Error,
    ) -> Result<NonNull<u8>, Error> {
        paths::entered(Path::Pressure);
        let has_more = relieve(self.heap());
        if let Some(block) = self.scrape(class) {
            paths::entered(Path::PressureRelieved);
            return Ok(block);
        }
        // A block of a common span is tagged by whoever asked, and where its tag is
        // depends on its class.
        let is_common = core::ptr::eq(self.heap(), &raw const COMMON);
        let mut larger = larger_classes(class).filter(|_| !is_common);
        let found = larger.find_map(|class| {
            self.pop(Place::of_class(class)).or_else(|| {
                self.lose_bin(class);
                self.scrape(class)
            })
        });
        if let Some(block) = found {
            paths::entered(Path::LargerClass);
            return Ok(block);
        }
        if has_more && self.refill(class).is_ok() {
            if let Some(block) = self.pop(Place::of_class(class)) {
                return Ok(block);
            }
        }
        // What is free in common spans does as well.
        if let Some(block) = common::allocate_instead(self, class) {
            return Ok(block);
        }
        self.allocate_beyond(class, why)
    }

    /// A block of `class` from a span of the queue that has one: the current
    /// one, any available one, or one of a few waiting for other threads.
    fn scrape(&'static self, class: usize) -> Option<NonNull<u8>> {
        if !self.bin(class).is_empty() {
            return None;
        }
        let queue = self.queue(class);
        let candidates = queue.current.get().into_iter().chain(queue.available.iter());
        let span = candidates.into_iter().find(|span| span.outstanding() < span.carved());
        let is_filled = match span {
            Some(span) => {
                if span.state() != State::Current {
                    self.dequeue(span);
                    self.make_current(class, span);
                }
                self.fill_from(span, 1)
            }
            None => self.poll_waiting(class),
        };
        if is_filled { self.pop(Place::of_class(class)) } else { None }
    }

    /// One block more than the quota allows, if the owner's heap allows that.
    fn allocate_beyond(&'static self, class: usize, why: Error) -> Result<NonNull<u8>, Error> {
        if why != Error::QuotaExceeded {
            return Err(why);
        }
        let span = match self.queue(class).current.get() {
            Some(span) if span.carved() < span.capacity() => span,
            _ => self.fresh_span(class)?,
        };
        let bytes = span.charge_of(span.carved() + 1).saturating_sub(span.charged());
        // The owner may be the host by now, which has room.
        let charged = self.charge(span, bytes, |heap, span, bytes| {
            heap.charge(span, bytes).or_else(|_| heap.charge_beyond(span, bytes))
        });
        if charged.is_err() {
            // A fresh one is not kept.
            if self.is_empty(span) {
                self.end_current(span);
            }
            return Err(why);
        }
        self.make_blocks(span, span.carved(), 1);
        self.pop(Place::of_class(class)).ok_or(Error::OutOfMemory)
    }

    /// Gives back every span of this cache that has no block in use. From then
    /// on spans come up as soon as they have a block, and end with their last
    /// one, so all are looked at again only where other threads have freed into
    /// them. Returns whether they were.
    fn look_through(&'static self) -> bool {
        let looks = !self.is_tight() || self.is_freed_into();
        self.set_tight();
        if looks {
            self.purge();
        }
        looks
    }

    /// Ends the current span of a class, which is empty.
    pub fn end_current(&'static self, span: &'static Span) {
        self.empty_bin(span.class());
        self.dequeue(span);
        if !self.end_span(span) {
            self.enlist(span);
        }
    }

    /// Gives back every span of this cache that has no block in use. Under the
    /// heap's lock, because the owner may be reclaimed at this moment.
    pub fn purge(&'static self) {
        let heap = self.heap();
        heap.with(|lists| {
            if self.fate() == Fate::Alive && core::ptr::eq(heap, self.heap()) {
                self.end_empty_spans(heap, lists);
            }
        });
    }

    fn end_empty_spans(&'static self, heap: &Heap, lists: &Lists) {
        self.set_freed_into(false);
        self.end_kept(heap, lists);
        for class in self.used_classes() {
            self.empty_bin(class);
            let queue = self.queue(class);
            // Each span once: those that stay go to another list and come back.
            let kept = SpanList::new();
            while let Some(span) = queue.spans().next() {
                self.dequeue(span);
                if span.outstanding() != 0 || !heap.end_span(lists, span) {
                    if span.remote.state().count() != 0 {
                        self.set_freed_into(true);
                    }
                    kept.push_back(span);
                }
            }
            while let Some(span) = kept.pop_front() {
                self.enlist(span);
            }
        }
    }

    /// Ends the spans of this cache that have no block in use and that the thread's fast
    /// paths do not know of: those on lists. By another thread, under the lock of the
    /// cache's (THREAD6).
    pub fn end_set_aside(&'static self) {
        let heap = self.heap();
        heap.with(|lists| {
            if self.fate() != Fate::Alive || !core::ptr::eq(heap, self.heap()) {
                return;
            }
            self.end_kept(heap, lists);
            for class in self.used_classes() {
                let queue = self.queue(class);
                for list in [&queue.waiting, &queue.available] {
                    let mut next = list.first();
                    while let Some(span) = next {
                        next = span.next.get();
                        self.end_if_unused(heap, lists, span);
                    }
                }
            }
        });
    }

    /// Ends a span on a list if it has no block in use. Under the lock of its heap, and of
    /// the cache's thread.
    pub fn end_if_unused(&self, heap: &Heap, lists: &Lists, span: &'static Span) {
        if span.outstanding() == 0 {
            let list = match span.state() {
                State::Waiting => &self.queue(span.class()).waiting,
                State::Available => &self.queue(span.class()).available,
                _ => return,
            };
            list.remove(span);
            if !heap.end_span(lists, span) {
                list.push_back(span);
            }
        }
    }

    /// Ends an empty span that is in no queue any more. Returns false where a
    /// block of it is in use after all.
    pub fn end_span(&self, span: &'static Span) -> bool {
        loop {
            let heap = self.heap();
            let done = heap.with(|lists| {
                let is_same = core::ptr::eq(heap, self.heap());
                is_same.then(|| heap.end_span(lists, span))
            });
            if let Some(done) = done {
                return done;
            }
        }
    }
}

/// The quota of the owner of `heap`, or one above it, has refused: see
/// [`relieve_owner`].
pub fn relieve(heap: &Heap) -> bool {
    relieve_owner(heap.account())
}

/// A quota in the chain of `account` has refused: gives back what this thread's caches
/// hold in vain of it, and credit. Returns whether caches were looked through.
///
/// All caches of the thread are asked whether they share a quota with it, and some of
/// its lines: a refusal takes microseconds, however many owners there are.
#[cold]
pub fn relieve_owner(account: &Account) -> bool {
    let Some(thread) = thread::known() else { return false };
    let _held = thread.hold();
    let shares = |other: &Account| other.shares_with(account);
    for (number, line) in thread.ledger().open_lines().take(LINES_PER_REFUSAL) {
        let entry = numbers::entry(number);
        if line.credit() > 0 && entry.standing() == Standing::Live && shares(entry.account()) {
            common::settle(number, line, 0);
        }
    }
    let add = |looks, cache: &'static Cache| cache.look_through() || looks;
    thread.caches().filter(|cache| shares(cache.heap().account())).fold(false, add)
}

/// Of how many owners a thread takes credit back for one refusal.
const LINES_PER_REFUSAL: usize = 16;

/// The classes up to twice the size whose blocks can stand in for those of
/// `class`: aligned as well, and in spans of one slice as well.
fn larger_classes(class: usize) -> impl Iterator<Item = usize> {
    let size = size_class::size_of(class);
    let align = 1 << size.trailing_zeros();
    let largest = if size <= SMALL_MAX { SMALL_MAX.min(2 * size) } else { 0 };
    (class + 1..CLASSES)
        .take_while(move |&class| size_class::size_of(class) <= largest)
        .filter(move |&class| size_class::size_of(class) % align == 0)
}
