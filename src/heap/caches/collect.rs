//! What other threads freed is brought home.

use super::cache::Cache;

impl Cache {
    /// Brings home what others have freed in the spans of this cache: they can be
    /// allocated from, or end. Time in the spans.
    pub fn collect(&'static self) {
        for class in self.used_classes() {
            let queue = self.queue(class);
            for list in [&queue.waiting, &queue.available] {
                for span in list.iter() {
                    if span.remote.state().count() == 0 {
                        continue;
                    }
                    self.dequeue(span);
                    span.bring_home();
                    if span.outstanding() == 0 {
                        self.rest(span);
                    } else {
                        self.enlist(span);
                    }
                }
            }
        }
    }
}
