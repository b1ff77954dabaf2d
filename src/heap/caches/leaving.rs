//! What becomes of a cache whose thread ends, or whose heap the host has adopted.

use super::cache::Cache;
use crate::heap::base::paths::{self, Path};
use crate::heap::owners::heap::Heap;
use crate::heap::owners::lists::Lists;
use crate::heap::spans::span::{NEVER, Span, SpanState};

/// The thread of `cache` ends: empty spans are given back, the others left to
/// whoever allocates for the heap next. Returns false where the cache is dead
/// or adopted already, and waits in the thread's inbox.
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
    // From here on whoever frees the last block ends the span; if that has
    // happened already, it is this thread's to do.
    let state = span.remote.set_abandoned(true);
    let is_empty = span.own_free() + state.count() == span.carved();
    if !is_empty || !heap.end_span(lists, span) {
        paths::entered(Path::Abandoned);
        heap.add_abandoned(lists, span);
    }
}

/// Takes `cache` off its heap, its counts kept there.
fn leave(cache: &'static Cache, lists: &Lists) {
    lists.count_allocations(cache.allocations());
    lists.remove_cache(cache);
}

/// The thread merges a cache that the host adopted with `host`, its own for the host;
/// where it cannot have one, the spans are left to the next who allocates.
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
            // Not current any more, before its cache is another: see `Span::used`.
            span.set_state(SpanState::Waiting);
            span.set_cache(Some(host));
            host.enlist(span);
        }
    }
    cache.heap().with(|lists| leave(cache, lists));
}
