//! Shared code of all test programs. The heap under test is the global allocator.

use expert_alloc::ExpertAlloc;

#[global_allocator]
pub static ALLOC: ExpertAlloc = ExpertAlloc::new();

/// Whether this runs in an emulator (`.ci/targets`) or under a sanitizer
/// (`.ci/sanitizers`). These are slow, their memory counts as the program's, and their own
/// threads do not survive a `fork`.
#[allow(dead_code, reason = "not all test programs ask")]
pub fn emulated() -> bool {
    ["CROSS_RUNNER", "SANITIZER"].iter().any(|name| std::env::var_os(name).is_some())
}

/// Runs tests one after another on the main thread, because the walker needs the process to
/// itself, and the standard harness has a thread of its own. Arguments are parts of names,
/// as in `cargo test NAME`.
#[allow(dead_code, reason = "not all test programs have a main of their own")]
pub fn run_alone(tests: &[(&str, fn())]) {
    // If a thread of a test has panicked, others might wait for it for ever.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::exit(101);
    }));
    run_tests(tests);
}

/// As [`run_alone`], for tests that have set a panic hook.
#[allow(dead_code, reason = "not all test programs have a main of their own")]
pub fn run_tests(tests: &[(&str, fn())]) {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if std::env::args().any(|arg| arg == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    for (name, test) in tests {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            let began = std::time::Instant::now();
            test();
            println!("test {name} ... ok ({:.1?})", began.elapsed());
        }
    }
}
