//! Looks up untrusted addresses.
//!
//! It reads only the chunk map, and then headers and tags of chunks found in it, whose
//! memory is never used for anything else (see `geometry`). The caller is pinned, so the
//! chunks stay mapped. A header may be that of another block the moment after it is read.
//! So code that acts on it takes a tag, which alone identifies owner and block (TAG1), or
//! reads again.

use core::ptr::NonNull;

use crate::heap::base::geometry::{BLOCK_SLICES, FIRST_SLICE, SLICE};
use crate::heap::base::size_class;
use crate::heap::lives::arrival;
use crate::heap::owners::numbers;
use crate::heap::pages::address;
use crate::heap::pages::chunk_map;
use crate::heap::presence::visits::Pin;
use crate::heap::spans::span;
use crate::heap::spans::span::{Span, SpanState};
use crate::heap::spans::tags::{self, Tag, TagWord};
use crate::key::ExpertKey;

/// The block that an address points to or into: carved, in use or free.
pub struct Found<'p> {
    pub span: &'p Span,
    /// The block's start.
    pub start: NonNull<u8>,
    /// For a block of a tagged span, the class with which its start was calculated. The
    /// header may be another span's by now; a tag tells whether the block is one of that
    /// class.
    class: Option<usize>,
    /// The place of its tag, if it may have one.
    pub tag: Option<&'p TagWord>,
}

/// The block that holds `address`, if one does.
pub fn find(address: usize, _pin: &Pin) -> Option<Found<'_>> {
    let chunk = chunk_map::find(address)?;
    // A huge chunk has one span, and no slice numbers beyond its first unit.
    let (slice, least) =
        if chunk.is_huge() { (1, 1) } else { (address::slice_of(address), FIRST_SLICE) };
    let first = chunk.start_before(slice).filter(|&first| first >= least)?;
    let span = span::header_in(chunk, first);
    let begin = chunk.base() + first * SLICE;
    let (start, class, tag) = if span.is_large() {
        // The start in a header that is being written may still be 0.
        let offset = address.checked_sub(span.start()).filter(|_| span.start() != 0)?;
        (offset < span.block_size()).then_some(())?;
        (span.start(), None, Some(span.mark()))
    } else if span.is_tagged() {
        let class = span.class();
        let index = tags::index_of(class, address - begin);
        (index < size_class::capacity(class) as usize).then_some(())?;
        // SAFETY: a slice for blocks of a mapped chunk; the index is one of the class.
        let word = unsafe { tags::word_at(begin, index) };
        (begin + index * size_class::size_of(class), Some(class), Some(word))
    } else {
        (span.block_start(address)?, None, None)
    };
    // SAFETY: inside a mapped chunk.
    Some(Found { span, start: unsafe { address::block_at(start) }, class, tag })
}

/// The block of a tagged span of one slice that begins at an address, and its class. This
/// is the most frequent case of [`find`], without a search for the start of the span.
///
/// The header is a hint. If the tag at the place found is not 0 and has the class in it,
/// then a span of this class begins at the slice (TAG2), so the tag is that of the block at
/// the address (TAG1).
#[inline]
pub fn find_start(address: usize, _pin: &Pin) -> Option<(usize, &TagWord)> {
    let chunk = chunk_map::find(address)?;
    let (slice, offset) = (address::slice_of(address), address % SLICE);
    if chunk.is_huge() || slice.wrapping_sub(FIRST_SLICE) >= BLOCK_SLICES {
        return None;
    }
    // SAFETY: in a mapped chunk, and not in its first slice.
    let class = unsafe { span::header_of(address) }.class();
    let index = tags::index_in_slice(class, offset)?;
    if index * tags::block_bytes(class) as usize != offset {
        return None;
    }
    // SAFETY: a slice for blocks of a mapped chunk; the offset is inside of it.
    Some((class, unsafe { tags::word_at(address - offset, index) }))
}

impl Found<'_> {
    /// Whether `tag`, read or taken at its place, is that of the block at
    /// [`start`](Self::start), whatever the span is by now (TAG1). For a block with a span
    /// to itself, whose tag was taken, the header answers that.
    pub fn is_of(&self, tag: Tag) -> bool {
        match tag.class() {
            Some(class) => self.class == Some(class),
            None => self.class.is_none() && self.span.start() == self.start.addr().get(),
        }
    }
}

/// The owner of the block that `address` points to or into. The block is not read, because
/// its content is the program's. A freed block of a span without tags still has its owner,
/// as long as the span lives.
pub fn owner_of(address: *const u8) -> Option<ExpertKey> {
    let pin = arrival::pin_anything();
    loop {
        let found = find(address.addr(), &pin)?;
        if let Some(word) = found.tag.filter(|_| found.span.is_tagged()) {
            let tag = word.load();
            let number = tag.number()?;
            crate::sync::delay(crate::sync::Window::OwnerOfTag);
            let key = numbers::entry(number).key();
            // The block still has the number, so this is the key that the number had while
            // it was the block's.
            if word.load() == tag && found.is_of(tag) {
                return key;
            }
            continue;
        }
        let heap = found.span.heap_seen()?;
        // A free large block has no span any more, or a spare one.
        if matches!(found.span.state(), SpanState::Free | SpanState::Spare) {
            return None;
        }
        crate::sync::delay(crate::sync::Window::OwnerOfSpan);
        let key = heap.key();
        // The host may have adopted the span since, and another owner may have the record.
        // Spans of the host stay the host's.
        if found.span.is_in(heap) {
            return key;
        }
    }
}
