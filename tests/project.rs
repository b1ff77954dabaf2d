//! Fails when the documents drift from the code. It compares versions, features, files and
//! constants in README, DESIGN and changelog with those of the package.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// The features of the manifest, and the features that each turns on.
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

/// The texts between backticks.
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

/// The files below a folder whose names have this extension.
fn files(folder: &str, wanted: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Build output is not ours.
                folders.extend((!path.ends_with("target")).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == wanted) {
                found.push(path);
            }
        }
    }
    found
}

/// A screen has about 70 lines.
#[test]
fn the_readme_is_one_screen_with_the_main_job_and_the_tests() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 75, "{} lines", readme.lines().count());
    let mut commands = readme.split("\n```sh\n").skip(1).flat_map(|block| block.lines());
    assert!(commands.next().unwrap().starts_with("cargo run --release --example expert_host"));
    assert_eq!(commands.next(), Some("cargo test"));
}

/// crates.io shows the README and nothing else, and there is no repository that a link to a
/// file could lead to. So the README must have no pictures and no such links, and every file
/// that it names must be in the package.
#[test]
fn the_readme_holds_where_only_the_package_is() {
    let readme = read("README.md");
    for (_, rest) in readme.match_indices("](").map(|(place, _)| readme.split_at(place + 2)) {
        let target = rest.split(')').next().unwrap();
        assert!(target.starts_with("https://docs.rs/expert-alloc/latest/"), "{target}");
    }
    assert!(!readme.contains("![") && !readme.contains("<img"), "pictures do not show there");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["package", "--list", "--allow-dirty", "--quiet"]).current_dir(root());
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let package = String::from_utf8(output.stdout).unwrap();
    for name in quoted(&readme).filter(|name| !name.is_empty() && root().join(name).exists()) {
        let folder = format!("{}/", name.trim_end_matches('/'));
        let is_there = package.lines().any(|file| file == name || file.starts_with(&folder));
        assert!(is_there, "README.md names {name}, which is not in the package");
    }
}

/// The same holds for the pages, which docs.rs shows: links lead to items or to other
/// sites.
#[test]
fn no_page_links_to_a_file() {
    for page in files("docs", "md") {
        let text = read(&page);
        for (place, _) in text.match_indices("](") {
            let target = text[place + 2..].split(')').next().unwrap();
            let leads = target.starts_with("crate::") || target.starts_with("https://");
            assert!(leads, "{} links to {target}", page.display());
        }
    }
}

#[test]
fn the_readme_names_the_versions_of_the_manifest() {
    let readme = read("README.md");
    let rust = package("rust-version");
    for page in ["README.md", "docs/guide/features.md"] {
        assert!(read(page).contains(&format!("minimum supported Rust version is {rust}.")));
    }
    let version = package("version");
    let (compatible, _) = version.rsplit_once('.').unwrap();
    assert!(readme.contains(&format!("expert-alloc = \"{compatible}\"")));
}

#[test]
fn the_guide_lists_every_feature() {
    let page = read("docs/guide/features.md");
    let mut features = features();
    let default = features.remove("default").unwrap();
    let listed: BTreeMap<String, bool> = table(&page, "\n## Features\n")
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
    let others = ["README.md", "DESIGN.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md"];
    let others = others.map(PathBuf::from);
    for document in files("docs", "md").into_iter().chain(others) {
        let (text, document) = (read(&document), document.display());
        let names: BTreeSet<&str> = quoted(&text)
            .filter(|name| {
                ["src/", "tests/", "examples/", "benches/", "docs/", "include/", "loom/", ".ci/"]
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

/// SECURITY names the tests of its promises.
#[test]
fn every_promise_of_security_has_its_test() {
    let text = read("SECURITY.md");
    let tests: Vec<String> = files("tests", "rs").into_iter().map(read).collect();
    let exists = |name: &str| tests.iter().any(|test| test.contains(&format!("fn {name}(")));
    let promises = table(&text, "\n## What a plug-in can and cannot do\n");
    assert!(promises.len() > 8);
    for promise in promises {
        let shown: Vec<&str> = quoted(promise[1]).collect();
        assert!(!shown.is_empty(), "nothing shows: {}", promise[0]);
        for name in shown {
            assert!(exists(name), "SECURITY.md names the test {name}, which is not here");
        }
    }
}

/// Every program of tests/ is on the map, and the map has no other.
#[test]
fn the_map_of_the_tests_is_complete() {
    let map = read("tests/README.md");
    let rows = map.lines().filter(|line| line.starts_with("| `"));
    let names = rows.flat_map(|row| quoted(row.split(" | ").next().unwrap()));
    let shown: BTreeSet<String> = names.map(String::from).collect();
    let mut here = BTreeSet::new();
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs")
            || path.join("main.rs").exists()
        {
            here.insert(path.file_stem().unwrap().to_str().unwrap().to_string());
        }
    }
    assert_eq!(shown, here);
}

/// A file has one idea; a longer file has two.
#[test]
fn no_file_is_longer_than_450_lines() {
    for path in ["src", "tests", "examples", "loom"].iter().flat_map(|folder| files(folder, "rs")) {
        let is_exempt = LONG.iter().any(|long| path.starts_with(root().join(long)));
        let lines = read(&path).lines().count();
        assert!(lines <= 450 || is_exempt, "{} has {lines} lines", path.display());
    }
}

/// Folders and files that may be longer for now.
const LONG: [&str; 1] = ["tests/model/actor.rs"];

/// A word in a comment or a message that names an invariant: `SLOT2`.
fn invariants(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let parts = words.filter_map(|word| {
        let digits = word.find(|c: char| c.is_ascii_digit())?;
        Some(word.split_at(digits))
    });
    parts.filter(|(prefix, number)| {
        prefix.len() >= 3
            && prefix.bytes().all(|byte| byte.is_ascii_uppercase())
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// An invariant is known by its name alone: a prefix belongs to one file, which
/// numbers from 1 on, and every cited invariant exists. (S1 and the like are
/// duties of one function's caller.)
#[test]
fn invariants_have_prefixes_that_are_unique_in_the_crate() {
    let mut owners = BTreeMap::<String, PathBuf>::new();
    let mut known = BTreeSet::<String>::new();
    let mut cited = BTreeMap::<String, PathBuf>::new();
    for path in files("src", "rs") {
        let text = read(&path);
        let name = path.display();
        let mut numbers = BTreeMap::<String, usize>::new();
        for line in text.lines().map(str::trim_start) {
            let item =
                ["//! - ", "/// - ", "// - "].iter().find_map(|mark| line.strip_prefix(mark));
            let Some((word, _)) = item.and_then(|item| item.split_once(' ')) else { continue };
            let is_short = word.len() == 2 && !word.starts_with('S');
            let is_letter = word.starts_with(|c: char| c.is_ascii_uppercase());
            assert!(
                !(is_short && is_letter && word.ends_with(|c: char| c.is_ascii_digit())),
                "{name}: {word} has no prefix of its own"
            );
            let Some((prefix, number)) = invariants(word).next() else { continue };
            let next = numbers.entry(prefix.to_string()).or_insert(0);
            *next += 1;
            assert_eq!(number.parse(), Ok(*next), "{name}: {word} is out of order");
            let owner = owners.entry(prefix.to_string()).or_insert_with(|| path.clone());
            assert_eq!(owner, &path, "{prefix} is the prefix of two files");
            known.insert(word.to_string());
        }
    }
    assert!(owners.len() > 10, "{owners:?}");
    for path in ["src", "tests", "loom/src"].iter().flat_map(|folder| files(folder, "rs")) {
        for (prefix, number) in invariants(&read(&path)) {
            if owners.contains_key(prefix) {
                cited.insert(format!("{prefix}{number}"), path.clone());
            }
        }
    }
    for (word, path) in cited {
        assert!(known.contains(&word), "{} cites {word}, which is nowhere", path.display());
    }
}

/// Each page is a part of the documentation, or another document names it.
#[test]
fn every_page_can_be_reached() {
    let guide = read("src/guide.rs");
    let readers = ["README.md", "DESIGN.md", "CONTRIBUTING.md", "SECURITY.md"].map(read).concat();
    for page in files("docs", "md") {
        let name = page.strip_prefix(root()).unwrap().to_str().unwrap().to_string();
        let is_included = guide.contains(&format!("include_str!(\"../{name}\")"));
        assert!(is_included || readers.contains(&name), "no one is led to {name}");
    }
}

/// `benches` is not in the package, and the documentation shows its pictures.
#[test]
fn the_pictures_are_those_of_the_benchmarks() {
    let pictures = files("docs/pictures", "svg");
    assert!(pictures.len() >= 4);
    for picture in pictures {
        let drawn = Path::new("benches/results").join(picture.file_name().unwrap());
        assert!(read(&picture) == read(&drawn), "copy {} to docs/pictures", drawn.display());
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

/// The table of reads without a lock: its last column names the windows, and is the list of
/// all there are. Each is in one place of the code, so that its count is that of the place.
#[test]
fn the_design_names_the_windows_of_every_read_without_a_lock() {
    let design = read("DESIGN.md");
    let rows = table(&design, "\n## Reads without a lock, and why they are right\n");
    let is_named = |cell: &&str| cell.starts_with('`') || cell.starts_with("none: ");
    let without: Vec<_> = rows.iter().filter(|row| !is_named(&row[4])).map(|row| row[0]).collect();
    assert!(rows.len() > 30 && without.is_empty(), "without a window, or a reason: {without:?}");
    let cells = rows.iter().map(|row| row[4]).filter(|cell| cell.starts_with('`'));
    let named = cells.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`'));
    let named: BTreeSet<_> = named.collect();
    let source = read("src/sync.rs");
    let (_, list) = source.split_once("\nwindows! {\n").expect("the list of windows");
    let (list, _) = list.split_once("\n}\n").expect("its end");
    let lines = list.lines().filter_map(|line| line.trim().strip_suffix(','));
    let listed: BTreeSet<_> = lines.filter(|line| !line.contains(' ')).collect();
    assert_eq!(named, listed);
    // The unit test of the waits is in the file of the list.
    let mut paths = files("src", "rs");
    paths.retain(|path| !path.ends_with("src/sync.rs"));
    let code: String = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let code = code.replace("crate::sync::delay(crate::sync::Window::", "delay(Window::");
    for name in listed {
        let places = code.matches(&format!("delay(Window::{name})")).count();
        assert_eq!(places, 1, "places of {name}");
    }
}

/// The table of invariants in DESIGN: file, prefix.
#[test]
fn the_design_names_the_prefix_of_every_file_with_invariants() {
    let design = read("DESIGN.md");
    let rows = table(&design, "\n## Who owns which invariant\n");
    assert!(rows.len() > 20);
    for row in rows {
        let file = row[0].trim_matches('`');
        let first = format!("- {}1 ", row[1]);
        assert!(read(file).contains(&first), "{file} has no invariant {}1", row[1]);
    }
}

#[test]
fn every_file_says_what_it_is_and_none_is_a_stub() {
    // The words are put together here, so this file does not find itself.
    let stubs = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let skipped = ["[ig", "nore"].concat();
    for folder in ["src", "tests", "examples"] {
        for path in files(folder, "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.display();
            assert!(text.starts_with("//!") || text.starts_with("#!["), "{name} has no module doc");
            assert!(!stubs.iter().any(|stub| text.contains(stub.as_str())), "{name} has a stub");
            assert!(!text.contains(&skipped), "{name} skips a test");
        }
    }
}
