//! The engine as a user runs it: it checks its own answers, and ends well.

use std::process::Command;

#[test]
fn four_queries_too_many_are_dealt_with_and_the_others_answer_as_alone() {
    let output = Command::new(env!("CARGO_BIN_EXE_datafusion_engine")).output().unwrap();
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}{errors}");
    let last = printed.lines().last().unwrap();
    assert_eq!(last, "16 answers as alone; three stopped or refused, one spilled", "{printed}");
    let stopped = printed.lines().find(|line| line.starts_with("collects: ")).unwrap();
    assert!(
        stopped.contains("over its quota") && stopped.contains("held by collects"),
        "{stopped}"
    );
    let refused = printed.lines().find(|line| line.starts_with("builds: ")).unwrap();
    assert!(refused.contains("asks for") && refused.contains("held by builds"), "{refused}");
}
