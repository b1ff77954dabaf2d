//! Many small owners: connections, requests, queries, tasks. The rows measure the cost of a
//! turn among thousands of owners, and the memory of each owner. The rows of `attribution`
//! also run with as many owners.
//!
//! With `without=1` a row does the same work without owners.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::{Barrier, Mutex};
use std::thread;

use crate::Row;
use crate::memory::{Block, Global, Memory, layout};
use crate::owners::{BLOCKS, Chosen, ChosenLife, Life, Listed, NoOwners, Owners};
use crate::queries::queries;
use crate::threads::Slots;
use bench_peers::measure::{Resident, Run};
use bench_peers::random::{Random, Sizes};

/// A row over owners of the allocator's own kind, or without owners.
macro_rules! row {
    ($name:literal, $work:ident, $owners:ty, $none:ty) => {
        Row {
            name: $name,
            run: |run| match run.arguments.get("without", 0) {
                0 => $work::<$owners>(run),
                _ => $work::<$none>(run),
            },
        }
    };
}

pub const ROWS: &[Row] = &[
    row!("request", request, Chosen, NoOwners),
    row!("one block", one_block, Chosen, NoOwners),
    row!("whole life", whole_life, ChosenLife, Listed),
    row!("survivors", survivors, Chosen, NoOwners),
    row!("queries", queries, Chosen, NoOwners),
];

/// Requests of owners drawn at random: thirty temporary blocks each, and one of the owner's
/// twenty lasting ones replaced. An operation is an allocation. The memory of the process
/// per owner after the requests is noted, beside the bytes that were asked for.
fn request<O: Owners>(run: &mut Run) {
    const TEMPORARY: usize = 30;
    const LASTING: usize = 20;
    let count = run.arguments.get("owners", 1_000);
    let requests = run.arguments.get("requests", 100_000);
    let sizes = Sizes::skewed();
    let mut random = Random::new(31);
    let mut lasting = vec![Block::NONE; count * LASTING];
    let before = Resident::exact();
    let mut owners = O::register(count);
    for (owner, slots) in lasting.chunks_mut(LASTING).enumerate() {
        let fill = |(index, slot): (usize, &mut Block)| {
            *slot = Global.take(layout(sizes.get(owner * LASTING + index)));
        };
        owners.turn(owner, || slots.iter_mut().enumerate().for_each(fill));
    }
    let mut serve = |requests: usize| {
        let mut temporary = [Block::NONE; TEMPORARY];
        for _ in 0..requests {
            let owner = random.below(count);
            let bits = random.next();
            owners.turn(owner, || {
                for (index, block) in temporary.iter_mut().enumerate() {
                    *block = Global.take(layout(sizes.get((bits as usize >> 8) + index * 7)));
                }
                for &block in &temporary {
                    // SAFETY: S1, taken in the loop above and freed once.
                    unsafe { Global.give(block) };
                }
                let slot = owner * LASTING + (bits >> 32) as usize % LASTING;
                // SAFETY: S1, every slot holds a live block; it is replaced below.
                unsafe { Global.give(lasting[slot]) };
                lasting[slot] = Global.take(layout(sizes.get(bits as usize >> 20)));
            });
        }
    };
    // Every owner has its turn before the clock runs.
    serve(requests / 4 + count);
    run.time(requests * (TEMPORARY + 1), || serve(requests));
    let held = Resident::exact().saturating_sub(before);
    let asked: usize = lasting.iter().map(|block| block.layout().size()).sum();
    run.note("bytes_per_owner", held as f64 / count as f64);
    run.note("asked_per_owner", asked as f64 / count as f64);
    Slots(lasting).free();
    owners.finish();
}

/// One block of 16 bytes per owner and thread. The memory of the process is noted per
/// owner, and in all when every owner has ended. The threads allocate one after the other
/// and stay alive until all have.
fn one_block<O: Owners>(run: &mut Run) {
    let count = run.arguments.get("owners", 50_000);
    let threads = run.arguments.get("threads", 1);
    let mut tables: Vec<Slots> = (0..threads).map(|_| Slots(vec![Block::NONE; count])).collect();
    let before = Resident::exact();
    let owners = Mutex::new(O::register(count));
    let barrier = Barrier::new(threads + 1);
    let fill = |Slots(table): &mut Slots| {
        let mut owners = owners.lock().expect("no thread panics");
        for (owner, slot) in table.iter_mut().enumerate() {
            *slot = owners.turn(owner, || Global.take(layout(black_box(16))));
        }
    };
    thread::scope(|scope| {
        let (barrier, fill) = (&barrier, &fill);
        for table in &mut tables {
            scope.spawn(move || {
                fill(table);
                barrier.wait();
                barrier.wait();
                std::mem::replace(table, Slots(Vec::new())).free();
            });
        }
        barrier.wait();
        let held = Resident::exact().saturating_sub(before);
        run.note("bytes_per_owner", held as f64 / count as f64);
        barrier.wait();
    });
    run.time(count, || owners.into_inner().expect("no thread panics").finish());
    bench_peers::purge();
    // The tables existed before the measurement.
    let tables = threads * count * size_of::<Block>();
    run.note("left_bytes", (Resident::exact() + tables).saturating_sub(before) as f64);
}

/// Registers an owner, allocates twenty blocks in five classes, and ends it, while `alive`
/// other such owners live. An operation is a life.
fn whole_life<L: Life>(run: &mut Run) {
    let alive = run.arguments.get("alive", 0);
    let lives = run.arguments.get("lives", 200_000);
    let layouts = std::array::from_fn(|index: usize| layout([32, 64, 96, 128, 192][index % 5]));
    const _: () = assert!(BLOCKS % 5 == 0);
    let mut living = VecDeque::with_capacity(alive + 1);
    let mut live = |lives: usize| {
        for _ in 0..lives {
            let mut life = L::begin();
            life.fill(black_box(&layouts));
            living.push_back(life);
            if living.len() > alive {
                living.pop_front().into_iter().for_each(L::end);
            }
        }
    };
    live(alive + lives / 10);
    run.time(lives, || live(lives));
    living.into_iter().for_each(L::end);
}

/// Owners that come, leave one block of 64 bytes behind, and end. An operation is an owner.
/// The memory of the process per block left behind is noted.
fn survivors<O: Owners>(run: &mut Run) {
    let count = run.arguments.get("owners", 50_000);
    let mut left = vec![Block::NONE; count];
    let before = Resident::exact();
    run.time(count, || {
        for slot in &mut left {
            let mut owners = O::register(1);
            *slot = owners.turn(0, || Global.take(layout(black_box(64))));
            owners.finish();
        }
    });
    let held = Resident::exact().saturating_sub(before);
    run.note("bytes_per_owner", held as f64 / count as f64);
    Slots(left).free();
}
