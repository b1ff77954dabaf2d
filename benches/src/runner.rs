//! Runs every workload on every allocator, interleaved, prints each row's
//! times and their ratio to the best peer, and checks the targets.
//!
//! Every run is a process of its own (see `worker/`): A B C A B C ..., so a busy moment of
//! the machine affects all allocators alike. Medians are compared, never single runs.

mod before;
mod groups;
mod instructions;
mod machine;
mod peers;
mod plan;
mod plots;
mod ratios;
mod results;
mod tables;
mod targets;
mod workers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use groups::{Group, Row};
use results::Results;

/// Compares expert-alloc with other allocators.
///
/// Exits with 1 when a target is missed, and lists the targets that were.
#[derive(Parser)]
#[command(name = "expert-alloc-bench", max_term_width = 90)]
struct Options {
    /// Three runs instead of five, and the shorter list of sizes.
    #[arg(long)]
    quick: bool,

    /// Runs per row and allocator.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..1000))]
    runs: Option<u32>,

    /// Only this group; may be given several times (--only is the same).
    #[arg(long, alias = "only", value_enum, value_name = "GROUP")]
    group: Vec<Group>,

    /// Only rows whose name contains this; may be given several times.
    #[arg(long, value_name = "TEXT")]
    row: Vec<String>,

    /// Only this allocator (a feature of bench-peers); may be given several times.
    #[arg(long, value_name = "PEER")]
    peer: Vec<String>,

    /// Write the raw data and the plots to this directory (without a value: benches/results).
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    save: Option<PathBuf>,

    /// Print the raw data as JSON instead of tables; missed targets go to standard error.
    #[arg(long)]
    json: bool,

    /// Measure the library as it was at this commit too, interleaved, and compare.
    #[arg(long, value_name = "COMMIT")]
    before: Option<String>,

    /// Use the workers that are already built.
    #[arg(long)]
    no_build: bool,

    /// Read saved results instead of measuring, and show those that --group, --row and --peer
    /// select.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no_build", "quick", "runs", "before"])]
    read: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

/// Measures, prints, saves. `false` when a target was missed.
fn run(options: &Options) -> Result<bool, String> {
    let results = match &options.read {
        Some(file) => {
            let results = read(file, options)?;
            if !options.json {
                tables::print_machine(&results);
                groups::chosen(&options.group)
                    .into_iter()
                    .for_each(|group| tables::print_group(&results, group));
            }
            results
        }
        None => measure(options)?,
    };
    if options.json {
        println!("{}", results.to_json());
    } else {
        tables::print_memory(&results);
    }
    if let Some(changes) = tables::changes(&results) {
        eprintln!("{changes}");
    }
    if let Some(directory) = &options.save {
        results::save(&results, directory)?;
        plots::draw(&results, directory)?;
        eprintln!("saved to {}", directory.display());
    }
    let targets = targets::check(&results);
    let met = targets.iter().all(targets::Target::is_met);
    if !options.json {
        println!("{}", targets::report(&results, &targets));
    } else if !met {
        eprintln!("{}", targets::report(&results, &targets));
    }
    Ok(met)
}

/// The saved results that the user selected.
fn read(file: &Path, options: &Options) -> Result<Results, String> {
    let all = options.group.is_empty() && options.row.is_empty() && options.peer.is_empty();
    if options.save.is_some() && !all {
        return Err("--save would lose what --group, --row or --peer leaves out of the file \
                    that --read reads"
            .to_owned());
    }
    let peers = peers::chosen(&options.peer)?;
    let groups = groups::chosen(&options.group);
    let mut results = results::read(file)?;
    results
        .rows
        .retain(|row| groups.contains(&row.group) && groups::name_matches(&row.row, &options.row));
    if !options.peer.is_empty() {
        plan::Plan { peers: &peers, quick: false }.retain(&mut results);
    }
    if results.rows.is_empty() {
        return Err("no row matches".to_owned());
    }
    Ok(results)
}

fn measure(options: &Options) -> Result<Results, String> {
    let peers = peers::chosen(&options.peer)?;
    let runs = options.runs.unwrap_or(if options.quick { 3 } else { 5 });
    let groups = groups::chosen(&options.group);
    let plan = plan::Plan { peers: &peers, quick: options.quick };
    let plans: Vec<Vec<Row>> = groups
        .iter()
        .map(|&group| {
            let mut rows = plan.rows(group);
            rows.retain(|row| row.names().any(|name| groups::name_matches(name, &options.row)));
            if options.before.is_some() {
                before::add_columns(&mut rows);
            }
            rows
        })
        .collect();
    if plans.iter().all(Vec::is_empty) {
        return Err("no row matches".to_owned());
    }
    if !options.no_build {
        if let Some(commit) = &options.before {
            before::check_out(commit)?;
        }
        workers::build(plans.iter().flatten())?;
    }
    let mut results = Results::new(machine::describe(), runs);
    if !options.json {
        tables::print_machine(&results);
    }
    for (&group, rows) in groups.iter().zip(&plans) {
        for set in rows.chunk_by(|one, other| one.set == other.set) {
            eprint!("\r\x1b[K{}: {}", group.name(), set[0].set);
            let runs = group.runs(runs, options.quick);
            groups::measure(set, runs)?.into_iter().for_each(|row| results.add(row));
        }
        eprint!("\r\x1b[K");
        if !options.json {
            tables::print_group(&results, group);
        }
    }
    Ok(results)
}
