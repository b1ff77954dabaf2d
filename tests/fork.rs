//! `fork` in a process whose other threads allocate, free, pin and end experts
//! all the while: the child can do everything, and finds the heap sound.

#[cfg(unix)]
mod common;

#[cfg(unix)]
mod unix {
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use std::alloc::GlobalAlloc;

    use expert_alloc::{Expert, ExpertKey, testing};

    use crate::common::ALLOC;

    static STOP: AtomicBool = AtomicBool::new(false);

    fn busy(number: usize, shared: ExpertKey) {
        let mut kept: Vec<Vec<u8>> = Vec::new();
        let mut round = number;
        while !STOP.load(Relaxed) {
            round += 1;
            kept.push(vec![round as u8; round * 37 % 5000]);
            while kept.len() > 100 {
                kept.swap_remove(round % 100);
            }
            // By the key alone: pinned for a moment, perhaps that of the fork.
            assert!(ALLOC.get(shared).is_some());
            // Looks at memory that is not its own: pinned for a moment.
            assert!(ALLOC.owner_of(kept[0].as_ptr()).is_some() || kept[0].capacity() == 0);
            if round % 16 == 0 {
                let expert = ALLOC.expert("forked").register().unwrap();
                let raw = expert.alloc(round % 3000).unwrap();
                assert!(ALLOC.get(expert.key()).is_some());
                assert_eq!(ALLOC.owner_of(raw.as_ptr()), Some(expert.key()));
                let _scope = expert.enter();
                kept.push(vec![1; 100]);
            }
        }
    }

    /// The calls that a child must be able to make. It ends without running destructors.
    fn child(shared: &Expert) {
        // SAFETY: the child's copy; the child never drops the other.
        let shared = unsafe { std::ptr::read(shared) };
        assert_eq!(shared.finish().blocks, 1, "the child's copy of an expert");
        let mut list: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        list.retain(|text| text.len() == 3);
        let expert = ALLOC.expert("child").quota(1 << 20).register().unwrap();
        // By its key, so that ending it looks for pins.
        assert!(ALLOC.get(expert.key()).is_some());
        let raw = expert.alloc(5000).unwrap();
        assert_eq!(ALLOC.owner_of(raw.as_ptr()), Some(expert.key()));
        assert_eq!(expert.finish().blocks, 1);
        // Threads begin and end in a child as well.
        let there = std::thread::spawn(move || list.len()).join().unwrap();
        assert_eq!(there, 900);
        ALLOC.purge();
        drop(vec![0u8; 100 << 20]);
        assert!(ALLOC.snapshot().host().is_some());
    }

    /// Waits for a child; its status.
    fn wait(child: libc::pid_t) -> i32 {
        assert!(child > 0, "no child");
        let mut status = 0;
        // SAFETY: a child of ours; `status` is ours too.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        status
    }

    /// The C library gives a thread of the child the stack of one that is lost,
    /// and so its thread pointer: it is not that thread.
    pub fn a_thread_of_the_child_is_none_of_the_lost() {
        let layout = std::alloc::Layout::from_size_align(4000, 8).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let lost = std::thread::spawn(move || {
            // SAFETY: not of size 0.
            let take = |_| unsafe { ALLOC.alloc(layout) } as usize;
            sender.send((0..2000).map(take).collect::<Vec<_>>()).unwrap();
            let _ = stopped.recv();
        });
        let blocks = receiver.recv().unwrap();
        // SAFETY: the child only uses this heap, and leaves by `_exit`.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: no preconditions. A child that hangs is killed.
                unsafe { libc::alarm(20) };
                // SAFETY: no other thread is left, or runs yet.
                let spans = || unsafe { testing::check() }.unwrap().spans;
                let before = spans();
                let free = move || {
                    for block in blocks {
                        // SAFETY: the child's copies of live blocks.
                        unsafe { ALLOC.dealloc(block as *mut u8, layout) };
                    }
                };
                std::thread::spawn(free).join().unwrap();
                // The frees wait for a thread that is no more.
                let code = i32::from(spans() + 10 < before);
                // SAFETY: no preconditions.
                unsafe { libc::_exit(code) };
            }
            child => assert_eq!(wait(child), 0),
        }
        drop(stop);
        lost.join().unwrap();
    }

    pub fn forks_among_busy_threads() {
        let shared = ALLOC.expert("shared").register().unwrap();
        shared.alloc(100).unwrap();
        let key = shared.key();
        std::thread::scope(|scope| {
            for number in 0..3 {
                scope.spawn(move || busy(number, key));
            }
            for _ in 0..100 {
                // SAFETY: the child only uses this heap, which is ready for it,
                // and leaves by `_exit`.
                match unsafe { libc::fork() } {
                    0 => {
                        // SAFETY: no preconditions. A child that hangs is killed.
                        unsafe { libc::alarm(20) };
                        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| child(&shared)));
                        // SAFETY: no preconditions.
                        unsafe { libc::_exit(i32::from(outcome.is_err())) };
                    }
                    pid => assert_eq!(wait(pid), 0, "a child failed (14: it hung)"),
                }
            }
            STOP.store(true, Relaxed);
        });
    }
}

#[cfg(unix)]
fn main() {
    if common::emulated() {
        println!("not run: QEMU stops where a process with threads forks");
        return;
    }
    common::run_alone(&[
        (
            "a_thread_of_the_child_is_none_of_the_lost",
            unix::a_thread_of_the_child_is_none_of_the_lost,
        ),
        ("forks_among_busy_threads", unix::forks_among_busy_threads),
    ]);
}

#[cfg(not(unix))]
fn main() {}
