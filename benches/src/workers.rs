//! Builds the workers, one after the other, and keeps each under its name in
//! `target/workers`, because Cargo would overwrite one with the next.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::before;
use crate::groups::Row;

/// A program to build, which measures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Worker {
    /// `bench-worker` or `bench-programs`.
    pub package: &'static str,
    /// Its features; the first is the global allocator.
    pub features: Vec<&'static str>,
    /// Options for the C compiler. A build with options has a target directory of its own,
    /// because a library built with other options must not be reused.
    pub c_flags: &'static str,
    /// Whether it has the library as it was at the commit to compare with.
    pub before: bool,
}

impl Worker {
    /// A worker on this allocator.
    pub fn on(feature: &'static str) -> Self {
        Self { package: "bench-worker", features: vec![feature], c_flags: "", before: false }
    }

    /// The same with another feature.
    pub fn with(mut self, feature: &'static str) -> Self {
        self.features.push(feature);
        self
    }

    /// Whether expert-alloc is in it.
    pub fn is_ours(&self) -> bool {
        self.features.iter().any(|feature| matches!(*feature, "expert" | "small-expert"))
    }

    /// The cargo profile that it is built with.
    fn profile(&self) -> &'static str {
        if self.package == "bench-programs" { "programs" } else { "release" }
    }

    /// Where it is after the build.
    pub fn path(&self) -> PathBuf {
        let before = if self.before { "-before" } else { "" };
        let name = format!("{}-{}{before}", self.package, self.features.join("+"));
        target().join("workers").join(name)
    }

    fn build(&self) -> Result<(), String> {
        let mut directory = target();
        let mut manifest = root().to_owned();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        if !self.c_flags.is_empty() {
            directory.push("with-c-flags");
            cargo.env("CFLAGS", self.c_flags);
        }
        if self.before {
            directory.push("with-before");
            manifest = before::directory().join("benches");
        }
        cargo
            .args(["build", "--quiet", "--profile", self.profile(), "--package", self.package])
            .args(["--no-default-features", "--features", &self.features.join(",")])
            .arg("--manifest-path")
            .arg(manifest.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&directory);
        let status = cargo.status().map_err(|error| format!("cannot run cargo: {error}"))?;
        if !status.success() {
            return Err(format!(
                "{} with {} does not build",
                self.package,
                self.features.join(", ")
            ));
        }
        let built = directory.join(self.profile()).join(self.package);
        let kept = self.path();
        let copied = fs::create_dir_all(kept.parent().expect("it is in a directory"))
            .and_then(|()| fs::copy(&built, &kept));
        copied.map(drop).map_err(|error| format!("cannot copy {}: {error}", built.display()))
    }
}

/// The directory of the benchmark package.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder that everything is built in.
pub fn target() -> PathBuf {
    root().join("target")
}

/// Builds the programs that `rows` run.
pub fn build<'r>(rows: impl Iterator<Item = &'r Row>) -> Result<(), String> {
    let workers: BTreeSet<&Worker> =
        rows.flat_map(|row| &row.jobs).map(|job| &job.worker).collect();
    for worker in workers {
        let before = if worker.before { before::BEFORE } else { "" };
        let features = worker.features.join(", ");
        eprint!("\r\x1b[Kbuilding {} ({features}{before})", worker.package);
        worker.build()?;
    }
    eprint!("\r\x1b[K");
    Ok(())
}
