//! How what other threads have freed comes home to a cache.
//!
//! Who frees the last block of another thread's span ends it (see `calls/free`). Where the
//! span's own thread frees the last one, it does not know: what others freed before still
//! counts as in use for it. So a cache that others free into looks around, at a few of its
//! spans whenever it begins one, and whenever one has become empty or usable: what was
//! freed into those comes home, and from then on the thread counts exactly. A span waits
//! for that at most until as many spans were begun as the cache has, over [`LOOKS`].
//!
//! Invariants
//!
//! - COLLECT1 `cursor` is a span on the list of waiting or of available spans at `list`, or
//!   none: where the look-around goes on.
//! - COLLECT2 the cache counts as freed into while a span of it, not yet looked at, has
//!   blocks that others freed: they say so after they have pushed one.

use super::cache::Cache;
use crate::heap::base::size_class::CLASSES;
use crate::heap::spans::span::Span;

/// How many spans a cache looks at when it begins one.
pub const LOOKS: usize = 8;

/// How many it looks at when one of its spans has become empty or usable.
pub const FEW_LOOKS: usize = 2;

/// The lists of a cache: of each class one of waiting and one of available spans.
const LISTS: u8 = 2 * CLASSES as u8;

impl Cache {
    /// Looks at `spans` more spans, if others have freed into some: what was freed comes
    /// home, and empty ones end. Under the thread's lock, by the thread.
    #[inline]
    pub fn look_around(&'static self, spans: usize) {
        if self.is_freed_into() {
            (0..spans).take_while(|_| self.look_at_next()).for_each(drop);
        }
    }

    /// Looks at one more span. False where all lists were looked through.
    #[cold]
    fn look_at_next(&'static self) -> bool {
        let Some(span) = self.cursor.get().or_else(|| self.next_list()) else { return false };
        self.cursor.set(span.next());
        self.bring_home(span);
        true
    }

    /// The first span of the next list that has one. After the last list the look-around
    /// is over, and begins anew where others have freed since it began.
    fn next_list(&self) -> Option<&'static Span> {
        if self.list.get() == 0 {
            self.begin_look();
        }
        while self.list.get() < LISTS {
            let list = self.list.replace(self.list.get() + 1);
            let queue = self.queue(usize::from(list / 2));
            let list = if list % 2 == 0 { &queue.waiting } else { &queue.available };
            if let Some(first) = list.first() {
                return Some(first);
            }
        }
        self.list.set(0);
        self.end_look();
        None
    }

    /// Brings home what others have freed of a span on a list. An empty one ends: nobody
    /// has wanted it for a while.
    fn bring_home(&'static self, span: &'static Span) {
        if span.remote.state().count() == 0 {
            return;
        }
        self.dequeue(span);
        span.bring_home();
        if span.outstanding() != 0 || !self.end_span(span) {
            self.enlist(span);
        }
    }

    /// Brings home what others have freed in the spans of this cache: they can be
    /// allocated from, or have ended. Time in the spans.
    pub fn collect(&'static self) {
        for class in self.used_classes() {
            let queue = self.queue(class);
            for list in [&queue.waiting, &queue.available] {
                for span in list.iter() {
                    self.bring_home(span);
                }
            }
        }
    }
}
