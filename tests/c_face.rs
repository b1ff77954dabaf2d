//! Tests of the other C calls from outside, beside those of Network Monitor, and of the
//! ways to leave a function that is passed to a call.
#![cfg(unix)]

mod c_tools;
mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

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

#[test]
fn containers_of_cpp_live_in_an_experts_memory() {
    for standard in ["c++11", "c++20"] {
        let Some(mut build) = c_tools::cpp(standard) else { return };
        let built = work_folder().join(format!("containers-{standard}"));
        build.arg(root().join("tests/c/containers.cpp")).arg("-o").arg(&built);
        link(&mut build);
        run(&mut build);
        assert_eq!(run(&mut program(&built)).trim(), "contained");
    }
}

/// The newest name of a standard that the compiler knows, which may be a draft's.
fn known(compiler: &str, names: &[&'static str]) -> &'static str {
    let knows = |name: &&&str| {
        let mut test = Command::new(compiler);
        let language = if name.starts_with("c++") { "c++" } else { "c" };
        test.arg(format!("-std={name}")).args(["-fsyntax-only", "-x", language, "/dev/null"]);
        test.output().is_ok_and(|output| output.status.success())
    };
    names.iter().find(knows).unwrap_or_else(|| panic!("{compiler} knows none of {names:?}"))
}

/// Compiles the headers, and the example of docs/c.md, in every standard and with every
/// warning.
#[test]
fn the_headers_compile_without_a_warning() {
    let folder = work_folder();
    fs::create_dir_all(&folder).unwrap();
    let page = fs::read_to_string(root().join("docs/c.md")).unwrap();
    let example = page.split("\n```c\n").nth(1).unwrap().split("\n```").next().unwrap();
    let write = |name: &str, text: String| {
        let file = folder.join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let all: String = ["expert_alloc.h", "expert_plugin.h"]
        .map(|header| format!("#include \"{header}\"\n"))
        .concat();
    let c = [
        write("headers.c", format!("{all}int unused;\n")),
        write("example.c", format!("{example}\n")),
    ];
    let cpp = [
        write("headers.cpp", format!("#include \"expert_alloc.hpp\"\n{all}int unused;\n")),
        write("example.cpp", format!("{example}\n")),
    ];
    let newest_c = known("cc", &["c23", "c2x"]);
    let newest_cpp = known("c++", &["c++23", "c++2b"]);
    let check = |compiler: &str, standard: &str, file: &PathBuf| {
        let mut build = Command::new(compiler);
        build.args(["-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Werror"]);
        build.arg(format!("-std={standard}")).arg("-I").arg(root().join("include"));
        build.args(["-fsyntax-only".as_ref(), file.as_os_str()]);
        run(&mut build);
    };
    for standard in ["c89", "c99", "c11", "c17", newest_c] {
        c.iter().for_each(|file| check("cc", standard, file));
    }
    for standard in ["c++11", "c++14", "c++17", "c++20", newest_cpp] {
        cpp.iter().for_each(|file| check("c++", standard, file));
    }
}
