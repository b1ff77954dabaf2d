//! The fate of a cache whose thread ends, or whose heap the host has adopted.

use super::cache::Cache;
use crate::heap::base::paths::{self, Path};
use crate::heap::owners::heap::Heap;
use crate::heap::owners::lists::Lists;
use crate::heap::spans::span::{NEVER, Span, SpanState};

/// Ends `cache`, whose thread ends: empty spans are given back, and the others are left to
/// the next thread that allocates for the heap. Returns false if the cache is dead or
/// adopted already, and waits in the thread's inbox.
pub fn abandon(cache: &'static Cache) -> bool {
    cache.if_alive(|heap, lists| abandon_spans(cache, heap, lists)).is_some()
}

fn abandon_spans(cache: &'static Cache, heap: &Heap, lists: &Lists) {
    cache.end_kept(heap, lists);
    for class in cache.used_classes() {
        cache.empty_bin(class);
        let queue = cache.queue(class);
        while let Some(span) = queue.spans().next() {
            cache.dequeue(span);
            abandon_span(heap, lists, span);
        }
    }
    leave(cache, lists);
}

fn abandon_span(heap: &Heap, lists: &Lists, span: &'static Span) {
    span.set_wait(span.local_count(), NEVER);
    span.set_cache(None);
    span.set_thread(0);
    // From here on the thread that frees the last block ends the span. If the last block is
    // already free, this thread must end it.
    let state = span.remote.set_abandoned(true);
    let is_empty = span.own_free() + state.count() == span.carved();
    if !is_empty || !heap.end_span(lists, span) {
        paths::entered(Path::Abandoned);
        heap.add_abandoned(lists, span);
    }
}

/// Takes `cache` off its heap, which keeps its counts.
fn leave(cache: &'static Cache, lists: &Lists) {
    lists.count_allocations(cache.allocations());
    lists.remove_cache(cache);
}

/// Merges a cache that the host adopted with `host`, the thread's own cache for the host.
/// If the thread cannot have one, the spans are left to the next thread that allocates.
pub fn merge(cache: &'static Cache, host: Option<&'static Cache>) {
    paths::entered(Path::CacheMerged);
    let Some(host) = host else {
        let heap = cache.heap();
        return heap.with(|lists| abandon_spans(cache, heap, lists));
    };
    let heap = cache.heap();
    heap.with(|lists| cache.end_kept(heap, lists));
    for class in cache.used_classes() {
        cache.empty_bin(class);
        let queue = cache.queue(class);
        while let Some(span) = queue.spans().next() {
            cache.dequeue(span);
            if span.outstanding() == 0 && cache.end_span(span) {
                continue;
            }
            // The span must not be current any more before its cache changes: see
            // `Span::used`.
            span.set_state(SpanState::Waiting);
            span.set_cache(Some(host));
            host.enlist(span);
        }
    }
    cache.heap().with(|lists| leave(cache, lists));
}
