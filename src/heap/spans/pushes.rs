//! Pushes blocks that other threads than the span's free to the span's remote list.

use core::ptr::NonNull;

use super::free_block::{FreeBlock, FreeList};
use super::remote::RemoteState;
use super::span::Span;
use crate::heap::base::refused::refuse;
use crate::heap::pages::address;

/// Whether a block that is pushed on top of `state` is the last one in use, according to
/// the counts that other threads can read.
#[inline]
pub fn is_last(span: &Span, state: RemoteState) -> bool {
    span.own_free().wrapping_add(state.count()).wrapping_add(1) >= span.carved()
}

/// Makes a free block whose link is set when it is pushed.
///
/// # Safety
///
/// - S1 `memory` is the start of a block of this heap.
/// - S2 the caller gives up its use.
pub unsafe fn remote_block(memory: NonNull<u8>) -> FreeBlock {
    // SAFETY: S1: a block of this heap lies there.
    let memory = unsafe { address::block_at(memory.addr().get()) };
    // SAFETY: S2.
    unsafe { FreeBlock::new(memory, FreeList::EMPTY) }
}

/// Puts the remote list behind `block`.
pub fn link(span: &'static Span, block: FreeBlock, state: RemoteState) {
    // SAFETY: the first block of the remote list: it was freed there.
    let first = state.first().map(|first| unsafe { FreeBlock::listed(span.block(first)) });
    block.set_next(first.map_or(FreeList::EMPTY, FreeList::from));
}

/// Gives back a block whose tag a sweep has taken off. The caller holds the lock of the
/// span's heap.
///
/// # Safety
///
/// - S1 `memory` is a block of `span`, whose tag was taken off.
/// - S2 the caller gives up its use.
pub unsafe fn push_swept(span: &'static Span, memory: NonNull<u8>) {
    // SAFETY: S1 and S2.
    let block = unsafe { remote_block(memory) };
    let pushed = span.remote.push(block.addr() - span.start(), |state| {
        link(span, block, state);
        true
    });
    if pushed.is_none() {
        refuse();
    }
}
