//! The engine as a user runs it: it checks its own answers, and ends well.

use std::process::Command;

#[test]
fn one_query_too_many_is_stopped_and_the_others_answer_as_alone() {
    let output = Command::new(env!("CARGO_BIN_EXE_query_engine")).output().unwrap();
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}{errors}");
    let last = printed.lines().last().unwrap();
    assert!(last.starts_with("12 answers as alone; greedy stopped at "), "{printed}");
    let greedy = printed.lines().find(|line| line.starts_with("greedy ")).unwrap();
    assert!(greedy.contains("reclaimed 0 blocks"), "{printed}");
    let why = printed.lines().find(|line| line.starts_with("greedy: ")).unwrap();
    let reason = "greedy: stopped: over its quota (greedy: 8.";
    assert!(why.starts_with(reason) && why.contains("; most is held by greedy (8."), "{why}");
}
