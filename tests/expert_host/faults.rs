//! Experts that go wrong: the effects on them, on their memory, and on the
//! others.

use serde_json::Value;

use crate::captures;
use crate::program::{self, EXPERTS, expert, experts};

/// The three ways to go wrong, and the word of the report for each.
const FAULTS: [(&str, &str); 3] =
    [("--fail", "failed"), ("--overrun", "over-quota"), ("--terminate", "terminated")];

/// Runs `arguments` with every fault of every expert, and compares with a run without
/// faults.
fn every_fault(arguments: &[&str]) {
    let sound = program::json(arguments);
    for (option, outcome) in FAULTS {
        for name in EXPERTS {
            let mut all = arguments.to_vec();
            all.extend([option, name]);
            let report = program::json(&all);
            assert_eq!(report["frames"], sound["frames"]);
            assert_eq!(report["malformed"], sound["malformed"]);
            check(&report, &sound, name, outcome);
        }
    }
}

/// Checks that `name` ended with `outcome` and without a result, and that all others are as
/// in `sound`.
fn check(report: &Value, sound: &Value, name: &str, outcome: &str) {
    for other in EXPERTS {
        let (found, before) = (expert(report, other), expert(sound, other));
        if other == name {
            assert_eq!(found["outcome"], outcome, "{found}");
            assert!(found["result"].is_null(), "{found}");
            assert!(found["message"].is_string(), "{found}");
        } else {
            assert_eq!(found["outcome"], "finished", "{found}");
            assert_eq!(found["result"], before["result"], "{other} beside {name}: {outcome}");
        }
    }
    let found = expert(report, name);
    let quota = found["quota"].as_u64().expect("a quota");
    let peak = found["peak_bytes"].as_u64().expect("a peak");
    if outcome == "over-quota" {
        // A piece is 256 KiB, so the refused piece did not fit.
        assert!(peak + (512 << 10) > quota, "it really took what it could get: {found}");
        let live = found["live_bytes"].as_u64();
        assert!(live > Some(quota / 2), "and kept it: {found}");
    }
    let is_ambient = ["tcp-retransmit", "average-server-response-time"].contains(&name);
    if !is_ambient {
        assert!(peak <= quota, "explicit memory never passes the quota: {found}");
        assert_eq!(found["adopted_bytes"], 0, "nothing ambient, nothing adopted: {found}");
    }
}

#[test]
fn on_made_up_traffic() {
    every_fault(&["--top", "0", "--frames", "10000", "--quota", "8"]);
}

#[test]
fn on_no_traffic_at_all() {
    every_fault(&["--frames", "0", "--quota", "4"]);
}

#[test]
fn on_a_single_frame() {
    every_fault(&["--frames", "1", "--quota", "4"]);
}

/// Runs only if there is a folder of captures.
#[test]
fn on_real_captures() {
    for path in captures::real() {
        every_fault(&["--top", "0", "--quota", "16", path.to_str().expect("a path in UTF-8")]);
    }
}

#[test]
fn a_failed_expert_leaves_what_it_had_half_way() {
    for name in EXPERTS {
        let sound = program::json(&["--frames", "5000"]);
        let failed = program::json(&["--frames", "10000", "--fail", name]);
        let live = |report: &Value| expert(report, name)["live_bytes"].as_u64();
        // At the end of a capture of half the frames all messages are complete; half-way
        // through the whole capture, some are unfinished.
        assert!(live(&failed) >= live(&sound), "{name}");
        assert!(live(&failed) > Some(0), "{name}");
    }
}

/// Every batch of frames takes at least one allocation of an expert, so it can notice that
/// it must stop.
#[test]
fn who_goes_wrong_does_so_half_way() {
    let sound = program::json(&["--quota", "4", "--frames", "60000"]);
    let allocations = |report: &Value| expert(report, "top-users")["allocations"].as_u64();
    let all = allocations(&sound).expect("a number");
    for option in ["--fail", "--terminate"] {
        let report = program::json(&["--quota", "4", "--frames", "60000", option, "top-users"]);
        let some = allocations(&report).expect("a number");
        assert!(some < all * 3 / 4, "{option}: {some} of {all}");
        assert!(option == "--terminate" || some > all / 4, "{option}: {some} of {all}");
    }
}

#[test]
fn all_may_fail_at_once() {
    for (option, outcome) in FAULTS {
        let all = EXPERTS.join(",");
        let report = program::json(&["--frames", "3000", "--quota", "4", option, &all]);
        assert_eq!(report["frames"], 3000, "the host reads on");
        assert!(experts(&report).iter().all(|expert| expert["outcome"] == outcome), "{report}");
    }
}

#[test]
fn three_faults_in_one_run() {
    let arguments = ["--top", "0", "--frames", "5000", "--quota", "4"];
    let sound = program::json(&arguments);
    let mut all = arguments.to_vec();
    all.extend(["--fail", "top-users", "--overrun", "tcp-retransmit"]);
    all.extend(["--terminate", "protocol-coalesce"]);
    let report = program::json(&all);
    let outcomes: Vec<&Value> = experts(&report).iter().map(|expert| &expert["outcome"]).collect();
    assert_eq!(
        outcomes,
        ["finished", "finished", "terminated", "over-quota", "failed", "finished"]
    );
    for name in ["protocol-distribution", "property-distribution", "average-server-response-time"] {
        assert_eq!(expert(&report, name)["result"], expert(&sound, name)["result"]);
    }
}

/// Protocol Coalesce needs more than a megabyte for this, without any fault.
#[test]
fn a_quota_too_small_stops_only_whom_it_concerns() {
    let report = program::json(&["--top", "0", "--quota", "1"]);
    let sound = program::json(&["--top", "0"]);
    check(&report, &sound, "protocol-coalesce", "over-quota");
}

#[test]
fn a_panic_is_announced_in_one_line_on_standard_error() {
    let output = program::run(&["--frames", "2000", "--fail", "top-users"]);
    assert_eq!(output.status.code(), Some(0));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors.trim_end(), "expert_host: expert top-users panicked: asked to fail half-way");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("top-users: failed\n  no result: asked to fail half-way"), "{text}");
}

#[test]
fn the_tables_name_every_expert_and_its_outcome() {
    let output = program::run(&["--frames", "2000", "--fail", "top-users"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, tables) = text.split_once("memory in bytes").expect("the table of memory");
    for column in ["live", "peak", "charged", "quota", "allocations", "outcome", "adopted bytes"] {
        assert!(tables.contains(column), "{column}: {tables}");
    }
    for name in EXPERTS {
        let rows: Vec<&str> = tables.lines().filter(|line| line.contains(name)).collect();
        let outcome = if name == "top-users" { "failed" } else { "finished" };
        assert_eq!(rows.len(), 2, "{name}: {tables}");
        assert!(rows.iter().all(|row| row.contains(outcome)), "{name}: {rows:?}");
    }
}

#[test]
fn the_json_object_has_the_promised_shape() {
    let report = program::json(&["--frames", "1000", "--fail", "tcp-retransmit"]);
    assert!(report["capture"].is_string());
    assert_eq!((&report["frames"], experts(&report).len()), (&1000.into(), 6));
    assert!(report["malformed"].is_u64());
    for (expert, name) in experts(&report).iter().zip(EXPERTS) {
        assert_eq!(expert["name"], name);
        assert!(expert["outcome"].is_string());
        assert_eq!(expert["result"].is_object(), expert["outcome"] == "finished");
        for figure in [
            "live_bytes",
            "peak_bytes",
            "charged_bytes",
            "quota",
            "allocations",
            "reclaimed_bytes",
            "reclaimed_blocks",
            "adopted_bytes",
        ] {
            assert!(expert[figure].is_u64(), "{figure}: {expert}");
        }
        assert_eq!(expert["quota"], 64 << 20);
    }
}
