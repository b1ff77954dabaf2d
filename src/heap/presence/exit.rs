//! The end of a thread, at which a registered function hands over the thread's memory.
//!
//! On Unix a key of the thread library calls it. Destructors of keys run after those of the
//! language, so frees by these still find the thread as it was. A destructor that allocates
//! later makes the thread known once more, and its end is called again, as often as the
//! thread library repeats its destructors. Blocks allocated after the last round are handed
//! over call by call: see [`after_call`].

#[cfg(unix)]
mod system {
    use crate::sync::{AtomicUsize, Ordering::Relaxed};

    /// The key plus one; 0 before it is made.
    static KEY: AtomicUsize = AtomicUsize::new(0);

    /// How often the thread library calls destructors that set their keys anew:
    /// `PTHREAD_DESTRUCTOR_ITERATIONS` of glibc, musl and macOS, and the least that
    /// POSIX asks for.
    const ROUNDS: u8 = 4;

    std::thread_local! {
        // It is const and has no destructor, so it is there until the thread is gone.
        static ROUND: core::cell::Cell<u8> = const { core::cell::Cell::new(0) };
    }

    extern "C" fn at_end(value: *mut libc::c_void) {
        ROUND.with(|round| round.set(round.get().saturating_add(1)));
        // SAFETY: the value of the key is what `call_at_thread_end` was given, or null, for
        // which no destructor is called.
        let end = unsafe { core::mem::transmute::<*mut libc::c_void, fn()>(value) };
        end();
    }

    /// Calls `end` for memory that the last call gave this thread, if nothing else will.
    #[inline]
    pub fn after_call(end: fn()) {
        if ROUND.with(core::cell::Cell::get) >= ROUNDS {
            end();
        }
    }

    fn key() -> Option<libc::pthread_key_t> {
        if KEY.load(Relaxed) == 0 {
            let mut made: libc::pthread_key_t = 0;
            // SAFETY: `made` is ours; the destructor never unwinds.
            if unsafe { libc::pthread_key_create(&raw mut made, Some(at_end)) } != 0 {
                return None;
            }
            // A number, published by itself.
            if KEY.compare_exchange(0, made as usize + 1, Relaxed, Relaxed).is_err() {
                // SAFETY: the key was just made, and is not used.
                unsafe { libc::pthread_key_delete(made) };
            }
        }
        Some((KEY.load(Relaxed) - 1) as libc::pthread_key_t)
    }

    /// Ensures that this thread calls `end` when it ends.
    pub fn call_at_thread_end(end: fn()) {
        if let Some(key) = key() {
            // SAFETY: a live key of ours.
            unsafe { libc::pthread_setspecific(key, end as *const libc::c_void) };
        }
        // Without a key the thread's spans stay its own: memory is kept, and
        // nothing else goes wrong.
    }
}

#[cfg(not(unix))]
mod system {
    use core::cell::Cell;

    struct AtEnd(Cell<Option<fn()>>);

    impl Drop for AtEnd {
        fn drop(&mut self) {
            self.0.get().inspect(|end| end());
        }
    }

    std::thread_local! {
        static AT_END: AtEnd = const { AtEnd(Cell::new(None)) };
    }

    /// The language calls each destructor once; blocks that a later one allocates
    /// stay the thread's.
    #[inline]
    pub fn after_call(_: fn()) {}

    /// Ensures that this thread calls `end` when it ends.
    pub fn call_at_thread_end(end: fn()) {
        // This fails only while the thread ends; see above.
        let _ = AT_END.try_with(|at_end| at_end.0.set(Some(end)));
    }
}

pub use system::{after_call, call_at_thread_end};
