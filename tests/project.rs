//! Fails when the documents drift from the code: what the README, DESIGN and
//! the changelog say of versions, features, files and constants is compared
//! with what the package has.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value of `key` in the `[package]` table of the manifest.
fn package(key: &str) -> String {
    let manifest = read("Cargo.toml");
    let table = manifest.split("\n[").next().unwrap();
    let line = table.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {key}")).trim().trim_matches('"').to_string()
}

/// The features of the manifest, and what each turns on.
fn features() -> BTreeMap<String, String> {
    let manifest = read("Cargo.toml");
    let (_, table) = manifest.split_once("\n[features]\n").unwrap();
    let lines = table.split("\n[").next().unwrap().lines();
    let feature = |line: &str| {
        let (name, turns_on) = line.split_once(" = ")?;
        (!line.starts_with('#')).then(|| (name.to_string(), turns_on.to_string()))
    };
    lines.filter_map(feature).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of the table below a heading, split into cells.
fn table<'t>(text: &'t str, heading: &str) -> Vec<Vec<&'t str>> {
    let (_, section) = text.split_once(heading).unwrap_or_else(|| panic!("no {heading}"));
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The files below a folder whose name ends in `.rs`.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What was built there is not ours.
                folders.extend((!path.ends_with("target")).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn the_first_commands_are_the_main_job_and_the_tests() {
    let readme = read("README.md");
    let first = readme.split("```").nth(1).unwrap();
    assert_eq!(first, "sh\ncargo run --release --example expert_host\ncargo test\n");
}

#[test]
fn the_readme_names_the_versions_of_the_manifest() {
    let readme = read("README.md");
    let rust = package("rust-version");
    assert!(readme.contains(&format!("minimum supported Rust version is {rust}.")));
    let version = package("version");
    let (compatible, _) = version.rsplit_once('.').unwrap();
    assert!(readme.contains(&format!("expert-alloc = \"{compatible}\"")));
}

#[test]
fn the_readme_lists_every_feature() {
    let readme = read("README.md");
    let mut features = features();
    let default = features.remove("default").unwrap();
    let listed: BTreeMap<String, bool> = table(&readme, "\n## Features\n")
        .iter()
        .map(|row| (row[0].trim_matches('`').to_string(), row[1] == "yes"))
        .collect();
    let is_default = |name: &String| default.contains(&format!("\"{name}\""));
    let expected: BTreeMap<String, bool> =
        features.keys().map(|name| (name.clone(), is_default(name))).collect();
    assert_eq!(listed, expected);
}

#[test]
fn every_feature_has_its_comment() {
    let manifest = read("Cargo.toml");
    let lines: Vec<&str> = manifest.lines().collect();
    for name in features().keys().filter(|name| *name != "default") {
        let place = lines.iter().position(|line| line.starts_with(&format!("{name} = "))).unwrap();
        assert!(lines[place - 1].starts_with("# "), "feature {name} is not explained");
    }
}

#[test]
fn the_changelog_knows_the_version() {
    let changelog = read("CHANGELOG.md");
    let heading = format!("\n## [{}]", package("version"));
    assert!(changelog.contains(&heading) || changelog.contains("\n## [Unreleased]\n"));
}

#[test]
fn the_licences_are_here() {
    assert_eq!(package("license"), "MIT OR Apache-2.0");
    assert!(read("LICENSE-MIT").contains("Permission is hereby granted"));
    assert!(read("LICENSE-APACHE").contains("Version 2.0, January 2004"));
}

#[test]
fn files_that_the_documents_name_exist() {
    for document in ["README.md", "DESIGN.md"] {
        let text = read(document);
        let names: BTreeSet<&str> = quoted(&text)
            .filter(|name| {
                ["src/", "tests/", "examples/", "benches/", "include/", "loom/", "docs/", ".ci/"]
                    .iter()
                    .any(|folder| name.starts_with(folder))
            })
            .filter(|name| !name.contains(char::is_whitespace))
            .collect();
        for name in names {
            assert!(root().join(name).exists(), "{document} names {name}, which is not here");
        }
    }
}

/// The table of constants in DESIGN: name, value as in the source, file.
#[test]
fn constants_that_the_design_names_have_these_values() {
    let design = read("DESIGN.md");
    let rows = table(&design, "\n### Constants\n");
    assert!(rows.len() > 5);
    for row in rows {
        let [name, value, file] = [row[0], row[1], row[2]].map(|cell| cell.trim_matches('`'));
        let source = read(file);
        let found = source.lines().any(|line| {
            let line = line.trim_start().trim_start_matches("pub ");
            let line = line.trim_start_matches("pub(crate) ").strip_prefix("const ");
            line.and_then(|line| line.strip_prefix(name))
                .is_some_and(|line| line.starts_with(':') && line.ends_with(&format!("= {value};")))
        });
        assert!(found, "{file} has no `const {name}: … = {value};`");
    }
}

#[test]
fn every_file_says_what_it_is_and_none_is_a_stub() {
    // Put together here, so that this file does not find itself.
    let stubs = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let skipped = ["[ig", "nore"].concat();
    for folder in ["src", "tests", "examples"] {
        for path in rust_files(folder) {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.display();
            assert!(text.starts_with("//!") || text.starts_with("#!["), "{name} has no module doc");
            assert!(!stubs.iter().any(|stub| text.contains(stub.as_str())), "{name} has a stub");
            assert!(!text.contains(&skipped), "{name} skips a test");
        }
    }
}
