//! Tests `fork` in a process whose other threads allocate, free, pin and end experts all
//! the time. The child can make every call, and finds the heap sound. Handlers of other
//! libraries may use the heap while its locks are held for the `fork`.

#[cfg(unix)]
mod common;

#[cfg(unix)]
mod unix {
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
    use std::time::{Duration, Instant};

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
            // A call by the key alone pins the thread for a moment, perhaps during the
            // fork.
            assert!(ALLOC.get(shared).is_some());
            // A look at memory of another owner pins the thread for a moment.
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
        // The expert is used by its key, so its end looks for pins.
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

    /// Waits for a child, and returns its status.
    fn wait(child: libc::pid_t) -> i32 {
        assert!(child > 0, "no child");
        let mut status = 0;
        // SAFETY: a child of ours; `status` is ours too.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        status
    }

    /// The C library gives a thread of the child the stack of a lost thread, and so its
    /// thread pointer. The new thread must not be taken for the lost one.
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
                // The frees wait for a thread that does not exist in the child.
                let code = i32::from(spans() + 10 < before);
                // SAFETY: no preconditions.
                unsafe { libc::_exit(code) };
            }
            child => assert_eq!(wait(child), 0),
        }
        drop(stop);
        lost.join().unwrap();
    }

    /// Registers handlers like another library's before the heap's, because the program has
    /// not allocated yet when this is called.
    #[cfg(target_os = "linux")]
    #[used]
    #[unsafe(link_section = ".init_array")]
    static REGISTER: extern "C" fn() = {
        extern "C" fn register() {
            // SAFETY: the handler is a function that never unwinds.
            unsafe { libc::pthread_atfork(Some(handler), Some(handler), Some(handler)) };
        }
        register
    };

    /// Whether the handlers use the heap, and for how long they keep its locks.
    static USES_HEAP: AtomicBool = AtomicBool::new(false);
    static IS_SLOW: AtomicBool = AtomicBool::new(false);
    /// How often the handlers used the heap.
    static HANDLED: AtomicUsize = AtomicUsize::new(0);
    /// Whether the handlers keep the locks now.
    static KEEPS_LOCKS: AtomicBool = AtomicBool::new(false);

    extern "C" fn handler() {
        if USES_HEAP.load(Relaxed) {
            HANDLED.fetch_add(1, Relaxed);
            for size in [16, 5000, 100_000, 3 << 20, 40 << 20] {
                drop(std::hint::black_box(Vec::<u8>::with_capacity(size)));
            }
            let raw = ALLOC.host().alloc(4000).unwrap();
            ALLOC.host().free(raw.as_ptr()).unwrap();
        }
        if IS_SLOW.swap(false, Relaxed) {
            KEEPS_LOCKS.store(true, Relaxed);
            std::thread::sleep(HOLD);
        }
    }

    /// Forks a child that only checks whether the heap is sound, and returns its status.
    fn sound_child() -> i32 {
        // SAFETY: the child only uses this heap, and leaves by `_exit`.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: no preconditions. A child that hangs is killed.
                unsafe { libc::alarm(20) };
                drop(std::hint::black_box(vec![1u8; 100_000]));
                // SAFETY: the child has this thread alone.
                let code = i32::from(unsafe { testing::check() }.is_err());
                // SAFETY: no preconditions.
                unsafe { libc::_exit(code) };
            }
            child => wait(child),
        }
    }

    /// Between the heap's handlers this thread holds the locks, and may allocate.
    pub fn a_handler_registered_before_may_allocate() {
        // SAFETY: no preconditions. A parent that hangs is killed.
        unsafe { libc::alarm(20) };
        USES_HEAP.store(true, Relaxed);
        for _ in 0..3 {
            assert_eq!(sound_child(), 0);
        }
        USES_HEAP.store(false, Relaxed);
        // SAFETY: no preconditions.
        unsafe { libc::alarm(0) };
        let expected = if cfg!(target_os = "linux") { 6 } else { 0 };
        assert_eq!(HANDLED.load(Relaxed), expected, "before and after, in the parent");
        // SAFETY: no other thread is in the heap.
        unsafe { testing::check() }.unwrap();
    }

    /// How long the locks are kept in the test that waits for them.
    const HOLD: Duration = Duration::from_millis(300);

    /// The processor time that this thread has used.
    fn thread_time() -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is ours.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        assert_eq!(failed, 0);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    /// A thread that finds a lock held leaves the processor to the holder, whatever the
    /// holder's priority.
    pub fn who_waits_for_a_lock_sleeps() {
        if !cfg!(target_os = "linux") {
            return;
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !KEEPS_LOCKS.load(Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let (began, used) = (Instant::now(), thread_time());
                drop(std::hint::black_box(vec![1u8; 3 << 20]));
                let (waited, used) = (began.elapsed(), thread_time() - used);
                assert!(waited > HOLD / 2, "waited {waited:?} only");
                assert!(used < HOLD / 10, "used {used:?} of {waited:?}");
            });
            IS_SLOW.store(true, Relaxed);
            assert_eq!(sound_child(), 0);
        });
    }

    /// Page faults of this process so far.
    fn faults() -> libc::c_long {
        // SAFETY: zero is a value of every field.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: `usage` is ours.
        assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) }, 0);
        usage.ru_minflt
    }

    /// Page faults of parent and child between a call of `fork` and its returns.
    fn faults_of_a_fork() -> (libc::c_long, libc::c_long) {
        let before = faults();
        // SAFETY: the child leaves at once.
        match unsafe { libc::fork() } {
            0 => {
                // An exit status has one byte.
                let code = faults().min(255) as i32;
                // SAFETY: no preconditions.
                unsafe { libc::_exit(code) };
            }
            child => {
                let parents = faults() - before;
                let status = wait(child);
                assert!(libc::WIFEXITED(status));
                (parents, libc::WEXITSTATUS(status).into())
            }
        }
    }

    /// The number of pages that `fork` writes, and so copies, does not grow with the number
    /// of experts, alive or ended.
    pub fn its_cost_does_not_depend_on_experts() {
        const EXPERTS: usize = 3000;
        /// This bound is more than the pages of the locks and the handlers' stacks, and far
        /// less than the pages of all records.
        const MOST: libc::c_long = 100;
        let within = |(parent, child): (libc::c_long, libc::c_long), when: &str| {
            assert!(parent <= MOST && child <= MOST, "{when}: {parent} and {child} faults");
        };
        within(faults_of_a_fork(), "before");
        let experts: Vec<Expert> =
            (0..EXPERTS).map(|_| ALLOC.expert("forked").register().unwrap()).collect();
        for expert in &experts {
            expert.alloc(64).unwrap();
        }
        within(faults_of_a_fork(), "with experts");
        drop(experts);
        ALLOC.purge();
        within(faults_of_a_fork(), "after they have ended");
    }

    pub fn forks_among_busy_threads() {
        USES_HEAP.store(true, Relaxed);
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
        USES_HEAP.store(false, Relaxed);
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
        (
            "a_handler_registered_before_may_allocate",
            unix::a_handler_registered_before_may_allocate,
        ),
        ("who_waits_for_a_lock_sleeps", unix::who_waits_for_a_lock_sleeps),
        ("its_cost_does_not_depend_on_experts", unix::its_cost_does_not_depend_on_experts),
        ("forks_among_busy_threads", unix::forks_among_busy_threads),
    ]);
}

#[cfg(not(unix))]
fn main() {}
