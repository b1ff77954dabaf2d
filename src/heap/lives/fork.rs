//! `fork` in a process with threads: the child has one thread and a copy of every lock as
//! it stood. All locks are taken before and released on both sides, so none is copied while
//! another thread holds it. The child loses the blocks in other threads' caches. Their pins
//! are removed there, because no thread will do so, and their tokens, because a thread of
//! the child may get the same token.

#[cfg(unix)]
mod system {
    use crate::heap::base::tables;
    use crate::heap::lives::sweep;
    use crate::heap::owners::heap::Heap;
    use crate::heap::owners::numbers;
    use crate::heap::owners::stripes;
    use crate::heap::pages::arena;
    use crate::heap::pages::chunk_map;
    use crate::heap::presence::present;
    use crate::heap::presence::token::token;
    use crate::heap::presence::visits;
    use crate::heap::spans::span;
    use crate::heap::spans::span::TAGGED;

    use crate::heap::threads::thread::giving_back;
    use crate::lock;
    use crate::sync::{AtomicBool, Ordering::Relaxed};

    /// The token of no thread, because no word has this address.
    const LOST: usize = !1 << 1;

    static IS_SET: AtomicBool = AtomicBool::new(false);

    /// Whether this process is a child without the threads of its parent.
    static IS_CHILD: AtomicBool = AtomicBool::new(false);

    /// See [`IS_CHILD`].
    pub fn is_child() -> bool {
        IS_CHILD.load(Relaxed)
    }

    /// Takes all locks, in the lock order of `owners/heap.rs`. There are as many locks as
    /// stripes, and a few more, however many heaps there are. Handlers that were registered
    /// before this one run next, in this thread, and may use the heap.
    extern "C" fn before() {
        sweep::lock_forever();
        present::hold_forever();
        stripes::lock_forever();
        numbers::lock_forever();
        giving_back::lock_forever();
        Heap::lock_making();
        arena::lock_forever();
        tables::lock_forever();
        lock::begin_fork();
    }

    extern "C" fn after() {
        lock::end_fork();
        // SAFETY: `before` took it, in this thread.
        unsafe { tables::unlock() };
        // SAFETY: as above.
        unsafe { arena::unlock() };
        // SAFETY: as above.
        unsafe { numbers::unlock() };
        // SAFETY: as above.
        unsafe { stripes::unlock() };
        // SAFETY: as above.
        unsafe { Heap::unlock_making() };
        // SAFETY: as above.
        unsafe { giving_back::unlock() };
        present::let_go();
        // SAFETY: as above.
        unsafe { sweep::unlock() };
    }

    extern "C" fn after_in_child() {
        IS_CHILD.store(true, Relaxed);
        visits::unpin_others();
        giving_back::be_only();
        present::lose_others();
        disown();
        after();
    }

    /// Gives the spans of threads that the child does not have the token of no thread
    /// (PRESENT1). The C library uses the stacks of such threads again, and a token is an
    /// address there.
    ///
    /// A write gives the child a page of its own, so only the headers of lost
    /// threads' spans are written; the others are read where they are shared.
    fn disown() {
        let mine = token();
        let is_lost = |token| token != 0 && token != mine && token != LOST;
        chunk_map::for_each(|chunk| {
            let headers = chunk.starts().map(|slice| span::header_in(chunk, slice));
            for span in headers {
                let thread = span.thread();
                if is_lost(thread & !TAGGED) {
                    span.set_thread(LOST | thread & TAGGED);
                }
            }
        });
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
    /// Does nothing, because this system has no `fork`.
    pub fn prepare() {}

    /// Always false, because this system has no `fork`.
    pub fn is_child() -> bool {
        false
    }
}

pub use system::{is_child, prepare};
