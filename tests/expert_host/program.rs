//! Runs the example and reads its output.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// The names of the six experts, in the order of the report.
pub const EXPERTS: [&str; 6] = [
    "protocol-distribution",
    "property-distribution",
    "protocol-coalesce",
    "tcp-retransmit",
    "top-users",
    "average-server-response-time",
];

/// The example's executable. The path of the example. `cargo test` builds examples along
/// with the tests; if only some targets were asked for, it is built here.
fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().expect("the path of this test");
        let folder = test.parent().and_then(Path::parent).expect("target/<profile>/deps");
        let name = format!("expert_host{}", std::env::consts::EXE_SUFFIX);
        let path = folder.join("examples").join(name);
        if !is_up_to_date(&path) {
            let profile = if folder.ends_with("release") { "release" } else { "test" };
            let mut build = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
            build.args(["build", "--quiet", "--profile", profile, "--example", "expert_host"]);
            assert!(build.status().expect("cargo runs").success(), "the example does not build");
        }
        path
    })
}

/// Whether the executable is there, and newer than its sources.
fn is_up_to_date(path: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let Some(built) = changed(path) else { return false };
    let mut folders = vec![PathBuf::from("src"), PathBuf::from("examples/expert_host")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if changed(&path) > Some(built) {
                return false;
            }
        }
    }
    true
}

/// The command of the example, with the target's runner if the target is another machine
/// (`.ci/targets`).
pub fn command() -> Command {
    let runner = std::env::var("CROSS_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let Some(first) = words.next() else { return Command::new(path()) };
    let mut command = Command::new(first);
    command.args(words).arg(path());
    command
}

/// Runs the example with these arguments. It must never panic itself, and must announce the
/// panic of an expert in one line.
pub fn run(arguments: &[&str]) -> Output {
    let output = command().args(arguments).output().expect("the example runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("panicked at"), "{arguments:?}: {errors}");
    assert!(!errors.contains("backtrace"), "{arguments:?}: {errors}");
    assert!(output.status.code().is_some(), "{arguments:?} died of a signal: {errors}");
    output
}

/// Runs the example with `--json` and returns its object.
pub fn json(arguments: &[&str]) -> Value {
    let mut all = vec!["--json"];
    all.extend_from_slice(arguments);
    let output = run(&all);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    parse(&output)
}

/// The object that a run with `--json` printed.
pub fn parse(output: &Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    for expert in experts(&report) {
        let figure = |name: &str| expert[name].as_u64().expect("a number");
        let back = figure("reclaimed_bytes") + figure("adopted_bytes");
        assert_eq!(back, figure("live_bytes"), "what was live comes back: {expert}");
    }
    report
}

/// The experts in a report.
pub fn experts(report: &Value) -> &[Value] {
    report["experts"].as_array().expect("a list of experts")
}

/// One expert in a report.
pub fn expert<'a>(report: &'a Value, name: &str) -> &'a Value {
    let found = experts(report).iter().find(|expert| expert["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is missing"))
}
