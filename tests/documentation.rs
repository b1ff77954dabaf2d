//! The documentation as rustdoc finds it, with all features. Every public item must have an
//! example, methods included; rustdoc's own coverage counts types only. The pictures must
//! be visible without a repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// All features except `testing`, which is not for users.
const FEATURES: &str = "allocator-api2-04,capi,critical-section,serde";

/// The crate for plug-ins in Rust, which the package of this one does not contain.
const PLUGIN: &str = "plugin/Cargo.toml";

/// rustdoc's data on the crate.
fn documentation() -> Value {
    rustdoc("expert_alloc", &["--features", FEATURES])
}

/// rustdoc's data on a crate, in a format that is not stable yet, so the compiler is told
/// to allow it.
fn rustdoc(name: &str, arguments: &[&str]) -> Value {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documentation");
    let mut cargo = Command::new(env!("CARGO"));
    for flags in ["RUSTDOCFLAGS", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(flags);
    }
    cargo.env("RUSTC_BOOTSTRAP", "1").current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["rustdoc", "--quiet", "--lib"]).args(arguments).arg("--target-dir").arg(&folder);
    cargo.args(["--", "-Zunstable-options", "--output-format", "json"]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(folder.join(format!("doc/{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The public items below `id` that need an example: path, kind and documentation.
struct Items<'d> {
    index: &'d Value,
    seen: BTreeSet<String>,
    found: Vec<(String, &'d str, &'d str)>,
}

impl<'d> Items<'d> {
    fn add(&mut self, id: &Value, path: &str) {
        let Some(item) = self.index.get(id.to_string()) else {
            return;
        };
        if !self.seen.insert(id.to_string()) {
            return;
        }
        let (kind, inner) = item["inner"].as_object().unwrap().iter().next().unwrap();
        let name = item["name"].as_str().unwrap_or_default();
        let path = if path.is_empty() { name.to_string() } else { format!("{path}::{name}") };
        let children = match kind.as_str() {
            // The module is not public; what is in it is.
            "use" if inner["is_glob"] == true => {
                let module = &self.index[inner["id"].to_string()]["inner"]["module"];
                let path = path.rsplit_once("::").map_or("", |(up, _)| up);
                let items = module["items"].as_array().into_iter().flatten();
                return items.for_each(|child| self.add(child, path));
            }
            "use" => {
                return self.add(&inner["id"], path.rsplit_once("::").map_or("", |(up, _)| up));
            }
            "module" | "trait" => &inner["items"],
            "struct" | "enum" | "union" => &inner["impls"],
            // The trait's documentation speaks for its implementations.
            "impl" if !inner["trait"].is_null() => return,
            "impl" => &inner["items"],
            // A name that was chosen for the item it belongs to.
            "assoc_type" | "assoc_const" => return,
            _ => &Value::Null,
        };
        if kind != "impl" {
            self.found.push((path.clone(), kind, item["docs"].as_str().unwrap_or_default()));
        }
        let path = if kind == "impl" { path.trim_end_matches("::") } else { &path };
        for child in children.as_array().into_iter().flatten() {
            self.add(child, path);
        }
    }
}

/// The lines of the examples that rustdoc compiles.
fn compiled(text: &str) -> Vec<&str> {
    let (mut is_inside, mut is_compiled, mut lines) = (false, false, Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(language) = line.strip_prefix("```") {
            is_inside = !is_inside;
            is_compiled = ["", "rust", "no_run", "should_panic", "compile_fail"]
                .contains(&language.split(',').next().unwrap())
                && !language.contains("ignore");
        } else if is_inside && is_compiled {
            lines.push(line);
        }
    }
    lines
}

/// A function's example calls it; a type may be got from a call without being named. For a
/// module, which may be a page of the guide, commands count as an example, too.
fn has_example(path: &str, kind: &str, text: &str) -> bool {
    let name = path.rsplit("::").next().unwrap();
    let is_word = |word: &str| word == name;
    let words = |line: &&str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(is_word);
    match kind {
        "function" => compiled(text).iter().any(words),
        "module" => text.contains("```"),
        _ => !compiled(text).is_empty(),
    }
}

/// All items below the root, which must have an example.
fn items_of(documentation: &Value) -> Vec<String> {
    let mut items =
        Items { index: &documentation["index"], seen: BTreeSet::new(), found: Vec::new() };
    items.add(&documentation["root"], "");
    let found = &items.found;
    let bare = found.iter().filter(|(path, kind, text)| !has_example(path, kind, text));
    let bare: Vec<&str> = bare.map(|(path, ..)| path.as_str()).collect();
    assert!(bare.is_empty(), "{} without an example: {bare:#?}", bare.len());
    items.found.into_iter().map(|(path, ..)| path).collect()
}

/// One known item of each kind shows that items of that kind are found at all.
#[test]
fn every_public_item_has_an_example() {
    let found = items_of(&documentation());
    assert!(found.len() > 180, "{} items: has the format changed?", found.len());
    for known in [
        "Expert",
        "Expert::finish",
        "Expert::lend",
        "ExpertAlloc::owner_of",
        "ExpertHeap::add_region",
        "Host::transfer",
        "Observer::before_refusal",
        "State::refusal",
        "fixed::CriticalSectionLock",
        "capi::ExpertAllocMemory",
        "capi::EXPERTHOST",
        "guide::start",
    ] {
        assert!(found.contains(&format!("expert_alloc::{known}")), "{known} is not found");
    }
}

#[test]
fn every_item_for_plugins_has_an_example() {
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join(PLUGIN).exists() {
        return;
    }
    let found = items_of(&rustdoc("expert_alloc_plugin", &["--manifest-path", PLUGIN]));
    for known in ["plugin", "Plugin::run", "Run::data", "Key::alloc"] {
        assert!(found.contains(&format!("expert_alloc_plugin::{known}")), "{known} is not found");
    }
}

/// Pictures are a part of the documentation's text, because a link to a file of the
/// package leads nowhere on docs.rs. A blank line before a picture begins HTML, and a
/// blank line within it would end that.
#[test]
fn the_documentation_shows_every_picture() {
    let documentation = documentation();
    let items = documentation["index"].as_object().unwrap().values();
    let mut pages = items.filter(|item| item["name"] == "benchmarks");
    let page = pages.next().unwrap()["docs"].as_str().unwrap().to_string();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures");
    let mut shown = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let picture = fs::read_to_string(&path).unwrap();
        let picture = picture.trim_end();
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>"), "{path:?}");
        assert!(!picture.contains("\n\n"), "{path:?} has a blank line");
        assert!(page.contains(&format!("\n\n{picture}")), "no page shows {path:?}");
        shown += 1;
    }
    assert_eq!(page.matches("<svg").count(), shown);
}
