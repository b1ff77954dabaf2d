//! What a measurement is worth nothing without: machine, compiler, commit,
//! date, command.

use std::fs;
use std::process::Command;

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
    /// One-minute load average before the first run: how busy others kept the
    /// machine.
    pub load: String,
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
    }
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

/// What a program prints, or nothing where it cannot be run.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(workers::root()).output();
    output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
