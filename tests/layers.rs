//! Fails when a layer reaches up: reads what every file of `src` names, and
//! compares it with the table below, which is the only place where the layers
//! are written down as data.
//!
//! It reads tokens, not types: every path that begins with `crate`, `super` or
//! `self` is resolved to the top-level module it leads to. Comments and strings
//! are left out, so a doc comment may point anywhere.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Every top-level module, from the bottom up, and the modules that it may
/// use. A module that is not here fails the test until it is given a place.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("sync", &[]),
    ("wait", &["sync"]),
    ("lock", &["sync", "wait"]),
    ("key", &[]),
    ("account", &["sync"]),
    ("engine", &["account", "error", "key"]),
    ("source", &["sync"]),
    ("heap", &["account", "engine", "error", "key", "lock", "source", "sync", "wait"]),
    ("fixed", &["account", "engine", "error", "key", "sync"]),
    ("expert", &["account", "engine", "error", "key", "sync"]),
    ("api", &["account", "engine", "error", "expert", "fixed", "heap", "key", "sync"]),
    // Pages of the documentation, without code.
    ("guide", &[]),
    // A window for this crate's own tests; being last, it is used by no layer.
    ("testing", &["api", "expert", "heap", "key", "source", "sync"]),
];

/// Edges that no change of the table may allow: the page source never sees
/// owners; owners and quotas never see memory; the engines do not know each
/// other.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("source", &["account", "engine", "expert", "key"]),
    ("account", &["engine", "fixed", "heap", "key", "source"]),
    ("expert", &["fixed", "heap", "source"]),
    ("heap", &["fixed"]),
    ("fixed", &["heap"]),
];

/// A use of one module by another, and where it was found.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: String,
    to: String,
    file: String,
    line: usize,
}

/// A word or sign of Rust source, with its line.
type Token = (String, usize);

/// Splits source into tokens, without comments, strings and characters.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |place: usize| chars.get(place).copied().unwrap_or('\0');
    let (mut found, mut place, mut line) = (Vec::new(), 0, 1);
    while place < chars.len() {
        let start = place;
        match (at(place), at(place + 1)) {
            ('/', '/') => {
                while place < chars.len() && at(place) != '\n' {
                    place += 1;
                }
            }
            ('/', '*') => place = end_of_comment(&chars, place),
            ('"', _) => place = end_of_string(&chars, place),
            ('r', '"' | '#') if is_raw_string(&chars, place) => {
                place = end_of_raw_string(&chars, place);
            }
            // A character, not a lifetime.
            ('\'', '\\') => {
                place += 3;
                while place < chars.len() && at(place) != '\'' {
                    place += 1;
                }
                place += 1;
            }
            ('\'', _) if at(place + 2) == '\'' => place += 3,
            (':', ':') => {
                found.push(("::".into(), line));
                place += 2;
            }
            (first, _) if first.is_alphanumeric() || first == '_' => {
                while at(place).is_alphanumeric() || at(place) == '_' {
                    place += 1;
                }
                found.push((chars[start..place].iter().collect(), line));
            }
            (sign, _) => {
                if !sign.is_whitespace() {
                    found.push((sign.into(), line));
                }
                place += 1;
            }
        }
        line += chars[start..place.min(chars.len())].iter().filter(|&&c| c == '\n').count();
    }
    found
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut place) = (0, start);
    while place < chars.len() {
        match chars[place..] {
            ['/', '*', ..] => (depth, place) = (depth + 1, place + 2),
            ['*', '/', ..] => (depth, place) = (depth - 1, place + 2),
            _ => place += 1,
        }
        if depth == 0 {
            break;
        }
    }
    place
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut place = start + 1;
    while place < chars.len() && chars[place] != '"' {
        place += if chars[place] == '\\' { 2 } else { 1 };
    }
    place + 1
}

fn is_raw_string(chars: &[char], start: usize) -> bool {
    chars[start + 1..].iter().find(|&&c| c != '#') == Some(&'"')
}

fn end_of_raw_string(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|&&c| c == '#').count();
    let mut place = start + hashes + 2;
    while place < chars.len() {
        let ends = chars[place] == '"'
            && chars[place + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
        place += 1;
        if ends {
            break;
        }
    }
    place + hashes
}

/// The paths that begin with `crate`, `super` or `self`, groups written out,
/// from the crate's root on, and the lines they are on. `module` is where the
/// source lies.
fn paths(source: &str, module: &[String]) -> Vec<(Vec<String>, usize)> {
    let tokens = tokens(source);
    let word = |place: usize| tokens.get(place).map_or("", |token| token.0.as_str());
    // The modules that are open here, and at which depth of braces each began.
    let (mut inline, mut depth) = (Vec::<(String, usize)>::new(), 0);
    let (mut found, mut place) = (Vec::new(), 0);
    while place < tokens.len() {
        match word(place) {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last().is_some_and(|(_, began)| *began == depth) {
                    inline.pop();
                }
            }
            "mod" if word(place + 2) == "{" => {
                inline.push((word(place + 1).into(), depth));
            }
            // `pub(crate)` is no path.
            "crate" | "super" | "self"
                if word(place + 1) == "::" && (place == 0 || word(place - 1) != "::") =>
            {
                let mut here = module.to_vec();
                here.extend(inline.iter().map(|(name, _)| name.clone()));
                place = read_path(&tokens, place, &here, &mut found);
                continue;
            }
            _ => {}
        }
        place += 1;
    }
    found
}

/// Reads one path, or a tree of paths, that begins at `place`, in the module
/// `here`. Returns the place behind it.
fn read_path(
    tokens: &[Token],
    mut place: usize,
    here: &[String],
    found: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    let word = |place: usize| tokens.get(place).map_or("", |token| token.0.as_str());
    let line = tokens[place].1;
    let mut path = here.to_vec();
    loop {
        match word(place) {
            "crate" => path.clear(),
            "super" => drop(path.pop()),
            "self" => {}
            "{" => {
                place += 1;
                while !matches!(word(place), "}" | "") {
                    place = read_path(tokens, place, &path, found);
                    // The rest of a member: `as name`, and a comma.
                    while !matches!(word(place), "," | "}" | "") {
                        place += 1;
                    }
                    place += usize::from(word(place) == ",");
                }
                return place + 1;
            }
            name => path.push(name.into()),
        }
        place += 1;
        if word(place) != "::" || word(place + 1) == "<" {
            found.push((path, line));
            return place;
        }
        place += 1;
    }
}

/// The names that `lib.rs` re-exports at the root, and the module that each comes from.
fn root_names(lib: &str) -> BTreeMap<String, String> {
    let tokens = tokens(lib);
    let mut names = BTreeMap::new();
    for (place, token) in tokens.iter().enumerate() {
        if token.0 == "use" {
            let mut found = Vec::new();
            read_path(&tokens, place + 1, &[], &mut found);
            for (path, _) in found.into_iter().filter(|(path, _)| path.len() > 1) {
                names.insert(path[path.len() - 1].clone(), path[0].clone());
            }
        }
    }
    names
}

/// The modules that one file uses, other than its own.
fn edges_of(file: &str, source: &str, roots: &BTreeMap<String, String>) -> Vec<Edge> {
    let mut module: Vec<String> = file
        .trim_end_matches(".rs")
        .split('/')
        .filter(|&part| part != "mod")
        .map(String::from)
        .collect();
    if module == ["lib"] {
        module.clear();
    }
    let from = module.first().cloned().unwrap_or_else(|| "lib".into());
    paths(source, &module)
        .into_iter()
        .filter_map(|(path, line)| {
            let first = path.first()?;
            let to = roots.get(first).unwrap_or(first).clone();
            (to != from).then(|| Edge { from: from.clone(), to, file: file.into(), line })
        })
        .collect()
}

/// The forbidden edges, a line each.
fn violations(edges: &[Edge]) -> Vec<String> {
    let allowed: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let wrong = |edge: &&Edge| {
        // The root gathers everything; it is not a layer.
        edge.from != "lib"
            && !allowed.get(edge.from.as_str()).is_some_and(|uses| uses.contains(&edge.to.as_str()))
    };
    let describe = |edge: &Edge| {
        format!("src/{}:{}: `{}` must not use `{}`", edge.file, edge.line, edge.from, edge.to)
    };
    let mut found: Vec<_> = edges.iter().filter(wrong).map(describe).collect();
    found.dedup();
    found
}

/// All files below a folder, as paths relative to it.
fn files(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, below: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                walk(&entry.path(), &format!("{name}/"), found);
            } else if name.ends_with(".rs") {
                found.push(name);
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, "", &mut found);
    found.sort();
    found
}

fn src() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn read(file: &str) -> String {
    fs::read_to_string(src().join(file)).unwrap()
}

#[test]
fn no_layer_reaches_up() {
    let roots = root_names(&read("lib.rs"));
    let files = files(&src());
    let edges: Vec<Edge> =
        files.iter().flat_map(|file| edges_of(file, &read(file), &roots)).collect();
    assert!(edges.len() > 100, "only {} uses found: the reader is broken", edges.len());
    let wrong = violations(&edges);
    assert!(wrong.is_empty(), "a layer reaches up:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_place() {
    for file in files(&src()).iter().filter(|file| *file != "lib.rs") {
        let top = file.split('/').next().unwrap().trim_end_matches(".rs");
        assert!(LAYERS.iter().any(|(name, _)| *name == top), "`{top}` has no layer: src/{file}");
    }
}

/// Modules whose files may be in larger circles for now.
const IN_CIRCLES: &[&str] = &["heap"];

/// The file that a path of `src` leads into: the longest one with a file.
fn file_of(path: &[String], known: &BTreeMap<String, String>) -> Option<String> {
    (1..=path.len()).rev().find_map(|length| known.get(&path[..length].join("/")).cloned())
}

/// Two files may need each other; more of them in a circle are one file.
#[test]
fn no_circle_of_files_is_larger_than_two() {
    let module = |file: &str| file.trim_end_matches(".rs").trim_end_matches("/mod").to_string();
    let known: BTreeMap<String, String> =
        files(&src()).into_iter().map(|file| (module(&file), file)).collect();
    let mut uses = BTreeMap::<String, BTreeSet<String>>::new();
    for (name, file) in &known {
        let here: Vec<String> = name.split('/').map(String::from).collect();
        let found = paths(&read(file), &here).into_iter();
        let found = found.filter_map(|(path, _)| file_of(&path, &known));
        uses.insert(file.clone(), found.filter(|to| to != file && to != "lib.rs").collect());
    }
    let reaches = |from: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(next) = open.pop() {
            open.extend(uses[next].iter().filter(|to| seen.insert((*to).clone())));
        }
        seen
    };
    let reached: BTreeMap<_, _> = uses.keys().map(|file| (file, reaches(file))).collect();
    for (file, to) in &reached {
        let circle: Vec<_> = to.iter().filter(|other| reached[other].contains(*file)).collect();
        let is_exempt = IN_CIRCLES.iter().any(|module| file.starts_with(&format!("{module}/")));
        assert!(circle.len() <= 2 || is_exempt, "src/{file} is in a circle: {circle:?}");
    }
    let expert = &reached[&"api/expert.rs".to_string()];
    assert!(expert.contains("key.rs"), "the reader is broken");
}

/// The table itself: from the bottom up, and without a forbidden edge.
#[test]
fn the_table_is_in_order() {
    for (place, (name, uses)) in LAYERS.iter().enumerate() {
        for used in *uses {
            let below = LAYERS[..place].iter().any(|(lower, _)| lower == used);
            assert!(below, "`{name}` uses `{used}`, which is not below it");
        }
    }
    for (name, never) in FORBIDDEN {
        let (_, uses) = LAYERS.iter().find(|(layer, _)| layer == name).unwrap();
        assert!(!uses.iter().any(|used| never.contains(used)), "`{name}` uses what it must never");
    }
}

/// The reader and the table do find what they are there to find, and nothing
/// else.
#[test]
fn a_made_up_violation_is_found() {
    let lib = "pub use expert::stats::{Reclaimed, Stats};\npub use error::Error;\nmod error;";
    let roots = root_names(lib);
    let wrong = |file: &str, source: &str| violations(&edges_of(file, source, &roots));

    for (file, source) in [
        ("source/unix.rs", "use crate::key::ExpertKey;"),
        ("source/mod.rs", "fn f(_: crate::account::Account) {}"),
        (
            "source/mod.rs",
            "use crate::{\n    sync::Lock,\n    engine::{Who, HOST_KEY as HOST},\n};",
        ),
        ("account.rs", "use super::heap::HostEngine;"),
        ("account.rs", "mod tests { use super::super::source; }"),
        ("expert/life.rs", "fn f() { let _ = super::super::heap::stats(); }"),
        ("expert/life.rs", "use crate::{heap};"),
        ("expert/stats.rs", "fn f(x: &'static u8) -> char { crate::source::map(1, 1); 'x' }"),
        ("heap/host.rs", "use crate::fixed::FixedEngine;"),
        ("heap/host.rs", "use crate::Reclaimed;"),
        ("fixed/engine.rs", "use crate::heap;"),
        ("error.rs", "use crate::key::ExpertKey;"),
        ("new_layer.rs", "use crate::error::Error;"),
    ] {
        assert_eq!(wrong(file, source).len(), 1, "{file}: {source}");
    }
    assert_eq!(
        wrong("source/unix.rs", "\n\nuse crate::key::ExpertKey;"),
        ["src/source/unix.rs:3: `source` must not use `key`"],
    );

    for (file, source) in [
        (
            "source/unix.rs",
            "// use crate::key\n/* crate::key::X /* */ */ fn f() { g(\"crate::key::X\") }",
        ),
        (
            "source/unix.rs",
            "/// See [`Error`](crate::key::ExpertKey).\nfn f() { r#\"crate::key\"# ; }",
        ),
        (
            "expert/life.rs",
            "use crate::engine::{Engine, Kind}; use super::slot::Slot; use crate::Error;",
        ),
        ("heap/cache.rs", "mod tests { use super::super::span::Span; use self::inner::X; }"),
        (
            "heap/cache.rs",
            "pub(crate) fn f() -> Option<&'static u8> { super::record::make::<u8>() }",
        ),
        ("api/global.rs", "use crate::heap::{self, HostEngine};"),
    ] {
        assert_eq!(wrong(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}
