//! Fails when a fast path grows: its instructions are counted by single steps,
//! and its code is compared with the text in `fast_path.txt`, which is there
//! to be read. `EXPERT_ALLOC_BLESS=1 cargo test --test fast_path` writes that
//! text anew.
//!
//! The numbers are those of one compiler, which the text names, on x86-64
//! Linux. The paths are the functions of the program in `tests/fast_path`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::{env, fs};

/// Instructions of each path, as a mean of a thousand calls. The fractions come from spans
/// that sometimes run out of free blocks.
const PINNED: [(&str, f64); 14] = [
    ("pair_64", 31.948),
    ("alloc_64", 11.912),
    ("free_64", 21.0),
    ("pair_of", 48.855),
    ("handle_alloc_64", 19.912),
    ("handle_free_64", 21.0),
    ("key_alloc_64", 137.02),
    ("key_free_64", 159.0),
    // To enter a scope and leave it took 85 before experts travelled with tasks.
    ("scope", 84.0),
    // What is inherited costs nothing where it allocates.
    ("alloc_64_in_scope", 11.912),
    ("free_64_in_scope", 21.0),
    ("alloc_64_inherited", 11.912),
    ("free_64_inherited", 21.0),
    ("current", 40.0),
];

/// How far a mean may move: less than one instruction.
const TOLERANCE: f64 = 0.5;

/// The most instructions that alloc and free of 64 bytes may take in a caller's code,
/// whatever is pinned.
const PAIR: f64 = 36.0;

/// Instructions that lock memory, or may lock it; a fast path has none.
const LOCKED: [&str; 2] = ["lock", "xchg"];

/// The paths that are kept as text.
const SHOWN: [&str; 2] = ["alloc_64", "free_64"];

const OBJDUMP: [&str; 4] =
    ["-d", "--no-show-raw-insn", "--demangle", "--disassembler-options=intel"];

/// The program with the paths, compiled like a user's release build.
static PROBE: LazyLock<PathBuf> = LazyLock::new(|| {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("fast_path");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fast_path/Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--release", "--locked", "--manifest-path"]).arg(manifest);
    cargo.arg("--target-dir").arg(&built);
    // The flags of this build would change the pinned code.
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(flags);
    }
    output(&mut cargo);
    built.join("release/fast_path")
});

/// The output of a program; panics with its errors when it fails.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Whether this is the machine whose instructions are pinned.
fn is_pinned_here() -> bool {
    let here = cfg!(all(target_arch = "x86_64", target_os = "linux"));
    if !here {
        println!("not run: instruction counts are pinned for x86-64 Linux only");
    }
    here
}

/// Instructions of each path now, in the order of `PINNED`.
fn counts() -> Vec<f64> {
    let text = output(&mut Command::new(&*PROBE));
    let count = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().unwrap()
    };
    PINNED.iter().map(|(name, _)| count(name)).collect()
}

#[test]
fn no_fast_path_grows() {
    if !is_pinned_here() {
        return;
    }
    let counts = counts();
    let mut table = format!("{:<18} {:>8} {:>8}\n", "instructions", "pinned", "now");
    for ((name, pinned), now) in PINNED.iter().zip(&counts) {
        writeln!(table, "{name:<18} {pinned:>8.3} {now:>8.3}").unwrap();
    }
    println!("{table}");
    assert!(counts.iter().all(|&count| count > 0.0), "nothing was counted:\n{table}");
    let pair = counts[0];
    assert!(pair <= PAIR, "alloc and free of 64 bytes take {pair}, more than {PAIR}:\n{table}");
    let grown = PINNED.iter().zip(&counts).any(|((_, pinned), now)| *now > pinned + TOLERANCE);
    assert!(!grown, "a fast path has grown:\n{table}");
}

/// The code of a function: a line for each instruction, without addresses that change with
/// other code.
fn code(name: &str) -> Vec<String> {
    let mut objdump = Command::new("objdump");
    objdump.args(OBJDUMP).arg(format!("--disassemble={name}")).arg(&*PROBE);
    let text = output(&mut objdump);
    let lines: Vec<_> = text.lines().filter_map(|line| line.split_once(":\t")).collect();
    assert!(!lines.is_empty(), "{objdump:?} finds no code:\n{text}");
    lines.into_iter().map(|(_, instruction)| without_addresses(instruction)).collect()
}

/// `jne 7c10 <free_64+0x90>` becomes `jne <free_64+0x90>`, and an operand relative to the
/// instruction pointer is named by its symbol. An entry of the table of addresses, through
/// which the cold halves are called, has no symbol.
fn without_addresses(instruction: &str) -> String {
    let mut text = instruction.trim_end().to_string();
    if let Some((before, symbol)) = instruction.split_once(" <") {
        let kept = before.trim_end().rsplit_once(char::is_whitespace).unwrap_or_default().0;
        text = format!("{} <{}", kept.trim_end(), symbol.trim_end());
    }
    if let Some((before, after)) = text.split_once("[rip") {
        let after = after.split_once(']').unwrap_or_default().1;
        let (after, comment) = after.split_once('#').unwrap_or((after, "_DYNAMIC"));
        let symbol = if comment.contains("_DYNAMIC") { "" } else { comment };
        text = format!("{before}[rip]{} {symbol}", after.trim_end()).trim_end().to_string();
    }
    // The hash at the end of a mangled name differs from build to build.
    match text.rfind("::h").filter(|&place| text[place..].len() >= 19) {
        Some(place) => format!("{}{}", &text[..place], &text[place + 19..]),
        None => text,
    }
}

/// The instructions below the line `name:` of the text.
fn kept<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let lines = text.lines().skip_while(|line| line.strip_suffix(':') != Some(name));
    lines.skip(1).take_while(|line| !line.is_empty()).map(str::trim_start).collect()
}

/// Instructions without their operands.
fn operations<T: AsRef<str>>(code: &[T]) -> Vec<&str> {
    code.iter().filter_map(|line| line.as_ref().split_whitespace().next()).collect()
}

/// The line of the text that names the compiler.
fn compiler() -> String {
    let rustc = output(Command::new("rustc").arg("--version"));
    format!("Compiler:   {}", rustc.trim_end())
}

/// The first lines of the text.
fn header() -> String {
    let commit = output(Command::new("git").args(["describe", "--always", "--dirty"]));
    format!(
        "The fast paths as compiled: functions of tests/fast_path/src/main.rs.\n\
         Written by: EXPERT_ALLOC_BLESS=1 cargo test --test fast_path\n\
         Command:    objdump {} --disassemble=NAME target/fast_path/release/fast_path\n\
         {}\n\
         Commit:     {}\n",
        OBJDUMP.join(" "),
        compiler(),
        commit.trim_end(),
    )
}

#[test]
fn the_text_shows_the_fast_paths() {
    if !is_pinned_here() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fast_path.txt");
    if env::var("EXPERT_ALLOC_BLESS").is_ok_and(|bless| bless == "1") {
        let mut text = header();
        for name in SHOWN {
            write!(text, "\n{name}:\n    {}\n", code(name).join("\n    ")).unwrap();
        }
        fs::write(&path, text).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    // Another compiler may choose other instructions, but not more of them.
    let is_same = text.contains(&compiler());
    for name in SHOWN {
        let (kept, now) = (kept(&text, name), code(name));
        let (old, new) = (operations(&kept), operations(&now));
        let locked = new.iter().find(|&&operation| LOCKED.contains(&operation));
        assert_eq!(locked, None, "{name} waits for other processors");
        assert!(
            if is_same { old == new } else { old.len() == new.len() },
            "{name} has {} instructions in {path:?}:\n{}\n\nand {} now:\n{}",
            kept.len(),
            kept.join("\n"),
            now.len(),
            now.join("\n"),
        );
    }
}
