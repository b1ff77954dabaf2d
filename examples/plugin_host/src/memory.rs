//! The memory of the process: the bytes that all experts and the host hold, and the
//! system's figures.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;

use crate::ALLOC;

/// A moment. Sizes are in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub live_blocks: usize,
    pub charged: usize,
    pub resident: usize,
}

impl Memory {
    /// The figures now, after all free memory was given back.
    pub fn now() -> Self {
        ALLOC.purge();
        let stats = ALLOC.stats();
        let resident = status("VmRSS:") << 10;
        Self { live_blocks: stats.live_blocks, charged: stats.charged_bytes, resident }
    }

    /// Whether no more is held than `before`. A few resident bytes may belong to tables of
    /// the loader and the thread library.
    pub fn is_where_it_was(&self, before: &Self) -> bool {
        self.live_blocks == before.live_blocks
            && self.charged <= before.charged + (64 << 10)
            && self.resident <= before.resident + (4 << 20)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "{} blocks {:.1} MiB resident {:.1}",
            self.live_blocks,
            mib(self.charged),
            mib(self.resident)
        )
    }
}

/// The threads of this process, by the system's numbers. A thread that is not among them
/// has run its last instruction; a thread can be joined a little earlier.
pub fn threads() -> BTreeSet<u32> {
    let numbers = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A number in `/proc/self/status`; 0 if it is not there.
fn status(name: &str) -> usize {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
