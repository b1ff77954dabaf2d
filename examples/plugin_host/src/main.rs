//! A host with plug-ins in C, C++ and Rust, each on its own thread and under its own key.
//! It causes one fault after another. After each fault, the other plug-ins still have the
//! same results, and the process holds as much memory as before.
//!
//! ```sh
//! examples/plugin_host/play
//! ```
//!
//! builds all of it and runs it. The exit code is 0 only if every fault was contained.

mod costs;
mod library;
mod memory;
mod misfortunes;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::ptr;
use std::thread;
use std::time::Duration;

use expert_alloc::ExpertAlloc;

use library::Plugin;
use memory::Memory;

/// The heap of this process: the host's, and that of all plug-ins.
#[global_allocator]
pub static ALLOC: ExpertAlloc = ExpertAlloc::new();

/// The plug-ins that take no part in the faults.
const GOOD: [&str; 3] = ["bytes.so", "words.so", "libdistinct.so"];

/// A text of words, most of which occur more than once.
fn text() -> Vec<u8> {
    let mut seed = 42_u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % 3000
    };
    (0..20_000).flat_map(|_| format!("word{} ", next()).into_bytes()).collect()
}

/// Runs all of them at once, each on a thread of its own. Returns code, result, and blocks
/// left.
fn run_all(plugins: &[Plugin], data: &[u8]) -> Vec<(u32, u64, usize)> {
    thread::scope(|threads| {
        let run = |plugin: &'_ Plugin| {
            let outcome = plugin.run(ptr::null(), data, Duration::from_secs(60));
            (outcome.code, outcome.result, outcome.reclaimed.blocks)
        };
        let running: Vec<_> =
            plugins.iter().map(|plugin| threads.spawn(move || run(plugin))).collect();
        running.into_iter().map(|one| one.join().unwrap_or((u32::MAX, 0, 0))).collect()
    })
}

/// A round of Network Monitor: the configuration that Configure makes outlives its key, is
/// kept by the host, grows under the next key, and is read by Run.
fn configured(folder: &Path) -> Result<String, String> {
    let plugin = Plugin::load(&folder.join("configured.so"))?;
    let mut config = ptr::null_mut();
    for times in 1..=10 {
        config = plugin.configure(config)?;
        let outcome = plugin.run(config, &[], Duration::from_secs(60));
        if (outcome.code, outcome.result) != (0, times * (times + 1) / 2) {
            return Err(format!("round {times}: {outcome:?}"));
        }
    }
    plugin.unload().end()?;
    ALLOC.host().free(config.cast()).map_err(|why| why.to_string())?;
    Ok("configured and run 10 times".into())
}

fn play(folder: &Path) -> Result<bool, String> {
    let load =
        |file: &&str| Plugin::load(&folder.join(file)).map_err(|why| format!("{file}: {why}"));
    let good = GOOD.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let data = text();
    let expected = run_all(&good, &data);
    for (plugin, (code, result, left)) in good.iter().zip(&expected) {
        println!("{}: code {code}, result {result}, {left} blocks left", plugin.name);
        if *code != 0 {
            return Err(format!("{} fails", plugin.name));
        }
    }
    if expected[1].1 != expected[2].1 {
        return Err("C++ and Rust count differently".into());
    }
    let mut all = true;
    let misfortunes = [("Network Monitor's round", configured as fn(&Path) -> _)];
    for (name, misfortune) in misfortunes.iter().chain(misfortunes::ALL) {
        // This creates the values that are made once and stay.
        let _ = misfortune(folder);
        let mut what = String::with_capacity(200);
        let before = Memory::now();
        let as_expected = {
            let outcome = misfortune(folder);
            let (Ok(said) | Err(said)) = &outcome;
            what.extend(said.chars().take(50));
            outcome.is_ok()
        };
        let after = Memory::now();
        let are_others_well = run_all(&good, &data) == expected;
        let contained = as_expected && are_others_well && after.is_where_it_was(&before);
        println!(
            "{} {name:<24} {what:<58} before: {before}; after: {after}; others {}",
            if contained { "contained:    " } else { "NOT CONTAINED:" },
            if are_others_well { "well" } else { "NOT WELL" },
        );
        all &= contained;
    }
    costs(folder)?;
    for plugin in good {
        plugin.unload().end()?;
    }
    Ok(all)
}

/// Prints the cost of an allocation and a free.
fn costs(folder: &Path) -> Result<bool, String> {
    let costs::Costs { handle, plugin, keyed } = costs::measure(folder)?;
    println!("a pair: handle {handle:.1} ns, plug-in's allocator {plugin:.1}, by key {keyed:.1}");
    Ok(true)
}

/// Loads a plug-in, runs it once on some text, and unloads it.
fn run(path: &Path, text: &str) -> Result<bool, String> {
    let path = path.canonicalize().map_err(|why| format!("{}: {why}", path.display()))?;
    let plugin = Plugin::load(&path)?;
    let outcome = plugin.run(ptr::null(), text.as_bytes(), Duration::from_secs(60));
    println!("{}: code {}, result {}", plugin.name, outcome.code, outcome.result);
    plugin.unload().end()?;
    Ok(outcome.code == 0)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["run", plugin, text] => run(Path::new(plugin), text),
        ["costs", folder] => costs(Path::new(folder)),
        [folder] => play(Path::new(folder)),
        _ => Err("usage: plugin-host run PLUGIN TEXT, or plugin-host FOLDER (see play)".into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
