//! Runs only safe code, on as many threads as the machine can run. Threads allocate, resize
//! and free, keep scopes, drop them late and out of order, call with stale pointers and
//! poll figures, while others register and end experts. No call may change a value of
//! another thread.
//!
//! The run is cut into turns of one to three seconds. Each turn has a scene, in which
//! threads race at one kind of place. Sometimes other threads beside it purge, poll, and
//! let experts come and go.
//!
//! ```sh
//! cargo test --release --test stress                        # 20 seconds
//! STRESS_SECONDS=3600 cargo test --release --test stress
//! STRESS_SCENES=stale,scopes STRESS_SEED=7 cargo test --profile checked --test stress
//! STRESS_DELAYS=8 cargo test --release --features testing-delays --test stress
//! ```
//!
//! With `testing-delays`, one in `STRESS_DELAYS` threads waits between reading shared state
//! and acting on it (8 by default; 0 for none).
//!
//! A value that changed, a panic, and a thread without progress for half a minute
//! end the process, with a message and a status that is not 0. The same seed gives
//! the same choices; the order of the threads' steps is the machine's.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "the model uses all of it")]
#[path = "../model/dice.rs"]
mod dice;

mod adoption;
mod beside;
mod families;
mod figures;
mod mixed;
mod resizing;
mod run;
mod scopes;
mod stale;
mod values;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::ALLOC;
use dice::Dice;
use run::Turn;

/// A scene: the work of a turn's threads.
type Scene = fn(&Turn);

const SCENES: [(&str, Scene); 7] = [
    ("resizing", resizing::play),
    ("stale", stale::play),
    ("figures", figures::play),
    ("adoption", adoption::play),
    ("scopes", scopes::play),
    ("families", families::play),
    ("mixed", mixed::play),
];

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// The scenes that the environment names, or all.
fn wanted() -> Vec<(&'static str, Scene)> {
    let names = std::env::var("STRESS_SCENES").unwrap_or_default();
    let is_wanted = |name: &str| names.is_empty() || names.split(',').any(|wanted| wanted == name);
    let found: Vec<_> = SCENES.into_iter().filter(|&(name, _)| is_wanted(name)).collect();
    assert!(!found.is_empty(), "no scene of STRESS_SCENES={names} is known");
    found
}

fn set_delays() {
    #[cfg(feature = "testing-delays")]
    expert_alloc::testing::set_delays(number("STRESS_DELAYS").unwrap_or(8) as u32);
}

/// Says how often each window was entered; each must have been, or the run has not tried it.
#[cfg(feature = "testing-delays")]
fn all_windows_were_entered() {
    use expert_alloc::testing::{Window, entered};
    for &window in Window::ALL {
        println!("{:>12} {window:?}", entered(window));
    }
    // Calls by key, and plug-ins, are in `keyed_races` and `hosts`.
    let is_elsewhere = |window: &Window| {
        use Window::*;
        matches!(window, KeyAllocate | KeyFree | KeyTake | KeyTaken | Lent)
    };
    let wanted = Window::ALL.iter().filter(|window| !is_elsewhere(window));
    let left: Vec<_> = wanted.filter(|&&window| entered(window) == 0).collect();
    assert!(left.is_empty(), "never entered: {left:?}");
}

fn main() {
    if std::env::args().any(|arg| arg == "--list") {
        println!("stress: test");
        return;
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    let seed = number("STRESS_SEED").unwrap_or(clock);
    let seconds = Duration::from_secs(number("STRESS_SECONDS").unwrap_or(20));
    let scenes = wanted();
    println!("stress: seed {seed}, {seconds:?}");
    run::watch(seed);
    set_delays();
    let mut dice = Dice::Seed(seed);
    let began = Instant::now();
    let mut turns = 0;
    // Every scene runs once, and then random ones follow.
    while turns < scenes.len() || began.elapsed() < seconds {
        let (name, scene) = match scenes.get(turns) {
            Some(&scene) => scene,
            None => scenes[dice.below(scenes.len())],
        };
        let most = if turns < scenes.len() { 1500 } else { 3000 };
        let lasts = Duration::from_millis(1000 + dice.below(most - 1000 + 1) as u64);
        let turn = Turn::new(name, dice.next(), Instant::now() + lasts);
        std::thread::scope(|threads| {
            beside::start(&turn, turns, threads, &mut dice);
            scene(&turn);
        });
        println!("{:7.1?} {turn}", began.elapsed());
        let left = ALLOC.snapshot().experts.len();
        assert_eq!(left, 1, "the host and {} experts are left after {name}", left - 1);
        turns += 1;
    }
    #[cfg(feature = "testing-delays")]
    if scenes.len() == SCENES.len() {
        all_windows_were_entered();
    }
    println!("stress: {turns} turns in {:.1?}, seed {seed}, nothing found", began.elapsed());
}
