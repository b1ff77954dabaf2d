//! Several threads: Larson, producer to consumer, threads that come and go,
//! false sharing.

use std::sync::Barrier;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::Row;
use crate::memory::{Block, Global, Memory, layout};
use bench_peers::measure::Run;
use bench_peers::random::{Random, Sizes};

pub const ROWS: &[Row] = &[
    Row { name: "Larson", run: larson },
    Row { name: "producer-consumer", run: producer_consumer },
    Row { name: "threads come and go", run: come_and_go },
    Row { name: "false sharing", run: false_sharing },
    Row { name: "many threads", run: many_threads },
];

/// Blocks that one thread hands to another.
pub struct Slots(pub Vec<Block>);

// SAFETY: a block may be used and freed by any thread; `Slots` owns its own.
unsafe impl Send for Slots {}

impl Slots {
    /// Frees all of them.
    pub fn free(self) {
        for block in self.0 {
            // SAFETY: S1, each is live and freed once.
            unsafe { Global.give(block) };
        }
    }
}

/// As a server would: each thread replaces blocks in its slots at random for
/// a while, then hands the slots to a fresh thread and ends. An operation is
/// one replacement.
fn larson(run: &mut Run) {
    const SLOTS: usize = 2_000;
    let threads = run.arguments.get("threads", 2);
    let generations = run.arguments.get("generations", 60);
    let replacements = run.arguments.get("replacements", 20_000);
    let fill = |seed: usize| {
        let sizes = Sizes::skewed();
        Slots((0..SLOTS).map(|index| Global.take(layout(sizes.get(seed + index)))).collect())
    };
    let all: Vec<Slots> = (0..threads).map(fill).collect();
    let chain = |seed: usize, mut slots: Slots| {
        for left in 0..generations {
            let turn = move || generation(slots, seed * 1000 + left, replacements);
            slots = thread::spawn(turn).join().expect("no thread panics");
        }
        slots
    };
    let chain = &chain;
    let all = run.time_threads(generations * replacements * threads, || {
        thread::scope(|scope| {
            let chains: Vec<_> = all
                .into_iter()
                .enumerate()
                .map(|(seed, slots)| scope.spawn(move || chain(seed, slots)))
                .collect();
            chains
                .into_iter()
                .map(|chain| chain.join().expect("no thread panics"))
                .collect::<Vec<_>>()
        })
    });
    all.into_iter().for_each(Slots::free);
}

/// One thread's turn.
fn generation(mut slots: Slots, seed: usize, replacements: usize) -> Slots {
    let sizes = Sizes::skewed();
    let mut random = Random::new(seed as u64);
    for _ in 0..replacements {
        let bits = random.next();
        let slot = ((bits >> 32) * slots.0.len() as u64 >> 32) as usize;
        // SAFETY: S1, every slot holds a live block; it is replaced below.
        unsafe { Global.give(slots.0[slot]) };
        slots.0[slot] = Global.take(layout(sizes.get(bits as usize)));
    }
    slots
}

/// A ring from one thread to another, without locks or allocations.
struct Ring {
    places: Vec<AtomicPtr<u8>>,
    written: AtomicUsize,
    read: AtomicUsize,
}

impl Ring {
    fn new(places: usize) -> Self {
        Self {
            places: (0..places).map(|_| AtomicPtr::default()).collect(),
            written: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
        }
    }

    /// Pushes a result of `make`, `count` times, and waits while the ring is full.
    fn produce(&self, count: usize, mut make: impl FnMut(usize) -> *mut u8) {
        let mut read = 0;
        for index in 0..count {
            while index - read == self.places.len() {
                // Acquire: the reader has emptied the place.
                read = self.read.load(Ordering::Acquire);
                if index - read == self.places.len() {
                    thread::yield_now();
                }
            }
            self.places[index % self.places.len()].store(make(index), Ordering::Relaxed);
            // Release: the place and the block's content are written.
            self.written.store(index + 1, Ordering::Release);
        }
    }

    /// Takes `count` times, and waits while the ring is empty.
    fn consume(&self, count: usize, mut take: impl FnMut(usize, *mut u8)) {
        let mut written = 0;
        for index in 0..count {
            while index == written {
                // Acquire: of the producer's Release.
                written = self.written.load(Ordering::Acquire);
                if index == written {
                    thread::yield_now();
                }
            }
            take(index, self.places[index % self.places.len()].load(Ordering::Relaxed));
            // Release: the place has been read.
            self.read.store(index + 1, Ordering::Release);
        }
    }
}

/// One thread allocates, another frees, at most 4,096 blocks apart.
fn producer_consumer(run: &mut Run) {
    let count = run.arguments.get("operations", 1_000_000);
    let ring = Ring::new(4096);
    let sizes = Sizes::skewed();
    run.time_threads(count, || {
        thread::scope(|scope| {
            scope.spawn(|| {
                ring.produce(count, |index| Global.take(layout(sizes.get(index))).address)
            });
            scope.spawn(|| {
                ring.consume(count, |index, address| {
                    let layout = layout(sizes.get(index));
                    for offset in [0, layout.size() - 1] {
                        // SAFETY: inside the block.
                        let end = unsafe { address.add(offset) };
                        // SAFETY: the producer wrote both ends of this block.
                        let seen = unsafe { end.read_volatile() };
                        assert_eq!(seen, 1, "another block's content");
                    }
                    // SAFETY: S1, the producer gave it away with this layout.
                    unsafe { std::alloc::dealloc(address, layout) };
                });
            });
        });
    });
}

/// Short-lived threads, two at a time: each allocates 2,000 blocks, frees
/// every other one, and leaves the rest to be freed by the main thread eight
/// generations later. An operation is one block.
fn come_and_go(run: &mut Run) {
    const BLOCKS: usize = 2_000;
    const KEPT: usize = 8;
    let generations = run.arguments.get("generations", 200);
    let sizes = Sizes::skewed();
    let sizes = &sizes;
    let work = |seed: usize| {
        let mut left = Vec::with_capacity(BLOCKS / 2);
        let mut freed = Vec::with_capacity(BLOCKS / 2);
        for index in 0..BLOCKS {
            let list = if index % 2 == 0 { &mut left } else { &mut freed };
            list.push(Global.take(layout(sizes.get(seed * 37 + index))));
        }
        Slots(freed).free();
        Slots(left)
    };
    let work = &work;
    let mut kept = std::collections::VecDeque::with_capacity(2 * KEPT + 2);
    run.time_threads(generations * 2 * BLOCKS, || {
        for generation in 0..generations {
            thread::scope(|scope| {
                let pair = [0, 1].map(|half| scope.spawn(move || work(generation * 2 + half)));
                for thread in pair {
                    kept.push_back(thread.join().expect("no thread panics"));
                }
            });
            while kept.len() > 2 * KEPT {
                kept.pop_front().map(Slots::free);
            }
        }
    });
    kept.into_iter().for_each(Slots::free);
}

/// Two threads that each write to a small block of their own, first one that the main
/// thread handed out, then ones of their own. The row is slow if blocks of different
/// threads share a cache line. An operation is a block with thirty writes. Processors
/// always predict the end of such a short loop. They sometimes predict that of a longer
/// loop, and this luck would outweigh the allocator.
fn false_sharing(run: &mut Run) {
    let count = run.arguments.get("operations", 400_000);
    let work = |Slots(mut first): Slots| {
        let mut block = first.pop().expect("one block");
        for _ in 0..count {
            for _ in 0..30 {
                // SAFETY: the block is live and this thread's; it has 8 bytes.
                let value = unsafe { block.address.read_volatile() };
                // SAFETY: as above.
                unsafe { block.address.write_volatile(value.wrapping_add(1)) };
            }
            // SAFETY: S1, live; replaced on the next line.
            unsafe { Global.give(block) };
            block = Global.take(layout(8));
        }
        // SAFETY: S1, live, not used again.
        unsafe { Global.give(block) };
    };
    let first = [(); 2].map(|()| Slots(vec![Global.take(layout(8))]));
    run.time_threads(count * 2, || {
        thread::scope(|scope| {
            for slots in first {
                scope.spawn(|| work(slots));
            }
        });
    });
}

/// `threads` threads, each with a thousand slots of its own, that share `experts` experts
/// (0 for none). The row measures elapsed time, because it is about waiting, from the
/// moment when all have filled their slots to the end of the last thread. An operation is
/// one replacement.
fn many_threads(run: &mut Run) {
    const SLOTS: usize = 1_000;
    let threads = run.arguments.get("threads", 2);
    // So many rounds that each of 64 threads is interrupted many times.
    let operations = run.arguments.get("operations", 50_000_000) / threads;
    #[cfg(feature = "expert")]
    let experts: Vec<_> = (0..run.arguments.get("experts", 8))
        .map(|_| bench_peers::ALLOC.expert("benchmark").register().expect("slots are left"))
        .collect();
    let barrier = Barrier::new(threads);
    let work = |thread: usize| {
        #[cfg(feature = "expert")]
        let _scope = experts.get(thread % experts.len().max(1)).map(|expert| expert.enter());
        let sizes = Sizes::skewed();
        let mut random = Random::new(thread as u64);
        let take = |slot: usize| Global.take(layout(sizes.get(thread + slot)));
        let mut slots = Slots((0..SLOTS).map(take).collect());
        barrier.wait();
        let start = Instant::now();
        for _ in 0..operations {
            let bits = random.next();
            let slot = ((bits >> 32) * SLOTS as u64 >> 32) as usize;
            // SAFETY: S1, every slot holds a live block; it is replaced below.
            unsafe { Global.give(slots.0[slot]) };
            slots.0[slot] = Global.take(layout(sizes.get(bits as usize)));
        }
        let end = Instant::now();
        barrier.wait();
        slots.free();
        (start, end)
    };
    let times: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let work = &work;
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        all.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    // The time from the first start to the last end is read by the threads themselves,
    // because on a busy machine the main thread would read the clock late.
    let start = times.iter().map(|time| time.0).min().expect("there is a thread");
    let end = times.iter().map(|time| time.1).max().expect("there is a thread");
    run.record(operations * threads, end - start);
}
