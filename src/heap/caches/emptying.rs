//! Emptying: a cache gives back every span without a block in use.

use super::cache::Cache;
use crate::heap::owners::heap::Heap;
use crate::heap::owners::lists::Lists;
use crate::heap::spans::span::SpanList;

impl Cache {
    /// Gives back every span of this cache that has no block in use. From then on spans
    /// become available as soon as they have a free block, and end with their last block.
    /// So they are looked through again only if other threads have freed into them. Returns
    /// whether they were looked through.
    pub fn look_through(&'static self) -> bool {
        let looks = !self.is_tight() || self.is_freed_into();
        self.set_tight();
        if looks {
            self.purge();
        }
        looks
    }

    /// Gives back every span of this cache that has no block in use. It does so under the
    /// heap's lock, because the owner may be reclaimed at this moment.
    pub fn purge(&'static self) {
        self.if_alive(|heap, lists| self.end_empty_spans(heap, lists));
    }

    fn end_empty_spans(&'static self, heap: &Heap, lists: &Lists) {
        self.set_freed_into(false);
        self.end_kept(heap, lists);
        for class in self.used_classes() {
            self.empty_bin(class);
            let queue = self.queue(class);
            // Each span is looked at once, because spans that stay go to another list and
            // come back later.
            let kept = SpanList::new();
            while let Some(span) = queue.spans().next() {
                self.dequeue(span);
                if span.outstanding() != 0 || !heap.end_span(lists, span) {
                    // This saves the next refusal a look.
                    span.bring_home();
                    kept.push_back(span);
                }
            }
            while let Some(span) = kept.pop_front() {
                self.enlist(span);
            }
        }
    }

    /// Ends the spans of this cache that are on lists and have no block in use; the
    /// thread's fast paths do not know these. Another thread calls this, under the lock of
    /// the cache's thread (PRESENT3).
    pub fn end_set_aside(&'static self) {
        self.if_alive(|heap, lists| {
            self.end_kept(heap, lists);
            for class in self.used_classes() {
                let queue = self.queue(class);
                for list in [&queue.waiting, &queue.available] {
                    for span in list.iter() {
                        self.end_if_unused(heap, lists, span);
                    }
                }
            }
        });
    }
}
