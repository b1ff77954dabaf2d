//! The beginning and the end of a span in a header.

use core::ptr;

use super::{NEVER, Span, SpanState};
use crate::heap::spans::free_block::FreeList;
use crate::heap::spans::tags::Tag;
use crate::sync::Ordering::Relaxed;

impl Span {
    /// Begins a span here. The headers of its inner slices point back to it.
    pub fn begin(
        &self,
        class: u8,
        state: SpanState,
        block_size: usize,
        start: usize,
        slices: u32,
        fresh: bool,
    ) {
        debug_assert_eq!(self.thread.load(Relaxed), 0);
        self.is_tagged.store(false, Relaxed);
        self.local.set(FreeList::EMPTY);
        self.set_leftover(FreeList::EMPTY, 0);
        self.set_wait(0, NEVER);
        self.carved.store(0, Relaxed);
        self.class.store(class, Relaxed);
        self.set_state(state);
        self.block_size.store(block_size, Relaxed);
        self.remote.reset();
        self.slices.set(slices as u16);
        self.charged.store(0, Relaxed);
        self.start.store(start, Relaxed);
        self.fresh.set(fresh);
        self.set_cache_record(ptr::null_mut());
        self.back.store(0, Relaxed);
    }

    /// Ends the span, so the header is that of a free slice again.
    pub fn end(&self) {
        self.thread.store(0, Relaxed);
        if self.is_tagged() {
            // TAG2: tags of a reclaimed owner are still there.
            self.tag_words().for_each(|word| word.store(Tag::NONE));
        }
        self.mark.store(Tag::NONE);
        self.heap.store(ptr::null_mut(), Relaxed);
        self.carved.store(0, Relaxed);
        self.charged.store(0, Relaxed);
        self.set_cache_record(ptr::null_mut());
        self.set_state(SpanState::Free);
    }
}
