//! The circumstances of a measurement: machine and its kind, compiler, commit, date,
//! command.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::workers;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    pub command: String,
    pub date: String,
    pub commit: String,
    pub compiler: String,
    pub cpu: String,
    pub cores: usize,
    pub system: String,
    /// One-minute load average before the first run, which shows whether the machine had
    /// other work.
    pub load: String,
    /// Whether the machine is a virtual one: a fault and a miss of the address
    /// cache cost more there.
    #[serde(default)]
    pub kind: String,
    /// Bytes of second-level cache per core, as the kernel writes it.
    #[serde(default)]
    pub second_level_cache: String,
    /// When the kernel gives huge pages: never, on request (madvise), always.
    #[serde(default)]
    pub huge_pages: String,
    /// Nanoseconds that the first write to a page takes, for the fault and for zeroing.
    #[serde(default)]
    pub page_fault_ns: f64,
}

impl Machine {
    /// The kind of machine in words; empty for data that do not have it.
    pub fn kind_in_words(&self) -> String {
        if self.kind.is_empty() {
            return String::new();
        }
        format!(
            "{}, second-level cache {}, huge pages: {}, page fault {:.0} ns",
            self.kind, self.second_level_cache, self.huge_pages, self.page_fault_ns
        )
    }
}

/// This machine, now.
pub fn describe() -> Machine {
    Machine {
        command: std::env::args()
            .skip(1)
            .fold("expert-alloc-bench".to_owned(), |line, word| line + " " + &word),
        date: output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        commit: commit(),
        compiler: output("rustc", &["--version"]),
        cpu: cpu(),
        cores: std::thread::available_parallelism().map_or(1, Into::into),
        system: output("uname", &["-sr"]),
        load: fs::read_to_string("/proc/loadavg")
            .ok()
            .and_then(|text| text.split(' ').next().map(str::to_owned))
            .unwrap_or_default(),
        kind: kind(),
        second_level_cache: line("/sys/devices/system/cpu/cpu0/cache/index2/size"),
        huge_pages: chosen(&line("/sys/kernel/mm/transparent_hugepage/enabled")).to_owned(),
        page_fault_ns: page_fault().as_secs_f64() * 1e9,
    }
}

/// The content of a file, or "unknown".
fn line(file: &str) -> String {
    fs::read_to_string(file).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// The setting in brackets, of a line of settings.
fn chosen(settings: &str) -> &str {
    let inside = settings.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or(settings, |(setting, _)| setting)
}

/// Whether the processor says that a hypervisor runs it, and the maker of the machine if
/// known.
fn kind() -> String {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let maker = line("/sys/class/dmi/id/sys_vendor");
    let mut kind = match flags.lines().find(|line| line.starts_with("flags")) {
        Some(flags) if flags.split_whitespace().any(|flag| flag == "hypervisor") => {
            "virtual machine"
        }
        Some(_) => "not virtual",
        None => "virtual or not is unknown",
    }
    .to_owned();
    if maker != "unknown" {
        kind += &format!(" ({maker})");
    }
    kind
}

/// The time of the first write to a page of a fresh mapping without huge pages: the best of
/// several mappings.
fn page_fault() -> Duration {
    const PAGE: usize = 4096;
    const PAGES: usize = 4096;
    let touch = || {
        // SAFETY: a new mapping, at an address that the system chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGES * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Duration::ZERO;
        }
        // SAFETY: the mapping is this function's own. A kernel without huge pages refuses
        // this, and then there are none.
        unsafe { libc::madvise(start, PAGES * PAGE, libc::MADV_NOHUGEPAGE) };
        let begin = thread_time();
        for page in 0..PAGES {
            // SAFETY: the offset lies in the mapping.
            let first = unsafe { start.cast::<u8>().add(page * PAGE) };
            // SAFETY: the mapping can be written, and nothing else uses it.
            unsafe { first.write_volatile(1) };
        }
        let time = thread_time() - begin;
        // SAFETY: the whole mapping, which nothing uses any more.
        unsafe { libc::munmap(start, PAGES * PAGE) };
        time / PAGES as u32
    };
    (0..7).map(|_| touch()).min().unwrap_or_default()
}

/// The commit, with a note where files differ from it.
fn commit() -> String {
    let hash = output("git", &["rev-parse", "--short=12", "HEAD"]);
    let changed = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    if changed.is_empty() { hash } else { hash + " with changes" }
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned()
}

/// The processor time that this thread has used, which does not depend on other work of the
/// machine.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a structure of this function.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The output of a program; empty if it cannot be run.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(workers::root()).output();
    output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_the_one_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("unknown"), "unknown");
    }

    #[test]
    fn a_page_fault_takes_time() {
        let time = page_fault();
        assert!(time > Duration::from_nanos(10) && time < Duration::from_millis(1), "{time:?}");
    }

    #[test]
    fn data_of_before_has_no_kind() {
        let old = r#"{"command":"","date":"","commit":"","compiler":"","cpu":"","cores":2,
            "system":"","load":""}"#;
        let machine: Machine = serde_json::from_str(old).unwrap();
        assert_eq!(machine.kind_in_words(), "");
    }
}
