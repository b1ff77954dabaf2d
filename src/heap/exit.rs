//! The end of a thread: its spans are handed over.
//!
//! On Unix by a key of the thread library, whose destructors run after those
//! of the language, so what these free still finds the thread as it was. A
//! destructor that allocates later makes the thread known once more, and its
//! end is called again; but not more often than the thread library goes round. What
//! is allocated behind the last round is handed over call by call: see [`after_call`].

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
        // Const and without a destructor: it is there until the thread is gone.
        static ROUND: core::cell::Cell<u8> = const { core::cell::Cell::new(0) };
    }

    extern "C" fn at_end(_: *mut libc::c_void) {
        ROUND.with(|round| round.set(round.get().saturating_add(1)));
        crate::heap::thread::end();
    }

    /// Hands over what the call before made this thread's, if nobody else will.
    #[inline]
    pub fn after_call() {
        if ROUND.with(core::cell::Cell::get) >= ROUNDS {
            crate::heap::thread::end();
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
                // SAFETY: the key just made, used by nobody.
                unsafe { libc::pthread_key_delete(made) };
            }
        }
        Some((KEY.load(Relaxed) - 1) as libc::pthread_key_t)
    }

    pub fn call_at_thread_end() {
        if let Some(key) = key() {
            // Any value but null asks for the destructor.
            let value = core::ptr::without_provenance::<libc::c_void>(1);
            // SAFETY: a live key of ours.
            unsafe { libc::pthread_setspecific(key, value) };
        }
        // Without a key the thread's spans stay its own: memory is kept, and
        // nothing else goes wrong.
    }
}

#[cfg(not(unix))]
mod system {
    struct AtEnd;

    impl Drop for AtEnd {
        fn drop(&mut self) {
            crate::heap::thread::end();
        }
    }

    std::thread_local! {
        static AT_END: AtEnd = const { AtEnd };
    }

    /// The language calls each destructor once; what a later one allocates stays the
    /// thread's.
    #[inline]
    pub fn after_call() {}

    pub fn call_at_thread_end() {
        // Fails only while the thread ends; see above.
        let _ = AT_END.try_with(|_| ());
    }
}

pub use system::{after_call, call_at_thread_end};
