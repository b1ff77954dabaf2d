//! The library as it is installed: its names, its version, and programs that are
//! linked with what pkg-config says, with the shared object and without.
#![cfg(target_os = "linux")]

mod c_tools;
mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use c_tools::{cc, program, root, run, target, work_folder};

/// The calls that the headers declare, those of plug-ins excepted.
fn documented() -> BTreeSet<String> {
    let headers = ["expert_alloc.h", "expert_plugin.h"]
        .map(|name| fs::read_to_string(root().join("include").join(name)).unwrap());
    let code: String = headers.iter().map(|text| c_tools::without_comments(text)).collect();
    let name = |part: &str| {
        let (before, after) = part.split_once("WINAPI Expert")?;
        let (name, _) = after.split_once('(')?;
        (!before.contains("EXPERT_EXPORT")).then(|| format!("Expert{name}"))
    };
    code.split(';').filter_map(name).collect()
}

/// The prefix in which `install-c` has installed the library, once.
fn installed() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = work_folder().join("installed");
        let mut install = Command::new(root().join("install-c"));
        run(install.arg(&prefix).env("CARGO_TARGET_DIR", work_folder()));
        prefix
    })
}

/// The output of pkg-config for the library below the prefix.
fn pkg_config(arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args(arguments).arg("expert_alloc");
    command.env("PKG_CONFIG_PATH", installed().join("lib/pkgconfig"));
    run(&mut command).split_whitespace().map(String::from).collect()
}

/// `readelf` and the like belong to the compiler, but pkg-config does not.
fn has_tools() -> bool {
    target().is_none() && Command::new("pkg-config").arg("--version").output().is_ok()
}

#[test]
fn the_shared_object_exports_the_documented_names_only() {
    let object = c_tools::shared_object().join("libexpert_alloc.so");
    let listed = run(Command::new("nm").args(["-D", "--defined-only"]).arg(object));
    let exported: BTreeSet<String> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .map(String::from)
        .collect();
    assert!(exported.len() > 20);
    assert_eq!(exported, documented());
}

#[test]
fn the_shared_object_has_a_name_with_its_version() {
    let object = c_tools::shared_object().join("libexpert_alloc.so");
    let dynamic = run(Command::new("readelf").arg("-d").arg(object));
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    assert!(dynamic.contains(&format!("soname: [libexpert_alloc.so.{major}]")), "{dynamic}");
    let header = fs::read_to_string(root().join("include/expert_alloc.h")).unwrap();
    for (part, number) in [
        ("MAJOR", major),
        ("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        ("PATCH", env!("CARGO_PKG_VERSION_PATCH")),
    ] {
        assert!(header.contains(&format!("#define EXPERT_ALLOC_VERSION_{part} {number}\n")));
    }
}

#[test]
fn programs_are_linked_as_pkg_config_says() {
    if !has_tools() {
        return;
    }
    assert_eq!(pkg_config(&["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    let build = |name: &str, arguments: Vec<String>| {
        let built = work_folder().join(name);
        let mut build = cc();
        build.arg(root().join("tests/c/whole.c")).arg("-o").arg(&built).args(arguments);
        run(&mut build);
        built
    };
    let shared = build("linked-shared", pkg_config(&["--cflags", "--libs"]));
    let mut run_shared = program(&shared);
    run_shared.env("LD_LIBRARY_PATH", installed().join("lib"));
    assert_eq!(run(&mut run_shared).trim(), "the face is whole");

    let mut arguments = pkg_config(&["--cflags", "--libs", "--static"]);
    for argument in &mut arguments {
        if argument == "-lexpert_alloc" {
            *argument = "-l:libexpert_alloc.a".into();
        }
    }
    let linked = build("linked-static", arguments);
    assert_eq!(run(&mut program(&linked)).trim(), "the face is whole");
    let needs = run(Command::new("readelf").arg("-d").arg(&linked));
    assert!(!needs.contains("libexpert_alloc"), "{needs}");
}
