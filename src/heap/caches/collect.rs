//! Collecting: blocks that other threads have freed come home to a cache.
//!
//! A thread that frees the last block of another thread's span ends the span (see
//! `calls/free`). If the span's own thread frees the last block, it does not know, because
//! blocks that others freed before still count as in use. So a cache that others free into
//! looks around: at a few of its spans whenever it begins a span, and whenever one has
//! become empty or usable. Blocks freed into those come home, and from then on the thread
//! counts exactly. A cache with n spans has looked at all of them after it has begun n /
//! [`LOOKS`] spans.
//!
//! Invariants
//!
//! - COLLECT1 `cursor` is a span on the list of waiting or of available spans at `list`, or
//!   none: where the look-around continues.
//! - COLLECT2 the cache counts as freed into while one of its spans that was not yet looked
//!   at has blocks that others freed; a thread that frees notes this after the push.

use super::cache::Cache;
use crate::heap::base::size_class::CLASSES;
use crate::heap::spans::span::Span;

/// How many spans a cache looks at when it begins one.
pub const LOOKS: usize = 8;

/// How many it looks at when one of its spans has become empty or usable.
pub const FEW_LOOKS: usize = 2;

/// The number of a cache's lists: each class has one of waiting and one of available spans.
const LISTS: u8 = 2 * CLASSES as u8;

impl Cache {
    /// Looks at `spans` more spans, if others have freed into some. The freed blocks come
    /// home, and empty spans end. The thread calls this under its own lock.
    #[inline]
    pub fn look_around(&'static self, spans: usize) {
        if self.is_freed_into() {
            (0..spans).take_while(|_| self.look_at_next()).for_each(drop);
        }
    }

    /// Looks at one more span. Returns false if all lists were looked through.
    #[cold]
    fn look_at_next(&'static self) -> bool {
        let Some(span) = self.cursor.get().or_else(|| self.next_list()) else { return false };
        self.cursor.set(span.next());
        self.bring_home(span);
        true
    }

    /// The first span of the next list that has one. After the last list the look-around is
    /// over; it begins anew if others have freed since it began.
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

    /// Collects the blocks of a span on a list that others have freed. An empty span ends,
    /// because it was not needed for a while.
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

    /// Collects the blocks that others have freed in the spans of this cache. Afterwards
    /// such spans can be allocated from, or have ended. The time grows with the number of
    /// spans.
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
