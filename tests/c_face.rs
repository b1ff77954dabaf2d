//! The rest of the C face from outside: what it has beside the calls of Network
//! Monitor, and what may leave a function that a call was given.
#![cfg(unix)]

mod c_tools;
mod common;

use c_tools::{cc, link, program, root, run, work_folder};

/// Builds and runs a C program of `tests/c`.
fn c_program(name: &str) -> String {
    let built = work_folder().join(name);
    let mut build = cc();
    build.arg(root().join(format!("tests/c/{name}.c"))).arg("-o").arg(&built);
    link(&mut build);
    build.args(["-lpthread", "-ldl"]);
    run(&mut build);
    run(&mut program(&built))
}

#[test]
fn the_face_is_whole() {
    assert_eq!(c_program("whole").trim(), "the face is whole");
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
fn whatever_leaves_a_clean_up_nothing_is_lost() {
    let Some(mut build) = c_tools::cpp("c++11") else { return };
    let built = work_folder().join("leaves");
    build.arg(root().join("tests/c/leaves.cpp")).arg("-o").arg(&built);
    link(&mut build);
    build.arg("-lpthread");
    run(&mut build);
    assert_eq!(run(&mut program(&built)).trim(), "nothing is lost");
}
