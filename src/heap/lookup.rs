//! From an untrusted address to what lies there.
//!
//! Nothing is read but the chunk map, and then headers and blocks of chunks
//! found in it. The caller is pinned, so those stay mapped.

use core::ptr::NonNull;

use super::address;
use super::chunk_map;
use super::free_block;
use super::record::Heap;
use super::span::{Span, State};
use super::visit::{self, Pin};
use crate::engine::Kind;
use crate::key::ExpertKey;

/// The block that an address points to or into: carved, in use or free.
pub struct Found<'p> {
    pub span: &'p Span,
    pub heap: &'static Heap,
    /// The block's start.
    pub start: NonNull<u8>,
}

/// The block that holds `address`, if one does. Valid while `_pin` is held and
/// as far as nobody frees the span meanwhile: look again where that matters.
pub fn find(address: usize, _pin: &Pin) -> Option<Found<'_>> {
    let chunk = chunk_map::find(address)?;
    // Beyond its first unit a huge chunk has no slice numbers; it has one span.
    let slice = if chunk.is_huge() { 1 } else { address::slice_of(address) };
    let first = chunk.start_before(slice).filter(|&first| first > 0)?;
    let span = chunk.header(first);
    let heap = span.heap_seen()?;
    let start = span.block_start(address)?;
    // SAFETY: inside a mapped chunk.
    let start = unsafe { address::block_at(start) };
    Some(Found { span, heap, start })
}

/// The owner of the block that `address` points to or into. The block is not read,
/// for its content is the program's: one that was freed is its owner's still, as
/// long as the span is. Of a raw block two words in front are the heap's, and tell.
pub fn owner_of(address: *const u8) -> Option<ExpertKey> {
    let pin = visit::pin_anything();
    loop {
        let found = find(address.addr(), &pin)?;
        let is_raw = found.heap.is_kind(Kind::Raw) && !found.span.is_large();
        // SAFETY: a block's start.
        let is_free = || unsafe { free_block::has_guard(found.start) };
        // A large block that is free has no span any more, or a spare one.
        if matches!(found.span.state(), State::Free | State::Spare) || is_raw && is_free() {
            return None;
        }
        let key = found.heap.key();
        // The host may have adopted the span since, and somebody else may have
        // the record. What the host has it keeps.
        if found.span.heap().is_some_and(|now| core::ptr::eq(now, found.heap)) {
            return key;
        }
    }
}
