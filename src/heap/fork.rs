//! `fork` in a process with threads: the child has one thread and a copy of
//! every lock as it stood. All locks are taken before and released on both
//! sides, so none is copied while another thread holds it. What other threads'
//! caches held is lost to the child; their pins are taken off there, because
//! nobody will, and their tokens, because a thread of the child may get one anew.

#[cfg(unix)]
mod system {
    use crate::heap::local::TAGGED;
    use crate::heap::record::{Heap, Lists};
    use crate::heap::{arena, numbers, tables, thread, visit};
    use crate::sync::{AtomicBool, Ordering::Relaxed};

    /// The token of no thread: no word has this address.
    const LOST: usize = !1 << 1;

    static IS_SET: AtomicBool = AtomicBool::new(false);

    /// In the lock order of `record.rs`; the host's heap is the oldest record,
    /// which comes last.
    extern "C" fn before() {
        thread::lock_forever();
        Heap::lock_making();
        Heap::made().for_each(Heap::lock_forever);
        numbers::lock_forever();
        arena::lock_forever();
        tables::lock_forever();
    }

    extern "C" fn after() {
        // SAFETY: `before` took it, in this thread.
        unsafe { tables::unlock() };
        // SAFETY: as above.
        unsafe { arena::unlock() };
        // SAFETY: as above.
        unsafe { numbers::unlock() };
        for heap in Heap::made() {
            // SAFETY: as above; no record was made in between.
            unsafe { heap.unlock() };
        }
        // SAFETY: as above.
        unsafe { Heap::unlock_making() };
        // SAFETY: as above.
        unsafe { thread::unlock() };
    }

    extern "C" fn after_in_child() {
        visit::unpin_others();
        after();
        Heap::made().for_each(|heap| heap.with(disown));
    }

    /// Takes the spans of threads that the child does not have from whoever gets
    /// their tokens (T1 of `thread`): the C library uses their stacks again, and the
    /// token of a thread is an address there.
    fn disown(lists: &Lists) {
        let mine = thread::token();
        let is_lost = |token| token != 0 && token != mine;
        for span in lists.spans() {
            let thread = span.thread.load(Relaxed);
            if is_lost(thread & !TAGGED) {
                span.thread.store(LOST | thread & TAGGED, Relaxed);
            }
        }
    }

    pub fn prepare() {
        if !IS_SET.swap(true, Relaxed) {
            // SAFETY: the handlers are functions that never unwind.
            unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after_in_child)) };
        }
    }
}

#[cfg(not(unix))]
mod system {
    /// There is no `fork`.
    pub fn prepare() {}
}

pub use system::prepare;
