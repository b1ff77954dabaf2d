//! The standard `Allocator`, on compilers that have it: behind its feature, as
//! nightly compilers do, and stable, which the compiler at hand plays with the
//! feature switched on from outside. Each builds and runs the program in
//! `tests/programs/standard_allocator.rs`.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A compiler that has `Allocator` without a feature. Rust allows nothing
/// unstable in the other crates, so they are as they are with a stable compiler.
const STABLE_ALLOCATOR: &str = "#!/bin/sh
unset RUSTC_BOOTSTRAP
case \" $* \" in
*' --crate-name expert_alloc '* | *' --crate-name=expert_alloc '* | *' --crate-name program '*)
    RUSTC_BOOTSTRAP=1 exec \"$@\" -Zcrate-attr='feature(allocator_api)' ;;
esac
exec \"$@\"
";

/// How a compiler has the trait.
#[derive(Clone, Copy, PartialEq)]
enum Allocator {
    Stable,
    Gated,
}

/// Makes the program's package in a folder called `name`.
fn package(name: &str) -> PathBuf {
    let library = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("standard_allocator").join(name);
    fs::create_dir_all(&package).unwrap();
    let manifest = format!(
        "[package]
name = \"program\"
version = \"0.0.0\"
edition = \"2024\"

[[bin]]
name = \"program\"
path = {program:?}

[features]
host = [\"expert-alloc/std\"]
gate = []
re-export = [\"allocator-api2/nightly\"]

[dependencies]
allocator-api2 = {{ version = \"0.2.21\", default-features = false }}
expert-alloc = {{ path = {library:?}, default-features = false, features = [\"allocator-api2\"] }}

[workspace]
",
        program = library.join("tests/programs/standard_allocator.rs"),
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    // The versions that are here already.
    let _ = fs::copy(library.join("Cargo.lock"), package.join("Cargo.lock"));
    package
}

/// Builds and runs the program; returns the cfgs that the build script set.
fn run(name: &str, compiler: Allocator, features: &str) -> Vec<String> {
    let package = package(name);
    let mut cargo = Command::new(env!("CARGO"));
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC_BOOTSTRAP"] {
        cargo.env_remove(flags);
    }
    let features = match compiler {
        Allocator::Stable => {
            let wrapper = package.join("compiler");
            fs::write(&wrapper, STABLE_ALLOCATOR).unwrap();
            fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
            cargo.env("RUSTC_WRAPPER", wrapper);
            features.to_string()
        }
        Allocator::Gated => {
            cargo.env("RUSTC_BOOTSTRAP", "1");
            format!("gate,{features}")
        }
    };
    cargo.current_dir(&package).args(["run", "--features", &features, "--target-dir"]);
    cargo.arg(package.join("target"));
    let output = cargo.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{errors}", output.status);
    assert_eq!(output.stdout, b"standard collections over handles: fine\n");
    cfgs(&package.join("target/debug/build"))
}

/// The cfgs of this crate in the output of its build script.
fn cfgs(folder: &Path) -> Vec<String> {
    let scripts = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let ours = scripts.filter(|path| path.to_str().unwrap().contains("expert-alloc-"));
    let output = ours.filter_map(|path| fs::read_to_string(path.join("output")).ok());
    let lines: Vec<String> =
        output.flat_map(|text| text.lines().map(String::from).collect::<Vec<_>>()).collect();
    let cfg = |line: &String| line.strip_prefix("cargo:rustc-cfg=").map(String::from);
    lines.iter().filter_map(cfg).collect()
}

const TRAIT: &str = "expert_alloc_allocator";
const GATE: &str = "expert_alloc_allocator_gate";

#[test]
fn where_the_trait_is_stable() {
    assert_eq!(run("stable", Allocator::Stable, "host"), [TRAIT]);
}

#[test]
fn where_the_trait_is_behind_its_feature() {
    assert_eq!(run("gated", Allocator::Gated, "host"), [TRAIT, GATE]);
}

/// Another crate of the build has made allocator-api2 re-export the standard
/// trait: to implement both would be to implement one twice.
#[test]
fn where_allocator_api2_is_the_standard_library() {
    assert_eq!(run("stable_re_export", Allocator::Stable, "re-export"), [TRAIT]);
    assert_eq!(run("gated_re_export", Allocator::Gated, "re-export"), [TRAIT, GATE]);
}
