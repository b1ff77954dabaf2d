//! Fast paths of raw calls, for blocks that are at hand, as for nearly all calls.
//!
//! A call that comes by a key alone pins the key and fences, and then looks whether the key is
//! valid. Fences and exchanges take most of the time of such a call. So a free has one instead
//! of two if its block lies in a span that this thread fills a bin from, as for blocks that
//! were allocated lately: the exchange that takes the tag is the fence, too.
//!
//! ```text
//!  look   is the key valid?                              of which number?
//!  pin
//!  take   the tag in work, if it is of that number       a fence as well
//!  look   is the key still valid?   no: put the tag back, and nothing was done
//!  free
//! ```
//!
//! If the second look finds the key valid, it was also valid at the first, and its expert
//! does not end before the pin is undone. So the number is the expert's, and the free is
//! like that of `raw`. Otherwise the tag was taken from a block whose owner may end, or has
//! ended. That does no harm:
//!
//! - the tag's place is mapped: this thread's common cache has its current span in the same
//!   chunk, and only the thread uses that span (PRESENT3);
//! - the number stays that of one owner, because this thread has an open line for it (NUM3);
//! - if that owner has ended, a sweep, or the end of the span, may have taken the tag away. So
//!   the tag is put back by an exchange, which then fails. No other raw call changes it
//!   (TAG4).

use core::ptr::NonNull;

use super::common;
#[cfg(feature = "capi")]
use super::free;
use super::raw::{self, PREFIX};
use crate::heap::base::number::Number;
use crate::heap::base::size_class::{self, SMALL_MAX};
use crate::heap::spans::tags::{Measure, Tag};
use crate::heap::threads::thread::{self, Thread};

#[cfg(feature = "capi")]
mod by_key {
    use core::ptr;

    use super::*;
    use crate::heap::base::geometry::SLICE;
    use crate::heap::owners::ledger::Line;
    use crate::heap::pages::address;
    use crate::heap::spans::span::Span;
    use crate::heap::spans::tags::{self, TagWord};
    use crate::key::ExpertKey;
    use crate::sync::{Ordering, fence};

    /// A raw block for the expert of `key`, if one is at hand and the credit covers it;
    /// after `None`, the caller takes the slow path. `number` returns the expert's number
    /// of raw blocks, as long as the key is valid and the expert may be given memory.
    #[inline(always)]
    pub fn allocate_by_key(
        key: ExpertKey,
        size: usize,
        number: impl FnOnce() -> Option<Number>,
    ) -> Option<NonNull<u8>> {
        let thread = thread::known()?;
        let pins = thread.home().presence().pins();
        if !pins.pin_first_and_fence(key.into_raw()) {
            return None;
        }
        crate::sync::delay(crate::sync::Window::KeyAllocate);
        let block = number().and_then(|number| take(thread, number, size));
        pins.unpin_first();
        block
    }

    /// Frees a live raw block of the expert of `key`, if that can be done at once. After
    /// `false`, nothing was done, and the caller takes the slow path. `number` was the
    /// expert's when the key was found valid, and `is_still` tells whether the key still
    /// is.
    #[inline(always)]
    pub fn free_by_key(
        key: ExpertKey,
        number: Number,
        address: *const u8,
        is_still: impl FnOnce() -> bool,
    ) -> bool {
        let Some(thread) = thread::known() else { return false };
        crate::sync::delay(crate::sync::Window::KeyFree);
        let pins = thread.home().presence().pins();
        if !pins.pin_first(key.into_raw()) {
            return false;
        }
        let block = address.addr().wrapping_sub(PREFIX);
        let done = match Current::find(thread, number, block) {
            Some(found) => found.free(number, block, is_still),
            None => free_elsewhere(number, address, is_still),
        };
        pins.unpin_first();
        done
    }

    /// The start of a block, in a span that this thread fills a bin from.
    struct Current {
        span: &'static Span,
        class: usize,
        /// The place of the block's tag.
        word: &'static TagWord,
        /// The line that counts it, in a common span.
        line: Option<&'static Line>,
    }

    impl Current {
        /// The block at `block`, in a span of the owner of `number` or a common one. Nothing
        /// there is read.
        #[inline(always)]
        fn find(thread: &'static Thread, number: Number, block: usize) -> Option<Self> {
            let class = thread.raw_class(block);
            let (cache, seat) = thread.raw_seat(number)?;
            let common = seat.common.current_span(class)?;
            let (span, line) = if cache.serves(class) {
                (cache.current_span(class)?, None)
            } else {
                (common, Some(seat.line))
            };
            let is_there = ptr::from_ref(span).addr() == address::header_place(block)
                && address::chunk_of(ptr::from_ref(common).addr()) == address::chunk_of(block);
            let measure = Measure::of(class);
            let index = measure.index_in_slice(block % SLICE);
            if !is_there || index * measure.bytes() as usize != block % SLICE {
                return None;
            }
            // SAFETY: a slice for blocks, because it has a header, of one slice; its chunk is
            // mapped as long as the common span there is this thread's current one. The
            // offset is inside of it.
            let word = unsafe { tags::word_at(block, index) };
            Some(Self { span, class, word, line })
        }

        /// Frees the block, if it is live and belongs to the owner of `number`, which has
        /// not ended. The thread is pinned, but has not fenced yet: see the module.
        #[inline(always)]
        fn free(self, number: Number, block: usize, is_still: impl FnOnce() -> bool) -> bool {
            let tag = Tag::new(number, self.class);
            crate::sync::delay(crate::sync::Window::KeyTake);
            if !self.word.exchange_and_fence(tag, tag.in_work()) {
                return false;
            }
            crate::sync::delay(crate::sync::Window::KeyTaken);
            if !is_still() {
                self.word.exchange(tag.in_work(), tag);
                return false;
            }
            self.word.store(Tag::NONE);
            if let Some(line) = self.line {
                common::count_free_in(line, number, self.class);
            }
            // SAFETY: a block lies there.
            let memory = unsafe { address::block_at(block) };
            // SAFETY: a block of this thread's span without a tag, which only this call
            // uses.
            unsafe { free::free_own(self.span, memory) };
            true
        }
    }

    /// As [`free_by_key`], for a block anywhere. The thread is pinned, but has not fenced
    /// yet.
    #[cold]
    #[inline(never)]
    fn free_elsewhere(number: Number, address: *const u8, is_still: impl FnOnce() -> bool) -> bool {
        // SeqCst: as in `Pins::pin`.
        fence(Ordering::SeqCst);
        is_still() && raw::free_at_once(number, address)
    }
}

#[cfg(feature = "capi")]
pub use by_key::{allocate_by_key, free_by_key};

/// A zero-filled raw block of `size` bytes for the owner of `number`, if one is at hand and
/// the credit covers it; after `None`, the caller takes the slow path.
#[inline(always)]
pub fn allocate(number: Number, size: usize) -> Option<NonNull<u8>> {
    take(thread::known()?, number, size)
}

/// As [`allocate`], for this thread, `thread`. Its owner has not ended.
#[inline(always)]
fn take(thread: &'static Thread, number: Number, size: usize) -> Option<NonNull<u8>> {
    if size > SMALL_MAX - PREFIX {
        return None;
    }
    let place = size_class::looked_up(raw::layout_of(size)?)?;
    let (cache, seat) = thread.raw_seat(number)?;
    let block = if cache.serves(place.class()) {
        cache.pop(place)?
    } else {
        common::take_at_once(seat, place)?
    };
    thread.note_raw_class(block.addr().get(), place.class());
    // SAFETY: the block has `PREFIX + size` bytes.
    let content = unsafe { block.add(PREFIX) };
    // SAFETY: S1: `size` bytes from there are the block's, which no other code uses yet,
    // and its class has a multiple of 16.
    unsafe { zero(content, size) };
    raw::set_size(block, size);
    // SAFETY: S1: a carved block of a tagged span of one slice, as all of this size are.
    let word = unsafe { Measure::of(place.class()).word_in_slice(block.addr().get()) };
    word.store(Tag::new(number, place.class()));
    Some(content)
}

/// Bytes that one store fills.
const PIECE: usize = 16;

/// Blocks of up to this many bytes are filled with zeroes without a call.
pub const FILLED_AT_ONCE: usize = 4 * PIECE;

/// Fills with zeroes; a small size is filled by stores of 16 bytes that may overlap,
/// because a call takes longer.
///
/// # Safety
///
/// - S1 `content` is aligned to 16, and only the caller uses the `size` bytes there,
///   rounded up to a multiple of 16 that is not 0.
#[inline(always)]
unsafe fn zero(content: NonNull<u8>, size: usize) {
    if size > FILLED_AT_ONCE {
        // SAFETY: S1.
        return unsafe { content.write_bytes(0, size) };
    }
    let last = size.saturating_sub(1) & !(PIECE - 1);
    let fill = |offset: usize| {
        // SAFETY: S1: `offset` is 0 or a multiple of 16 up to the last that is below `size`.
        let piece = unsafe { content.add(offset) }.cast::<[usize; PIECE / size_of::<usize>()]>();
        // SAFETY: as above.
        unsafe { piece.write([0; PIECE / size_of::<usize>()]) };
    };
    fill(0);
    fill(last);
    if last >= 2 * PIECE {
        fill(PIECE);
        fill(last - PIECE);
    }
}
