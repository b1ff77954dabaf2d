//! The shims against the real libraries: Lua, SQLite and zlib, where they are installed.
#![cfg(target_os = "linux")]

mod c_tools;
mod common;

use std::process::Command;

use c_tools::{cc, link, program, root, run, target, work_folder};

/// The arguments of compiler and linker for a library, if it is there.
fn installed(library: &str) -> Option<Vec<String>> {
    if target().is_some() {
        return None;
    }
    let said = Command::new("pkg-config").args(["--cflags", "--libs", library]).output().ok()?;
    let flags = String::from_utf8_lossy(&said.stdout).into_owned();
    let flags = flags.split_whitespace().map(String::from).collect();
    said.status.success().then_some(flags)
}

/// Builds and runs the test of a shim. If the library is missing, it prints that; `./check
/// plugins` reports it as not run.
fn shim(name: &str, library: &str) {
    let Some(flags) = installed(library) else {
        println!("not run: {library} is not installed");
        return;
    };
    let built = work_folder().join(format!("shim-{name}"));
    let mut build = cc();
    build.arg(root().join(format!("tests/c/shims/{name}.c"))).arg("-o").arg(&built);
    link(&mut build);
    build.args(flags);
    run(&mut build);
    assert_eq!(run(&mut program(&built)).trim(), name);
}

#[test]
fn a_lua_state_is_an_experts() {
    shim("lua", "lua5.4");
}

#[test]
fn sqlite_is_an_experts() {
    shim("sqlite", "sqlite3");
}

#[test]
fn a_zlib_stream_is_an_experts() {
    shim("zlib", "zlib");
}
