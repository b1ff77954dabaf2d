//! Frees: by the thread that owns the span, by any other, and of spans without a
//! thread.
//!
//! The current scope does not matter: a block goes back to its span, and with
//! it to its owner.

use core::ptr::NonNull;

use super::common;
use super::large;
use crate::heap::base::paths::{self, Path};
use crate::heap::base::refused::refuse;
use crate::heap::caches::cache::Cache;
use crate::heap::caches::collect;
use crate::heap::lives::arrival;
use crate::heap::presence::present;
use crate::heap::presence::token::token;
use crate::heap::spans::pushes::{is_last, link, remote_block};
use crate::heap::spans::remote::RemoteState;
use crate::heap::spans::span;
use crate::heap::spans::span::{Span, SpanState, TAGGED};

/// Frees the block at `memory`, whose slice's header is `header`.
///
/// The fast path is taken if the header's thread is this one and the span does not wait for
/// exactly this free.
///
/// # Safety
///
/// - S1 `memory` is the start of a live block of this heap, in a chunk (not
///   in a mapping aligned beyond a slice), or was one and is free.
/// - S2 the caller gives up its use.
#[inline(always)]
pub unsafe fn free(header: &'static Span, memory: NonNull<u8>) {
    if header.thread() != token() {
        // SAFETY: S1 and S2 are handed on.
        return unsafe { free_elsewhere(header, memory) };
    }
    // SAFETY: S1, S2; only the first header of a span without tags has it as it is (SPAN3).
    unsafe { free_own(header, memory) };
}

/// Frees a block of a span of this thread.
///
/// # Safety
///
/// - S1, S2 as for [`free`]; `span` is the block's and this thread's.
#[inline(always)]
pub unsafe fn free_own(span: &'static Span, memory: NonNull<u8>) {
    // SAFETY: S1, S2.
    if !unsafe { span.push(memory) } {
        noticed(span);
    }
}

/// Looks at a span for which enough local frees have come; the last one is not counted yet.
#[cold]
#[inline(never)]
pub fn noticed(span: &'static Span) {
    // The lock is taken before the block counts as free, because from then on another thread
    // may end the span (PRESENT3).
    let _held = present::hold();
    crate::sync::delay(crate::sync::Window::Noticed);
    span.count_noticed();
    let Some(cache) = span.cache() else { return };
    let local = span.local_count();
    match span.state() {
        SpanState::Waiting => {
            cache.dequeue(span);
            if span.carved() == span.own_free() {
                cache.rest(span);
            } else {
                cache.enlist(span);
            }
        }
        SpanState::Available => {
            cache.dequeue(span);
            cache.rest(span);
        }
        _ if !cache.is_tight() => cache.give_up_current(span),
        _ if cache.is_empty(span) => cache.end_current(span),
        _ => cache.watch(span, local),
    }
    cache.look_around(collect::FEW_LOOKS);
}

/// Frees a block whose slice's header names another thread or none.
///
/// # Safety
///
/// - S1, S2 as for [`free`].
#[cold]
#[inline(never)]
pub unsafe fn free_elsewhere(header: &'static Span, memory: NonNull<u8>) {
    // SPAN3: a tagged span of this thread.
    if header.thread() == token() | TAGGED {
        // SAFETY: S1 and S2 are handed on.
        return unsafe { free_own_tagged(header, memory) };
    }
    // SAFETY: S1 and S2 are handed on.
    unsafe { free_remote(header, memory) };
}

/// Frees a block whose slice's header does not say that it is this thread's. It is a
/// function of its own, so the code before it needs no stack.
///
/// # Safety
///
/// - S1, S2 as for [`free`].
#[inline(never)]
unsafe fn free_remote(header: &'static Span, memory: NonNull<u8>) {
    // SPAN3: this is the first header of another thread's span, or of a span that was just
    // abandoned.
    if header.thread() != 0 {
        crate::sync::delay(crate::sync::Window::FreeRemote);
        // SAFETY: S1 is handed on.
        if !unsafe { untag(header, memory) } {
            return refuse();
        }
        // SAFETY: S1 and S2 are handed on; the first header of its span.
        return unsafe { push(header, memory) };
    }
    // SAFETY: S1 and S2 are handed on.
    unsafe { free_unowned(header, memory) };
}

/// Frees a block of a tagged span of this thread.
///
/// # Safety
///
/// - S1, S2 as for [`free`]; `span` is the block's and this thread's.
#[inline(never)]
unsafe fn free_own_tagged(span: &'static Span, memory: NonNull<u8>) {
    // Counted before the tag is gone, and the number is kept by the line until then (NUM3).
    if !common::take_own_tag_at_once(span.class(), memory) {
        // SAFETY: S1 and S2 are handed on.
        return unsafe { free_own_tagged_slow(span, memory) };
    }
    // SAFETY: S1, S2.
    unsafe { free_own(span, memory) };
}

/// As [`free_own_tagged`], for a free that cannot be counted at once.
///
/// # Safety
///
/// - S1, S2 as for [`free_own_tagged`].
#[cold]
#[inline(never)]
unsafe fn free_own_tagged_slow(span: &'static Span, memory: NonNull<u8>) {
    let class = span.class();
    let Some(number) = common::take_own_tag(class, memory) else { return refuse() };
    // SAFETY: S1, S2.
    unsafe { free_own(span, memory) };
    common::count_free(number, class);
}

/// Takes the tag of a block that is freed by another thread than its span's, or in a span
/// that no thread owns, and counts the free. Returns false if it is no block in use.
///
/// # Safety
///
/// - S1 as for [`free`]; `span` is the block's.
unsafe fn untag(span: &'static Span, memory: NonNull<u8>) -> bool {
    if !span.is_tagged() {
        return true;
    }
    let number = common::take_tag(span, memory.addr().get());
    number.inspect(|&number| common::count_free(number, span.class()));
    number.is_some()
}

/// Gives back a raw block of a span with a class, whose tag was taken off.
///
/// # Safety
///
/// - S1, S2 as for [`free`], but for the tag; `span` is the block's.
pub unsafe fn free_untagged(span: &'static Span, memory: NonNull<u8>) {
    if span.thread() == token() | TAGGED {
        // SAFETY: S1, S2.
        return unsafe { free_own(span, memory) };
    }
    // SAFETY: S1, S2.
    unsafe { push(span, memory) };
}

/// Pushes a block to the remote list of its span, whichever thread owns that, and ends the
/// span if this was its last block.
///
/// # Safety
///
/// - S1, S2 as for [`free`], but for the tag; `span` is the block's.
unsafe fn push(span: &'static Span, memory: NonNull<u8>) {
    // SAFETY: S1 and S2 are handed on.
    if !unsafe { push_owned(span, memory) } {
        // SAFETY: S1 and S2 are handed on: the block is still the caller's.
        unsafe { push_any(span, memory) };
    }
}

/// Pushes a block to the remote list of a span that a thread owns. Returns false if no
/// thread owns it any more, or if the list is full.
///
/// # Safety
///
/// - S1, S2 as for [`free`]; `span` is the block's. If this returns false, the caller must
///   still free the block.
#[inline]
unsafe fn push_owned(span: &'static Span, memory: NonNull<u8>) -> bool {
    // SAFETY: S1 and S2.
    let block = unsafe { remote_block(memory) };
    let (mut cache, mut pin) = (None, None);
    let after = span.remote.push(block.addr() - span.start(), |state| {
        cache = to_be_told(span, state);
        // The thread that frees the last block ends the span, and until then the chunk must
        // not be released.
        if pin.is_none() && is_last(span, state) {
            pin = Some(arrival::pin_anything());
        }
        link(span, block, state);
        crate::sync::delay(crate::sync::Window::PushOwned);
        !state.is_abandoned()
    });
    if after.is_none() {
        return false;
    }
    cache.inspect(|cache| cache.set_freed_into(true));
    if pin.is_some() {
        end_if_unused(span);
    }
    true
}

/// Ends a span of another thread if no block of it is in use. The caller is pinned; the
/// span may belong to another thread by now, or have ended.
#[cold]
#[inline(never)]
fn end_if_unused(span: &'static Span) {
    let owner = span.cache().and_then(Cache::home);
    let Some(owner) = owner else { return };
    crate::sync::delay(crate::sync::Window::EndIfUnused);
    owner.presence().visit(|| {
        // Under the thread's lock its spans stay its own (PRESENT3), so the check below is
        // final.
        if span.thread() & !TAGGED != owner.presence().token() {
            return;
        }
        let Some(cache) = span.cache() else { return };
        cache.if_alive(|heap, lists| {
            if span.is_in(heap) {
                cache.end_if_unused(heap, lists, span);
            }
        });
    });
}

/// The cache that must be told that a block was pushed on top of `state`. After the first
/// such free it needs no further note. It is read before the push, because the span may
/// have ended after it; a cache record never goes away.
#[inline]
fn to_be_told(span: &Span, state: RemoteState) -> Option<&'static Cache> {
    if state.count() == 0 { span.cache() } else { None }
}

/// Frees a block that is in a span that no thread owns, is in an inner slice, is large, or
/// is no block at all.
///
/// # Safety
///
/// - S1, S2 as for [`free`].
#[inline(never)]
unsafe fn free_unowned(header: &'static Span, memory: NonNull<u8>) {
    let span = match header.back() {
        0 => header,
        back => {
            let first = memory.addr().get() - (back << crate::heap::base::geometry::SLICE_SHIFT);
            // SAFETY: SPAN6: the span's first slice, in the same chunk.
            unsafe { span::header_of(first) }
        }
    };
    match span.state() {
        SpanState::Free => refuse(),
        // SAFETY: S1 and S2 are handed on.
        SpanState::Large | SpanState::Huge | SpanState::Spare => unsafe {
            large::free(span, memory)
        },
        // SAFETY: S1 and S2 are handed on.
        _ if span.thread() == token() => unsafe { free_own(span, memory) },
        _ if span.thread() == token() | TAGGED => {
            // SAFETY: S1 and S2 are handed on.
            unsafe { free_own_tagged(span, memory) };
        }
        // SAFETY: S1 is handed on.
        _ if !unsafe { untag(span, memory) } => refuse(),
        // SAFETY: S1 and S2 are handed on. The block is in an inner slice of another
        // thread's span.
        _ => unsafe { push(span, memory) },
    }
}

/// Pushes a block to its span's remote list, and ends the span if no thread owns it and
/// this was its last block.
///
/// # Safety
///
/// - S1, S2 as for [`free`]; `span` is the block's.
unsafe fn push_any(span: &'static Span, memory: NonNull<u8>) {
    let mut pin = None;
    let mut cache = None;
    // SAFETY: S1 and S2.
    let block = unsafe { remote_block(memory) };
    let after = span.remote.push(block.addr() - span.start(), |state| {
        cache = to_be_told(span, state);
        // When the last block comes back to an abandoned span, this thread ends the span,
        // and until then the chunk must not be released. (This may be wrong if the span was
        // adopted and abandoned again between the read and the exchange. Then an empty span
        // waits for the next thread that allocates.)
        if state.is_abandoned() && pin.is_none() && is_last(span, state) {
            pin = Some(arrival::pin_anything());
        }
        link(span, block, state);
        crate::sync::delay(crate::sync::Window::PushAny);
        true
    });
    match after {
        // Without a pin the span is not read again, because it may have ended.
        Some(after) if after.is_abandoned() && pin.is_some() => end_if_empty(span),
        Some(_) => {
            cache.inspect(|cache| cache.set_freed_into(true));
        }
        None => refuse(),
    }
}

/// Ends a span that no thread owns, if no block of it is in use.
#[cold]
fn end_if_empty(span: &'static Span) {
    crate::sync::delay(crate::sync::Window::EndIfEmpty);
    span.with_heap(|heap, lists| {
        if heap.end_if_left(lists, span) {
            paths::entered(Path::AbandonedSpanEnded);
        }
    });
}
