//! Resident memory over time after a process has freed its memory: first without any call
//! that gives memory back, at last after a purge by the main thread.
//!
//! Figures are MiB above what the process held when the work began.

use std::sync::{Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::Row;
use crate::memory::{Block, Global, Memory, layout};
use crate::owners::{ChosenLife, Life};
use crate::threads::Slots;
use bench_peers::measure::{Resident, Run};
use bench_peers::random::Sizes;

pub const ROWS: &[Row] = &[
    Row { name: "burst", run: burst },
    Row { name: "bursty server", run: bursty_server },
    Row { name: "one size after another", run: one_size_after_another },
    Row { name: "after owners", run: after_owners::<ChosenLife> },
];

const MIB: f64 = (1 << 20) as f64;

/// Resident memory over time. Its table is allocated and written to before the first
/// reading, so reading takes no memory.
struct Watch {
    start: Instant,
    before: usize,
    curve: Vec<(f64, f64)>,
}

impl Watch {
    fn start() -> Self {
        let mut curve = vec![(1.0, 1.0); 2000];
        curve.clear();
        Self { start: Instant::now(), before: Resident::exact(), curve }
    }

    /// Begins the curve anew; the memory held before is kept.
    fn restart(&mut self) {
        self.curve.clear();
        self.start = Instant::now();
    }

    /// MiB now.
    fn look(&mut self) -> f64 {
        let held = Resident::exact() as f64 - self.before as f64;
        if self.curve.len() < self.curve.capacity() {
            self.curve.push((self.start.elapsed().as_secs_f64(), held / MIB));
        }
        held / MIB
    }

    /// Reads memory ten times a second while the process sleeps.
    fn sleep(&mut self, time: Duration) -> f64 {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.look();
            }
            thread::sleep(left.min(Duration::from_millis(100)));
            self.look();
        }
    }

    /// Notes the memory held now, after two seconds, after five seconds (unless `seconds`
    /// is less), and after a purge by this thread.
    fn note_the_end(&mut self, run: &mut Run) {
        run.note("at_0_s", self.look());
        run.note("at_2_s", self.sleep(Duration::from_secs(2)));
        if run.arguments.get("seconds", 5) >= 5 {
            run.note("at_5_s", self.sleep(Duration::from_secs(3)));
        }
        bench_peers::purge();
        run.note("purged", self.look());
    }
}

/// Blocks of the skewed mix, of `bytes` in all.
fn fill(bytes: usize, seed: usize, sizes: &Sizes) -> Vec<Block> {
    let (mut blocks, mut sum) = (Vec::new(), 0);
    while sum < bytes {
        let size = sizes.get(seed + blocks.len());
        blocks.push(Global.take(layout(size)));
        sum += size;
    }
    blocks
}

/// `threads` threads allocate `mib` in all, free all of it, and end. With `asleep=1` they
/// sleep instead of ending.
fn burst(run: &mut Run) {
    let threads = run.arguments.get("threads", 4);
    let bytes = run.arguments.get("mib", 300) << 20;
    let asleep = run.arguments.get("asleep", 0) == 1;
    let (full, empty, over) =
        (Barrier::new(threads + 1), Barrier::new(threads + 1), Barrier::new(threads + 1));
    let (full, empty, over) = (&full, &empty, &over);
    let mut watch = Watch::start();
    thread::scope(|scope| {
        let work = move |number: usize| {
            let blocks = fill(bytes / threads, number * 1000, &Sizes::skewed());
            full.wait();
            full.wait();
            Slots(blocks).free();
            empty.wait();
            if asleep {
                over.wait();
            }
        };
        let all: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        full.wait();
        run.note("peak", watch.look());
        full.wait();
        empty.wait();
        // The curve begins when everything is free.
        watch.restart();
        if !asleep {
            all.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
        }
        watch.note_the_end(run);
        if asleep {
            over.wait();
        }
    });
    run.record_curve(watch.curve);
}

/// Rounds of the bursty server, with the names of the memory held after each.
const AFTER: [&str; 10] = [
    "after_1", "after_2", "after_3", "after_4", "after_5", "after_6", "after_7", "after_8",
    "after_9", "after_10",
];

/// The fate of a block when its round ends.
enum End {
    Free,
    /// Another thread frees it.
    Foreign,
    /// It stays for another round.
    Keep,
}

impl End {
    /// The fate of block `index`: one of twenty stays, and `foreign` percent of the others
    /// go to other threads.
    fn of(index: usize, foreign: usize) -> Self {
        match index {
            _ if index % 20 == 7 => Self::Keep,
            // 37 has no divisor in common with 100.
            _ if index * 37 % 100 < foreign => Self::Foreign,
            _ => Self::Free,
        }
    }
}

/// The sizes of a round: blocks from half of this to half as much again.
const ROUND_SIZES: [usize; 10] = [64, 1024, 96, 384, 3072, 48, 768, 192, 1536, 256];

/// A server with `threads` threads runs ten rounds. Each round allocates `low` to two and a
/// half times `low` MiB, in blocks of other sizes. Other threads free `foreign` percent of
/// the blocks, and a twentieth stays for another round. After each round the server is idle
/// for `pause` milliseconds.
fn bursty_server(run: &mut Run) {
    let threads = run.arguments.get("threads", 8);
    let low = run.arguments.get("low", 200);
    let foreign = run.arguments.get("foreign", 25);
    let pause = Duration::from_millis(run.arguments.get("pause", 300) as u64);
    let gate = Barrier::new(threads + 1);
    let post: Vec<Mutex<Slots>> = (0..threads).map(|_| Mutex::new(Slots(Vec::new()))).collect();
    let (gate, post) = (&gate, &post);
    // The rounds have all sizes in a mixed order, because 7 has no divisor in common with
    // 10.
    let mib = move |round: usize| low + low * 3 / 2 * (round * 7 % AFTER.len()) / (AFTER.len() - 1);
    let serve = move |number: usize| {
        let mut kept = Vec::new();
        for (round, size) in ROUND_SIZES.into_iter().enumerate() {
            let sizes = Sizes::around(size);
            let bytes = (mib(round) << 20) / threads;
            let blocks = fill(bytes, (round * threads + number) * 1000, &sizes);
            gate.wait();
            gate.wait();
            let (mut keep, mut send, mut free) = (Vec::new(), Vec::new(), Vec::new());
            for (index, block) in blocks.into_iter().enumerate() {
                match End::of(index, foreign) {
                    End::Free => free.push(block),
                    End::Foreign => send.push(block),
                    End::Keep => keep.push(block),
                }
            }
            post[(number + 1) % threads].lock().expect("no thread panics").0 = send;
            Slots(free).free();
            Slots(std::mem::replace(&mut kept, keep)).free();
            gate.wait();
            let received = std::mem::take(&mut post[number].lock().expect("no thread panics").0);
            Slots(received).free();
            gate.wait();
            gate.wait();
        }
        Slots(kept).free();
    };
    let mut watch = Watch::start();
    let (mut peak, mut largest) = (0.0, 0.0);
    thread::scope(|scope| {
        for number in 0..threads {
            scope.spawn(move || serve(number));
        }
        for name in AFTER {
            gate.wait();
            peak = watch.look().max(peak);
            gate.wait();
            gate.wait();
            gate.wait();
            let held = watch.sleep(pause);
            run.note(name, held);
            largest = held.max(largest);
            gate.wait();
        }
    });
    run.note("peak", peak);
    run.note("largest_after", largest);
    watch.note_the_end(run);
    run.record_curve(watch.curve);
}

/// One thread allocates `mib` of blocks of one size after another, the main
/// thread frees them.
fn one_size_after_another(run: &mut Run) {
    const SIZES: [usize; 12] = [64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072];
    let bytes = run.arguments.get("mib", 100) << 20;
    let (order, orders) = mpsc::channel::<usize>();
    let (give, given) = mpsc::channel::<Slots>();
    let mut watch = Watch::start();
    let mut largest: f64 = 0.0;
    thread::scope(|scope| {
        scope.spawn(move || {
            for size in orders {
                let blocks = (0..bytes / size).map(|_| Global.take(layout(size))).collect();
                give.send(Slots(blocks)).expect("the main thread takes it");
            }
        });
        for size in SIZES {
            order.send(size).expect("the thread waits");
            let blocks = given.recv().expect("the thread sends it");
            largest = watch.look().max(largest);
            blocks.free();
            largest = watch.look().max(largest);
        }
        run.note("largest", largest);
        run.note("live", bytes as f64 / MIB);
        watch.note_the_end(run);
        // The thread ends.
        drop(order);
    });
    run.record_curve(watch.curve);
}

/// `owners` owners, all alive at once, with twenty blocks of 100 to 4,000 bytes
/// each, end one after the other.
fn after_owners<L: Life>(run: &mut Run) {
    let count = run.arguments.get("owners", 5_000);
    let layouts = std::array::from_fn(|index: usize| layout(100 + index * 205));
    let mut lives: Vec<L> = Vec::with_capacity(count);
    let mut watch = Watch::start();
    for _ in 0..count {
        let mut life = L::begin();
        life.fill(&layouts);
        lives.push(life);
    }
    run.note("peak", watch.look());
    lives.into_iter().for_each(L::end);
    watch.note_the_end(run);
    run.record_curve(watch.curve);
}
