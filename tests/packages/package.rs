//! Packages that tests make, build and run, like those of users, with features and
//! compilers of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The folder of this crate.
pub fn library() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A package with one program, in the folder for the output of tests.
pub struct Package {
    folder: PathBuf,
}

/// The output of a program, and the cfgs that this crate's build script set.
#[cfg_attr(not(unix), allow(dead_code, reason = "asked for on Unix only"))]
pub struct Run {
    pub printed: String,
    pub cfgs: Vec<String>,
}

impl Package {
    /// Makes the package `name`, with the given lines after `[package]` in its manifest,
    /// and the given source of its program.
    pub fn new(name: &str, manifest: &str, program: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages").join(name);
        fs::create_dir_all(folder.join("src")).unwrap();
        let package = format!(
            "[package]\nname = \"program\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n{manifest}\n\
             [patch.crates-io]\nexpert-alloc = {{ path = {:?} }}\n\n[workspace]\n",
            library()
        );
        fs::write(folder.join("Cargo.toml"), package).unwrap();
        fs::write(folder.join("src/main.rs"), program).unwrap();
        // The lock file keeps the versions that are already here.
        let _ = fs::copy(library().join("Cargo.lock"), folder.join("Cargo.lock"));
        Self { folder }
    }

    /// A file of the package.
    #[cfg_attr(not(unix), allow(dead_code, reason = "asked for on Unix only"))]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Builds and runs the program; panics with the compiler's errors if that fails.
    /// `arguments` are Cargo's.
    pub fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Run {
        let mut cargo = Command::new(env!("CARGO"));
        // The flags of the tests' own build are not for this package.
        for flags in
            ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC_BOOTSTRAP"]
        {
            cargo.env_remove(flags);
        }
        cargo.current_dir(&self.folder).envs(environment.iter().copied());
        cargo.args(["run", "--message-format=json-render-diagnostics"]).args(arguments);
        let output = cargo.arg("--target-dir").arg(self.folder.join("target")).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {}\n{errors}", self.folder.display(), output.status);
        read(&String::from_utf8(output.stdout).unwrap())
    }
}

/// Splits the output: Cargo prints a line of JSON for each step, and then comes the
/// program's output.
fn read(stdout: &str) -> Run {
    let is_step = |line: &str| line.starts_with("{\"reason\":");
    let steps = stdout.lines().filter(|line| is_step(line));
    let steps = steps.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ours = |step: &Value| {
        let id = step["package_id"].as_str().unwrap_or_default();
        step["reason"] == "build-script-executed" && id.contains("expert-alloc")
    };
    let cfgs = steps.filter(ours).flat_map(|step| step["cfgs"].as_array().cloned().unwrap());
    let cfgs = cfgs.map(|cfg| cfg.as_str().unwrap().to_string()).collect();
    let printed = stdout.lines().filter(|line| !is_step(line)).map(|line| format!("{line}\n"));
    Run { printed: printed.collect(), cfgs }
}
