//! Turns, their threads, and a watch that notices when one of them is stuck.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::dice::Dice;

/// How many threads may be at work at once.
const PLACES: usize = 64;

/// After how many seconds without progress a thread is stuck.
const PATIENCE: u64 = 30;

/// The progress of one thread at work, and its role. The thread writes it without a lock,
/// and the watch reads it.
struct Place {
    taken: AtomicBool,
    steps: AtomicU64,
    role: AtomicUsize,
}

static PLACES_TAKEN: [Place; PLACES] = [const {
    Place { taken: AtomicBool::new(false), steps: AtomicU64::new(0), role: AtomicUsize::new(0) }
}; PLACES];

/// The names of all roles so far, in fixed room, so the watch needs no heap.
static ROLES: Mutex<([&str; 64], usize)> = Mutex::new(([""; 64], 0));

fn role_number(name: &'static str) -> usize {
    let mut roles = ROLES.lock().unwrap();
    let (names, count) = &mut *roles;
    let place = names[..*count].iter().position(|known| *known == name).unwrap_or(*count);
    names[place] = name;
    *count = (*count).max(place + 1);
    place
}

/// One scene for a while.
pub struct Turn {
    name: &'static str,
    seed: u64,
    until: Instant,
    /// How many rounds the threads of the scene played.
    rounds: AtomicU64,
    actors: AtomicU64,
}

impl Turn {
    pub fn new(name: &'static str, seed: u64, until: Instant) -> Self {
        Self { name, seed, until, rounds: AtomicU64::new(0), actors: AtomicU64::new(0) }
    }

    /// Choices for the whole scene.
    pub fn dice(&self) -> Dice<'static> {
        Dice::Seed(self.seed)
    }

    /// Registers the calling thread at work, as `role`; threads of one role differ in
    /// `number`.
    pub fn actor(&self, role: &'static str, number: usize) -> Actor<'_> {
        self.actors.fetch_add(1, Relaxed);
        let is_mine = |place: &&Place| !place.taken.swap(true, Relaxed);
        let place = PLACES_TAKEN.iter().find(is_mine).expect("a place for each thread");
        let role_number = role_number(role);
        place.role.store(role_number, Relaxed);
        place.steps.fetch_add(1, Relaxed);
        let seed = self.seed ^ ((role_number << 8 | number) as u64 + 1).wrapping_mul(0x9E37_79B9);
        Actor { turn: self, place, dice: Dice::Seed(seed) }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rounds, actors) = (self.rounds.load(Relaxed), self.actors.load(Relaxed));
        write!(f, "{}: {rounds} rounds of {actors} threads", self.name)
    }
}

/// A thread at work.
pub struct Actor<'t> {
    turn: &'t Turn,
    place: &'static Place,
    pub dice: Dice<'static>,
}

impl Actor<'_> {
    /// Whether the turn lasts. Threads ask this before each round.
    pub fn goes_on(&self) -> bool {
        self.step();
        self.turn.rounds.fetch_add(1, Relaxed);
        Instant::now() < self.turn.until
    }

    /// Notes progress.
    pub fn step(&self) {
        self.place.steps.fetch_add(1, Relaxed);
    }

    /// Lets a random short time pass: spins below `most` times.
    pub fn pause(&mut self, most: usize) {
        (0..self.dice.below(most)).for_each(|_| std::hint::spin_loop());
    }
}

impl Drop for Actor<'_> {
    fn drop(&mut self) {
        self.place.taken.store(false, Relaxed);
    }
}

/// Waits until a condition holds that another thread brings about.
pub fn wait_until(is_so: impl Fn() -> bool) {
    for turn in 0u32.. {
        if is_so() {
            return;
        }
        // The other thread needs a core, too.
        if turn % 64 == 63 {
            std::thread::yield_now();
        }
        std::hint::spin_loop();
    }
}

/// A copy of standard error, which is written to without a lock or the heap, because a
/// thread may be stuck in either.
fn messages() -> File {
    #[cfg(unix)]
    let owned = std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned().unwrap();
    #[cfg(windows)]
    let owned =
        std::os::windows::io::AsHandle::as_handle(&std::io::stderr()).try_clone_to_owned().unwrap();
    File::from(owned)
}

/// Ends the process with a message if a thread panics or is stuck.
pub fn watch(seed: u64) {
    let panics = messages();
    let hook = move |panic: &std::panic::PanicHookInfo<'_>| {
        // The place is printed first, because the message may need the heap, whose lock the
        // thread may hold.
        let mut out = &panics;
        let _ = match panic.location() {
            Some(place) => writeln!(out, "stress: seed {seed}: panic at {place}"),
            None => writeln!(out, "stress: seed {seed}: panic"),
        };
        let message = panic.payload();
        let text = message.downcast_ref::<&str>().copied();
        let text = text.or_else(|| message.downcast_ref::<String>().map(String::as_str));
        let _ = writeln!(out, "  {}", text.unwrap_or("(no message)"));
        std::process::abort();
    };
    std::panic::set_hook(Box::new(hook));
    let mut out = messages();
    std::thread::spawn(move || look_out(seed, &mut out));
}

fn look_out(seed: u64, out: &mut File) {
    let mut seen = [(0, 0); PLACES];
    loop {
        std::thread::sleep(Duration::from_secs(1));
        for (place, (steps, since)) in PLACES_TAKEN.iter().zip(&mut seen) {
            let now = place.steps.load(Relaxed);
            if !place.taken.load(Relaxed) || now != *steps {
                (*steps, *since) = (now, 0);
                continue;
            }
            *since += 1;
            if *since == PATIENCE {
                let role = ROLES.lock().unwrap().0[place.role.load(Relaxed)];
                let _ = writeln!(
                    out,
                    "stress: seed {seed}: thread `{role}` has not gone on for {PATIENCE} s"
                );
                std::process::abort();
            }
        }
    }
}
