//! Fails when a layer reaches up. The test reads the paths in every file of `src`, and
//! compares them with the tables of the layers, and of the rooms of `src/heap`. Only these
//! tables hold the layers as data.
//!
//! It reads tokens, not types: every path that begins with `crate`, `super` or `self` is
//! resolved to the module it leads to. Comments and strings are left out, so a doc comment may
//! point anywhere. A method that a room gives to a type of a lower room is recognised by its
//! name.

mod common;
#[path = "layers/reader.rs"]
mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use reader::{paths, read_path, tokens};

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

/// The rooms of the host engine, from the bottom up, and those that each may use.
/// A file or folder of `src/heap` that is not here fails the test until it is given a
/// place.
const ROOMS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("presence", &[]),
    ("pages", &["base", "presence"]),
    ("spans", &["base", "pages"]),
    ("owners", &["base", "pages", "spans"]),
    ("caches", &["base", "owners", "pages", "presence", "spans"]),
    ("threads", &["base", "caches", "owners", "presence"]),
    ("lives", &["base", "caches", "owners", "pages", "presence", "spans", "threads"]),
    ("calls", &["base", "caches", "lives", "owners", "pages", "presence", "spans", "threads"]),
    ("host", &["base", "calls", "caches", "lives", "owners", "presence", "threads"]),
    ("check", &["base", "caches", "lives", "owners", "pages", "spans", "threads"]),
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

/// The module of a file.
fn module_of(file: &str) -> Vec<String> {
    let parts = file.trim_end_matches(".rs").split('/').filter(|&part| part != "mod");
    let module: Vec<String> = parts.map(String::from).collect();
    if module == ["lib"] { Vec::new() } else { module }
}

/// The modules that one file uses, other than its own.
fn edges_of(file: &str, source: &str, roots: &BTreeMap<String, String>) -> Vec<Edge> {
    let module = module_of(file);
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

/// The rooms of the host engine that one of its files uses, other than its own. Items in no
/// room belong to `mod`, the file that gathers the rooms.
fn room_edges_of(file: &str, source: &str) -> Vec<Edge> {
    let module = module_of(file);
    let room = |path: &[String]| match path.get(1) {
        Some(name) if ROOMS.iter().any(|(room, _)| room == name) => name.clone(),
        _ => "mod".into(),
    };
    let from = match module.get(1) {
        Some(name) => name.clone(),
        None => "mod".into(),
    };
    paths(source, &module)
        .into_iter()
        .filter(|(path, _)| path.first().is_some_and(|first| first == "heap"))
        .map(|(path, line)| Edge { from: from.clone(), to: room(&path), file: file.into(), line })
        .filter(|edge| edge.from != edge.to)
        .collect()
}

/// The edges that a table forbids, a line each.
fn violations(edges: &[Edge], table: &[(&str, &[&str])]) -> Vec<String> {
    let allowed: BTreeMap<_, _> = table.iter().copied().collect();
    let wrong = |edge: &&Edge| {
        // The root, and that of the rooms, gathers everything; it is not a layer.
        !matches!(edge.from.as_str(), "lib" | "mod")
            && !allowed.get(edge.from.as_str()).is_some_and(|uses| uses.contains(&edge.to.as_str()))
    };
    let describe = |edge: &Edge| {
        format!("src/{}:{}: `{}` must not use `{}`", edge.file, edge.line, edge.from, edge.to)
    };
    let mut found: Vec<_> = edges.iter().filter(wrong).map(describe).collect();
    found.dedup();
    found
}

/// The methods that source defines, and those that it calls.
fn methods(source: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let tokens = tokens(source);
    let word = |place: usize| tokens.get(place).map_or("", |token| token.0.as_str());
    let (mut defined, mut called) = (BTreeSet::new(), BTreeSet::new());
    for place in 0..tokens.len() {
        let name = word(place + 1);
        if word(place) == "fn" {
            let begin = (place..).find(|&place| matches!(word(place), "(" | "")).unwrap();
            let first =
                (begin..).map(word).take_while(|word| !matches!(*word, "," | ")" | ":" | ""));
            if { first }.any(|word| word == "self") {
                defined.insert(name.to_string());
            }
        } else if word(place) == "." && matches!(word(place + 2), "(" | "::") {
            called.insert(name.to_string());
        }
    }
    (defined, called)
}

/// Names that methods of a room share with methods of the standard library, which lower
/// rooms call.
const STANDARD: &[&str] = &[
    "add", "addr", "as_ptr", "collect", "count", "fill", "iter", "last", "len", "load", "lock",
    "size", "store", "with",
];

/// The calls of methods that only higher rooms define, a line each.
fn method_violations(sources: &[(&str, String)]) -> Vec<String> {
    let rank = |file: &str| {
        let room = module_of(file).get(1).cloned().unwrap_or_default();
        ROOMS.iter().position(|(name, _)| *name == room).unwrap_or(ROOMS.len())
    };
    let mut lowest = BTreeMap::<String, usize>::new();
    for (file, source) in sources {
        for name in methods(source).0 {
            let rank = rank(file).min(*lowest.get(&name).unwrap_or(&usize::MAX));
            lowest.insert(name, rank);
        }
    }
    let calls = sources
        .iter()
        .flat_map(|(file, source)| methods(source).1.into_iter().map(move |name| (*file, name)));
    calls
        .filter(|(file, name)| lowest.get(name).is_some_and(|&lowest| lowest > rank(file)))
        .filter(|(_, name)| !STANDARD.contains(&name.as_str()))
        .map(|(file, name)| {
            format!("src/{file} calls `{name}`, which is a method of a higher room")
        })
        .collect()
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
    let wrong = violations(&edges, LAYERS);
    assert!(wrong.is_empty(), "a layer reaches up:\n{}", wrong.join("\n"));
}

#[test]
fn no_room_of_the_heap_reaches_up() {
    let files: Vec<String> =
        files(&src()).into_iter().filter(|file| file.starts_with("heap/")).collect();
    let edges: Vec<Edge> = files.iter().flat_map(|file| room_edges_of(file, &read(file))).collect();
    assert!(edges.len() > 100, "only {} uses found: the reader is broken", edges.len());
    let wrong = violations(&edges, ROOMS);
    assert!(wrong.is_empty(), "a room reaches up:\n{}", wrong.join("\n"));
    for file in files.iter().filter(|file| *file != "heap/mod.rs") {
        let room = &module_of(file)[1];
        assert!(ROOMS.iter().any(|(name, _)| name == room), "src/{file} lies in no room");
    }
    // The table allows no edge that does not exist.
    for (room, uses) in ROOMS {
        for used in *uses {
            let is_done = edges.iter().any(|edge| edge.from == *room && edge.to == *used);
            assert!(is_done, "`{room}` does not use `{used}`");
        }
    }
}

#[test]
fn every_module_has_a_place() {
    for file in files(&src()).iter().filter(|file| *file != "lib.rs") {
        let top = file.split('/').next().unwrap().trim_end_matches(".rs");
        assert!(LAYERS.iter().any(|(name, _)| *name == top), "`{top}` has no layer: src/{file}");
    }
}

/// A room may give methods to a type of a lower room, which must not call them.
#[test]
fn no_room_calls_a_method_of_a_higher_one() {
    let files = files(&src());
    let heap = files.iter().filter(|file| file.starts_with("heap/"));
    let sources: Vec<_> = heap.map(|file| (file.as_str(), read(file))).collect();
    let wrong = method_violations(&sources);
    assert!(wrong.is_empty(), "a room reaches up:\n{}", wrong.join("\n"));

    let upper = "impl Span { pub fn owner<T: Copy>(&'static self) -> T { f() } fn free(x: u8) {} }";
    for (lower, count) in [
        ("fn f(span: &Span) { span.owner(); }", 1),
        ("fn f(span: &Span) { span.owner::<u8>(); }", 1),
        ("fn f(span: &Span) { span.free(); span.owner; owner(1) }", 0),
    ] {
        let sources = [("heap/spans/span.rs", lower.into()), ("heap/owners/heap.rs", upper.into())];
        assert_eq!(method_violations(&sources).len(), count, "{lower}");
    }
}

/// The file that a path of `src` leads into, by the longest part of the path that has a
/// file.
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
        assert!(circle.len() <= 2, "src/{file} is in a circle: {circle:?}");
    }
    let expert = &reached[&"api/expert.rs".to_string()];
    assert!(expert.contains("key.rs"), "the reader is broken");
}

/// The table itself: from the bottom up, and without a forbidden edge.
#[test]
fn the_table_is_in_order() {
    for table in [LAYERS, ROOMS] {
        for (place, (name, uses)) in table.iter().enumerate() {
            for used in *uses {
                let below = table[..place].iter().any(|(lower, _)| lower == used);
                assert!(below, "`{name}` uses `{used}`, which is not below it");
            }
        }
    }
    for (name, never) in FORBIDDEN {
        let (_, uses) = LAYERS.iter().find(|(layer, _)| layer == name).unwrap();
        assert!(!uses.iter().any(|used| never.contains(used)), "`{name}` uses what it must never");
    }
}

/// Checks that the reader and the table find violations, and nothing else.
#[test]
fn a_made_up_violation_is_found() {
    let lib = "pub use expert::stats::{Reclaimed, Stats};\npub use error::Error;\nmod error;";
    let roots = root_names(lib);
    let wrong = |file: &str, source: &str| violations(&edges_of(file, source, &roots), LAYERS);

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
        ("heap/caches/cache.rs", "mod tests { use super::super::bins::Bin; use self::inner::X; }"),
        (
            "heap/caches/cache.rs",
            "pub(crate) fn f() -> Option<&'static u8> { super::household::make::<u8>() }",
        ),
        ("api/global.rs", "use crate::heap::{self, HostEngine};"),
    ] {
        assert_eq!(wrong(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}

/// The same for the rooms.
#[test]
fn a_made_up_room_that_reaches_up_is_found() {
    let wrong = |file: &str, source: &str| violations(&room_edges_of(file, source), ROOMS);

    for (file, source) in [
        ("heap/pages/arena.rs", "use crate::heap::spans::span::Span;"),
        ("heap/pages/arena.rs", "fn f() { super::super::owners::heap::open(); }"),
        ("heap/spans/span/life.rs", "use super::super::super::caches::cache::Cache;"),
        ("heap/spans/span.rs", "mod inner { use crate::heap::{threads::thread, base::paths}; }"),
        ("heap/caches/idle.rs", "use crate::heap::stats;"),
        ("heap/new_room/mod.rs", "use crate::heap::base::paths;"),
    ] {
        assert_eq!(wrong(file, source).len(), 1, "{file}: {source}");
    }
    for (file, source) in [
        ("heap/pages/arena.rs", "use super::chunk::Chunk; use crate::heap::base::paths;"),
        ("heap/spans/span/life.rs", "use super::Span; use super::super::tags::Tag;"),
        ("heap/mod.rs", "pub use calls::ambient::alloc; use self::threads::thread;"),
        ("heap/host.rs", "use crate::engine::Engine; use super::calls::raw;"),
    ] {
        assert_eq!(wrong(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}
