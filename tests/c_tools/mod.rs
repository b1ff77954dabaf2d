//! Shared code of the tests of the C calls: the shared object, and compilers for the
//! programs that use it.

#![allow(dead_code, reason = "each test uses some of it")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

/// Runs a command that must succeed, and returns its output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, text(&output.stderr));
    text(&output.stdout)
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn work_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("c-contract")
}

/// The C compiler, with strict warnings.
pub fn cc() -> Command {
    let mut cc = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(env::var("CFLAGS").unwrap_or_default().split_whitespace());
    cc.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-fexceptions"]);
    cc.arg("-I").arg(root().join("include"));
    cc
}

/// Builds the shared object, once, and returns its folder.
pub fn shared_object() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = work_folder();
        fs::create_dir_all(&folder).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(root())
            .args(["rustc", "--release", "--lib", "--crate-type", "cdylib", "--features", "capi"])
            .arg("--target-dir")
            .arg(&folder);
        let built = match target() {
            Some(target) => {
                cargo.args(["-Zbuild-std", "--target", &target]);
                folder.join(target)
            }
            None => folder,
        };
        run(&mut cargo);
        built.join("release")
    })
}

/// The target, if it is not the machine itself (`.ci/targets`).
pub fn target() -> Option<String> {
    env::var("CROSS_TARGET").ok()
}

/// Runs a program that was built here, with the runner of the target's programs.
pub fn program(path: &Path) -> Command {
    let runner = env::var("CROSS_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace().map(OsStr::new).chain([path.as_os_str()]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    // Cargo's path would come before the linked one, and may hold an older build.
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// Links the command's output with the shared object.
pub fn link(compiler: &mut Command) {
    let libraries = shared_object();
    compiler.arg("-L").arg(libraries).arg("-lexpert_alloc");
    compiler.arg(format!("-Wl,-rpath,{}", libraries.display()));
}

/// The C++ compiler, with strict warnings, if there is one.
pub fn cpp(standard: &str) -> Option<Command> {
    // A cross compiler for C may not compile C++, and another target's headers are not
    // always where the compiler looks.
    if target().is_some() && env::var_os("CXX").is_none() {
        return None;
    }
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    Command::new(&compiler).arg("--version").output().ok()?;
    let mut cpp = Command::new(compiler);
    cpp.args(env::var("CFLAGS").unwrap_or_default().split_whitespace());
    cpp.arg(format!("-std={standard}"));
    cpp.args(["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-O1", "-I"]);
    cpp.arg(root().join("include"));
    Some(cpp)
}

/// C code without its comments.
pub fn without_comments(text: &str) -> String {
    let mut parts = text.split("/*");
    let first = parts.next().unwrap_or_default().to_string();
    parts.filter_map(|part| part.split_once("*/")).fold(first, |text, (_, code)| text + code)
}
