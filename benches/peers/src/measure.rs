//! Measures a run: time per operation, peak memory, and the memory still held after
//! everything was freed and purged.
//!
//! Work is measured in processor time, of the thread or of all threads together; this clock
//! stands still while another process has the core. Elapsed time is used only for rows that
//! are about waiting.
//!
//! Memory is all anonymous resident memory of the process, from `/proc/self/status`. The
//! program's text does not count. The memory that the allocator took when it started
//! counts, and so do about 150 KiB of stack and static data, which are the same for all
//! allocators. It is read into a buffer on the stack, so that looking does not allocate.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, Instant};

/// The `NAME=NUMBER` arguments of a row.
pub struct Arguments(Vec<(String, usize)>);

impl Arguments {
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        words
            .map(|word| {
                let pair = word.split_once('=');
                let parsed = pair.and_then(|(name, value)| Some((name, value.parse().ok()?)));
                match parsed {
                    Some((name, value)) => Ok((name.to_owned(), value)),
                    None => Err(format!("{word:?} is not NAME=NUMBER")),
                }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub fn get(&self, name: &str, default: usize) -> usize {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or(default, |&(_, value)| value)
    }
}

/// One run of one row.
pub struct Run {
    pub arguments: Arguments,
    operations: u64,
    elapsed: Duration,
    extra: Vec<(&'static str, f64)>,
    curve: Vec<(f64, f64)>,
}

impl Run {
    pub fn start(arguments: Arguments) -> Self {
        let extra = Vec::with_capacity(32);
        Self { arguments, operations: 0, elapsed: Duration::ZERO, extra, curve: Vec::new() }
    }

    /// Measures `work` of this thread, which does `operations` operations.
    /// Several calls add up.
    pub fn time<T>(&mut self, operations: usize, work: impl FnOnce() -> T) -> T {
        let start = thread_time();
        let result = work();
        self.record(operations, thread_time() - start);
        result
    }

    /// Measures `work` of several threads, in the processor time of all of them together;
    /// the elapsed time is noted beside it.
    pub fn time_threads<T>(&mut self, operations: usize, work: impl FnOnce() -> T) -> T {
        let wall = Instant::now();
        let start = process_time();
        let result = work();
        self.record(operations, process_time() - start);
        self.note("wall_ns_per_operation", wall.elapsed().as_nanos() as f64 / operations as f64);
        result
    }

    /// Measures the elapsed time of `work`.
    pub fn time_wall<T>(&mut self, operations: usize, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.record(operations, start.elapsed());
        result
    }

    /// Adds a measurement of the caller's.
    pub fn record(&mut self, operations: usize, elapsed: Duration) {
        self.elapsed += elapsed;
        self.operations += operations as u64;
    }

    /// Discards all measurements so far.
    pub fn forget(&mut self) {
        self.elapsed = Duration::ZERO;
        self.operations = 0;
        self.extra.clear();
    }

    /// Notes another figure of this row.
    pub fn note(&mut self, name: &'static str, value: f64) {
        self.extra.push((name, value));
    }

    /// Records how a figure changed over time: seconds, and the figure.
    pub fn record_curve(&mut self, curve: Vec<(f64, f64)>) {
        self.curve = curve;
    }

    /// Ends the run: everything that the workload allocated has been freed.
    pub fn finish(self) -> Report {
        let peak = Resident::now().peak;
        crate::purge();
        let held = Resident::now().anonymous;
        Report { peak_bytes: peak, held_bytes: held, run: self }
    }
}

/// The processor time that this thread has used.
pub fn thread_time() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The processor time that all threads of this process have used.
fn process_time() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(which: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a structure of this function.
    let code = unsafe { libc::clock_gettime(which, &raw mut time) };
    assert_eq!(code, 0, "Linux has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The result of a run.
pub struct Report {
    run: Run,
    peak_bytes: usize,
    held_bytes: usize,
}

impl Report {
    /// One line of JSON. All names are plain words, so nothing needs escaping.
    pub fn to_json(&self, row: &str) -> String {
        let nanoseconds = self.run.elapsed.as_nanos() as f64;
        let operations = self.run.operations;
        let per_operation = nanoseconds / operations.max(1) as f64;
        let allocator = crate::NAME;
        let (peak, held) = (self.peak_bytes, self.held_bytes);
        let mut json = format!(
            r#"{{"row":"{row}","allocator":"{allocator}","operations":{operations},"elapsed_ns":{nanoseconds},"ns_per_operation":{per_operation:.4},"peak_bytes":{peak},"held_bytes":{held},"extra":{{"#
        );
        for (index, (name, value)) in self.run.extra.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(json, r#"{comma}"{name}":{value}"#).expect("a string takes all");
        }
        json.push_str(r#"},"curve":["#);
        for (index, (seconds, value)) in self.run.curve.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(json, "{comma}[{seconds:.3},{value:.3}]").expect("a string takes all");
        }
        json.push_str("]}");
        json
    }
}

/// Resident memory of this process, in bytes.
#[derive(Clone, Copy)]
pub struct Resident {
    /// Anonymous memory now.
    pub anonymous: usize,
    /// The highest resident size so far, minus the pages of files that are resident now.
    pub peak: usize,
}

impl Resident {
    pub fn now() -> Self {
        with_fields("/proc/self/status", |field| {
            let files = field("RssFile:") + field("RssShmem:");
            Self { anonymous: field("RssAnon:"), peak: field("VmHWM:").saturating_sub(files) }
        })
    }

    /// Anonymous memory now, exact to the page. The kernel walks all page tables for this;
    /// its counters lag behind by a few hundred KiB.
    pub fn exact() -> usize {
        with_fields("/proc/self/smaps_rollup", |field| field("Anonymous:"))
    }
}

/// Calls `read` with a function that looks up a field of `file`, in bytes.
fn with_fields<T>(file: &str, read: impl FnOnce(&dyn Fn(&str) -> usize) -> T) -> T {
    let mut text = [0; 4096];
    let mut file = File::open(file).expect("Linux has /proc");
    let length = file.read(&mut text).expect("the file can be read");
    let text = std::str::from_utf8(&text[..length]).expect("the file is text");
    read(&|name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        let kib = number.and_then(|number| number.parse::<usize>().ok());
        kib.expect("the kernel reports this field") << 10
    })
}
