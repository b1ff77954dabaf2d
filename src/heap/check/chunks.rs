//! Checks chunks, their slices, and the places at which spans begin.

use super::{Checked, Verdict, equal, is, place};
use crate::heap::base::geometry::{CHUNK, FIRST_SLICE, SLICE, SLICES, TABLE};
use crate::heap::pages::address;
use crate::heap::pages::arena;
use crate::heap::pages::chunk::Chunk;
use crate::heap::pages::chunk_map;
use crate::heap::spans::span;
use crate::heap::spans::span::SpanState;
use crate::heap::spans::tags::{self, Tag, TagWord};

/// Reads every free slice that is not dirty, sixteen words of each page, and its tags. It
/// takes milliseconds for each chunk.
///
/// # Errors
///
/// [`Broken`](super::Broken) under CHUNK2 or TAG2 if one of them does not read as zero.
///
/// # Safety
///
/// - S1 as for [`check`](super::check).
pub unsafe fn check_zero() -> Verdict {
    const STRIDE: usize = 256;
    chunk_map::for_each_unit(|_, chunk| {
        let (free, dirty) = (chunk.free(), chunk.dirty());
        for slice in (FIRST_SLICE..SLICES).filter(|&s| free.has_all(s, 1) && !dirty.has_any(s, 1)) {
            let start = chunk.base() + slice * SLICE;
            check_no_tags(start)?;
            for at in (start..start + SLICE).step_by(STRIDE) {
                // SAFETY: inside a mapped chunk.
                let word = unsafe { address::block_at(at) }.cast::<usize>();
                // SAFETY: aligned, mapped, and without an owner (S1).
                equal("CHUNK2", "a clean slice's word", at, unsafe { word.read() }, 0)?;
            }
        }
        Ok(())
    })
}

pub(super) fn check_chunks(seen: &mut Checked) -> Verdict {
    chunk_map::for_each_unit(|unit, chunk| {
        is("MAP1", "chunk holds its unit", unit * CHUNK, chunk.holds(unit * CHUNK))?;
        if chunk.base() / CHUNK != unit {
            return Ok(());
        }
        seen.chunks += 1;
        if chunk.is_huge() { check_huge_chunk(chunk, seen) } else { check_chunk(chunk, seen) }
    })?;
    let mut kept = 0;
    let mut order = Ok(());
    let mut before: Option<usize> = None;
    arena::for_each_listed(|chunk| {
        let prev = chunk.prev().map(place);
        order = order.and(is("ARENA1", "link to the chunk before", place(chunk), prev == before));
        before = Some(place(chunk));
        order = order.and(is("ARENA1", "listed chunk", place(chunk), !chunk.is_huge()));
    });
    let mut bytes = 0;
    let counted = arena::for_each_kept(|chunk| {
        let is_kept = chunk.is_huge() && !chunk.is_listed() && chunk.start_before(1).is_none();
        let is_mapped = chunk_map::find(chunk.base()).is_some();
        order = order.and(is("KEPT1", "kept chunk", place(chunk), is_kept && !is_mapped));
        bytes += chunk.bytes();
        kept += 1;
    });
    equal("KEPT2", "bytes kept", 0, bytes, counted)?;
    seen.kept_chunks = kept;
    let unseen = kept + arena::stranded();
    equal("ARENA1", "chunks mapped", 0, arena::chunks(), seen.chunks + unseen)?;
    order
}

/// Checks TAG2 for a slice at which no tagged span begins.
fn check_no_tags(slice: usize) -> Verdict {
    for index in 0..TABLE / size_of::<TagWord>() {
        // SAFETY: a slice for blocks of a mapped chunk.
        let tag = unsafe { tags::word_at(slice, index) }.load();
        is("TAG2", "a tag of no block", slice, tag == Tag::NONE)?;
    }
    Ok(())
}

fn check_huge_chunk(chunk: &'static Chunk, seen: &mut Checked) -> Verdict {
    let at = chunk.base();
    let span = span::header_in(chunk, 1);
    seen.large_blocks += 1;
    equal("CHUNK4", "start of a huge chunk", at, chunk.start_before(SLICES - 1).unwrap_or(0), 1)?;
    is("SPAN5", "huge span has a heap", at, span.heap().is_some())?;
    equal("CHUNK1", "state of a huge span", at, span.state() as usize, SpanState::Huge as usize)?;
    let end = span.start() + span.block_size();
    is("CHUNK5", "length within what is reserved", at, chunk.bytes() <= chunk.reserved())?;
    is("CHUNK1", "huge block in its chunk", at, end <= at + chunk.bytes() && span.start() > at)
}

fn check_chunk(chunk: &'static Chunk, seen: &mut Checked) -> Verdict {
    let (free, dirty, aged) = (chunk.free(), chunk.dirty(), chunk.aged());
    let at = chunk.base();
    let slices = chunk.slices();
    equal("CHUNK5", "length of a chunk", at, chunk.reserved(), slices * SLICE)?;
    is("CHUNK5", "length at most a whole chunk's", at, slices > FIRST_SLICE && slices <= SLICES)?;
    let end = chunk.end_slice();
    is("CHUNK6", "slices beyond the mapping are free", at, !free.has_any(end, SLICES - end))?;
    is("CHUNK1", "slices of headers and tags are free", at, !free.has_any(0, FIRST_SLICE))?;
    is("CHUNK2", "dirty is a part of free", at, dirty.and(&free) == dirty)?;
    is("CHUNK3", "aged is a part of dirty", at, aged.and(&dirty) == aged)?;
    is("ARENA1", "listed iff slices are free", at, chunk.is_listed() != free.is_empty())?;
    let longest = free.runs().map(|(_, count)| count).max().unwrap_or(0);
    is("chunk", "bound of the longest run", at, chunk.longest() >= longest)?;
    seen.free_slices += free.len();
    let mut slice = FIRST_SLICE;
    while slice < end {
        let header = span::header_in(chunk, slice);
        let begins = chunk.start_before(slice) == Some(slice);
        let at = at + slice * SLICE;
        if free.has_any(slice, 1) {
            is("CHUNK4", "no span begins in a free slice", at, !begins)?;
            equal("SPAN3", "thread of a free slice", at, header.thread(), 0)?;
            equal("CHUNK1", "state of a free slice", at, header.state() as usize, 0)?;
            slice += 1;
            continue;
        }
        is("CHUNK4", "a span begins behind the last one", at, begins)?;
        let count = header.slices();
        is("CHUNK1", "span in its chunk", at, count > 0 && slice + count <= slices)?;
        is("CHUNK1", "slices of a span are taken", at, !free.has_any(slice, count))?;
        equal("SPAN6", "back of the first slice", at, header.back(), 0)?;
        equal("span", "start", at, header.start(), at)?;
        is("SPAN5", "span has a heap", at, header.heap().is_some())?;
        for back in 1..count {
            let inner = span::header_in(chunk, slice + back);
            let begins = chunk.start_before(slice + back) == Some(slice + back);
            is("CHUNK4", "no span begins inside another", place(inner), !begins)?;
            equal("SPAN3", "thread of an inner slice", at, inner.thread(), 0)?;
            equal("SPAN3", "state of an inner slice", at, inner.state() as usize, 0)?;
            if !header.is_large() {
                equal("SPAN6", "back of an inner slice", place(inner), inner.back(), back)?;
            }
        }
        if header.is_large() {
            seen.large_blocks += 1;
        } else {
            seen.spans += 1;
        }
        slice += count;
    }
    Ok(())
}
