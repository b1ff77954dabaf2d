//! Follows the README as a newcomer does: its dependencies and its program make a package,
//! whose output must be the one that it shows.

use crate::package::{Package, library};

/// The first block of the README in a language.
fn block<'t>(readme: &'t str, language: &str) -> &'t str {
    let (_, rest) = readme.split_once(&format!("\n```{language}\n")).expect("a block");
    rest.split_once("\n```").expect("its end").0
}

/// The lines without the time at their end, which differs from run to run.
fn without_time(text: &str) -> Vec<&str> {
    let cut = |line: &'_ str| -> usize {
        let is_time = line.ends_with("µs") || line.ends_with("ms") || line.ends_with("ns");
        if is_time { line.rfind(", ").unwrap_or(line.len()) } else { line.len() }
    };
    text.lines().map(|line| &line[..cut(line)]).collect()
}

#[test]
fn its_program_prints_what_it_says() {
    let readme = std::fs::read_to_string(library().join("README.md")).unwrap();
    let package = Package::new("readme", block(&readme, "toml"), block(&readme, "rust"));
    let printed = package.run(&[], &[]).printed;
    let promised = block(&readme, "text");
    assert_eq!(without_time(&printed), without_time(promised), "{printed}");
    assert_ne!(without_time(promised).concat(), promised.replace('\n', ""), "a time is shown");
}
