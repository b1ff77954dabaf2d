//! Programs of other authors, each with a typical load, on the allocator that this binary
//! was built with.
//!
//!     bench-programs PROGRAM [NAME=NUMBER...]

mod compiler;
mod script;
mod search;
mod sql;
mod web;

use std::process::ExitCode;

use bench_peers::measure::{Arguments, Run};

const PROGRAMS: &[(&str, fn(&mut Run))] = &[
    ("script", script::run),
    ("sql", sql::run),
    ("compiler", compiler::run),
    ("search", search::run),
    ("web", web::run),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some((_, program)) = PROGRAMS.iter().find(|(known, _)| *known == name) else {
        let names: Vec<_> = PROGRAMS.iter().map(|(name, _)| *name).collect();
        eprintln!("no program {name:?}; there are {}", names.join(", "));
        return ExitCode::from(2);
    };
    let arguments = match Arguments::parse(arguments) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    #[cfg(feature = "tracking")]
    bench_peers::tracking::start();
    let mut run = Run::start(arguments);
    program(&mut run);
    println!("{}", run.finish().to_json(&name));
    ExitCode::SUCCESS
}
