//! The standard `Allocator`, on compilers that have it: behind its feature, as in nightly
//! compilers, and stable, which is simulated by switching the feature on from outside. Each
//! builds and runs the program in `standard_program.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::package::{Package, Run};

/// A compiler that has `Allocator` without a feature. It allows nothing unstable in the
/// other crates, so they are compiled as by a stable compiler.
const STABLE_ALLOCATOR: &str = "#!/bin/sh
unset RUSTC_BOOTSTRAP
case \" $* \" in
*' --crate-name expert_alloc '* | *' --crate-name=expert_alloc '* | *' --crate-name program '*)
    RUSTC_BOOTSTRAP=1 exec \"$@\" -Zcrate-attr='feature(allocator_api)' ;;
esac
exec \"$@\"
";

const DEPENDENCIES: &str = "[features]
host = [\"expert-alloc/std\"]
gate = []
re-export = [\"allocator-api2/nightly\"]

[dependencies]
allocator-api2 = { version = \"0.2.21\", default-features = false }
expert-alloc = { version = \"0.1\", default-features = false, features = [\"allocator-api2\"] }
";

/// The way in which a compiler has the trait.
#[derive(Clone, Copy)]
enum Allocator {
    Stable,
    Gated,
}

fn run(name: &str, compiler: Allocator, features: &str) -> Run {
    let package = Package::new(name, DEPENDENCIES, include_str!("standard_program.rs"));
    let run = match compiler {
        Allocator::Stable => {
            let wrapper = package.file("compiler");
            fs::write(&wrapper, STABLE_ALLOCATOR).unwrap();
            fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
            let wrapper = wrapper.to_str().unwrap();
            package.run(&["--features", features], &[("RUSTC_WRAPPER", wrapper)])
        }
        Allocator::Gated => {
            let features = format!("gate,{features}");
            package.run(&["--features", &features], &[("RUSTC_BOOTSTRAP", "1")])
        }
    };
    assert_eq!(run.printed, "standard collections over handles: fine\n");
    run
}

const TRAIT: &str = "expert_alloc_allocator";
const GATE: &str = "expert_alloc_allocator_gate";

#[test]
fn where_the_trait_is_stable() {
    assert_eq!(run("stable", Allocator::Stable, "host").cfgs, [TRAIT]);
}

#[test]
fn where_the_trait_is_behind_its_feature() {
    assert_eq!(run("gated", Allocator::Gated, "host").cfgs, [TRAIT, GATE]);
}

/// Another crate of the build has made allocator-api2 re-export the standard trait, so
/// implementing both traits would implement one trait twice.
#[test]
fn where_allocator_api2_is_the_standard_library() {
    assert_eq!(run("stable_re_export", Allocator::Stable, "re-export").cfgs, [TRAIT]);
    assert_eq!(run("gated_re_export", Allocator::Gated, "re-export").cfgs, [TRAIT, GATE]);
}
