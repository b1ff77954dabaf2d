//! Other threads look at a thread's spans, and end those without a block in use, while that
//! thread frees the last block: a purge or the last free of another thread *visits* the
//! thread, a sweep walks over the span, and the host adopts it when an expert ends.
//!
//! Follows `Span::push`, `free::noticed`, `Presence::visit`, `free::push_owned` and
//! `free::end_if_unused`, `Cache::end_set_aside`, `sweep::sweep`, `handover::adopt` and
//! `Cache::with_own`.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::lists;
use crate::lock::Lock;

/// Mistakes that the models must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// A free that is waited for is counted before the thread takes its own lock.
    CountsBeforeLock,
    /// The count of a free orders nothing.
    CountsUnordered,
    /// A free is counted before the block is on its list.
    CountsEarly,
    /// A visitor does not take the thread's lock.
    VisitsWithoutLock,
    /// A visitor takes for granted that the span is still on a list of the thread's.
    EndsWithoutLooking,
    /// A sweep does not hold the heap's lock.
    SweepsWithoutLock,
    /// The thread does not ask again, under the lock, whose the span is.
    TrustsTheFirstHeap,
}

/// The blocks of the span: the first is freed by another thread, the second by the span's.
const OTHERS: usize = 0;
const OWN: usize = 1;
const CARVED: u32 = 2;

/// The expert's heap and the host's.
const EXPERTS: usize = 0;
const HOSTS: usize = 1;

/// A span of a thread, on one of its lists.
struct Scene {
    /// The thread's lock.
    thread: Lock<()>,
    /// Whether the span is on a list of the thread's cache (PRESENT3).
    is_listed: UnsafeCell<bool>,
    /// The heap that the span belongs to.
    heap: AtomicUsize,
    /// Each heap's lock, and whether the span is on the heap's list.
    heaps: [Mutex<bool>; 2],
    /// How many more local frees the span waits for, and SPAN2's other word.
    wait: AtomicU32,
    base: AtomicU32,
    /// The first block of the local list, which the thread writes without a lock.
    local: UnsafeCell<Option<usize>>,
    remote: lists::Span,
    blocks: [UnsafeCell<u32>; CARVED as usize],
    /// How often the span ended.
    ends: AtomicUsize,
    mistake: Mistake,
}

// SAFETY: the cells are checked by loom, which is what it is for.
unsafe impl Sync for Scene {}
// SAFETY: as above.
unsafe impl Send for Scene {}

impl Scene {
    /// A span with both blocks in use, which waits for `wait` local frees.
    fn new(wait: u32, mistake: Mistake) -> Self {
        Self {
            thread: Lock::new(()),
            is_listed: UnsafeCell::new(true),
            heap: AtomicUsize::new(EXPERTS),
            heaps: [true, false].map(Mutex::new),
            wait: AtomicU32::new(wait),
            base: AtomicU32::new(wait),
            local: UnsafeCell::new(None),
            remote: lists::Span::new(),
            blocks: [0, 0].map(UnsafeCell::new),
            ends: AtomicUsize::new(0),
            mistake,
        }
    }

    /// The user's last write to a block.
    fn write(&self, block: usize) {
        // SAFETY: the block is in use, and the caller is its user.
        self.blocks[block].with_mut(|block| unsafe { *block += 1 });
    }

    fn own_free(&self) -> u32 {
        let wait = self.wait.load(Acquire);
        self.base.load(Relaxed) - wait
    }

    fn outstanding(&self) -> u32 {
        CARVED - (self.own_free() + self.remote.remote.state().count())
    }

    /// The thread frees its block, for which the span waits with `wait`. This is a parameter
    /// because of the loads before stores that loom forgets.
    fn free(&self, wait: u32) {
        self.write(OWN);
        if self.mistake == Mistake::CountsEarly {
            self.wait.store(wait - 1, Release);
        }
        // SAFETY: the thread's alone, if the protocol holds.
        self.local.with_mut(|local| unsafe { *local = Some(OWN) });
        if wait == 1 {
            return self.noticed();
        }
        let order = if self.mistake == Mistake::CountsUnordered { Relaxed } else { Release };
        self.wait.store(wait - 1, order);
    }

    /// The free that the span waited for.
    fn noticed(&self) {
        if self.mistake == Mistake::CountsBeforeLock {
            self.wait.store(0, Release);
        }
        let _held = self.thread.lock();
        self.wait.store(0, Release);
        self.list(false);
        if self.own_free() == CARVED {
            self.end_own();
            return;
        }
        self.enlist();
        self.look_around();
    }

    /// Puts the span on a list of the thread's, or takes it off.
    fn list(&self, is_listed: bool) {
        // SAFETY: under the thread's lock, if the protocol holds.
        let before = self.is_listed.with_mut(|listed| unsafe { listed.replace(is_listed) });
        assert_ne!(before, is_listed, "the span has ended");
    }

    fn enlist(&self) {
        let (local, in_use) = (self.own_free(), CARVED - self.own_free());
        self.wait.store(in_use, Relaxed);
        self.base.store(local + in_use, Relaxed);
        self.list(true);
    }

    /// The thread collects what others have freed.
    fn look_around(&self) {
        if self.remote.remote.state().count() > 0 {
            self.list(false);
            let home = self.remote.take().len() as u32;
            self.base.fetch_add(home, Relaxed);
            if self.outstanding() == 0 { self.end_own() } else { self.enlist() }
        }
    }

    /// The thread ends the span, which is on no list of its own any more.
    fn end_own(&self) {
        loop {
            let heap = self.heap.load(Relaxed);
            let mut is_on_list = self.heaps[heap].lock().unwrap();
            if heap == self.heap.load(Relaxed) || self.mistake == Mistake::TrustsTheFirstHeap {
                return self.end(&mut is_on_list);
            }
        }
    }

    /// Ends the span under its heap's lock. Its memory and its header are another's then.
    fn end(&self, is_on_list: &mut bool) {
        self.remote.remote.see_pushed();
        assert!(*is_on_list, "ended twice, or taken off the list of another heap");
        *is_on_list = false;
        for block in &self.blocks {
            // SAFETY: no block is in use, if the protocol holds.
            block.with_mut(|block| unsafe { *block = 0 });
        }
        // SAFETY: the span is nobody's, if the protocol holds.
        self.local.with_mut(|local| unsafe { *local = None });
        self.ends.fetch_add(1, Relaxed);
    }

    /// Another thread visits this one, and ends the span if no block of it is in use.
    fn visit(&self) {
        let _held = (self.mistake != Mistake::VisitsWithoutLock).then(|| self.thread.lock());
        // SAFETY: under the thread's lock, if the protocol holds.
        let is_listed = self.is_listed.with(|listed| unsafe { *listed });
        // An owner that has ended leaves nothing to visitors (`if_alive`).
        let mut is_on_list = self.heaps[EXPERTS].lock().unwrap();
        let is_alive = self.heap.load(Relaxed) == EXPERTS;
        let looks = self.mistake != Mistake::EndsWithoutLooking;
        if is_alive && (is_listed || !looks) && self.outstanding() == 0 {
            if looks {
                self.list(false);
            }
            self.end(&mut is_on_list);
        }
    }

    /// Another thread frees its block, and visits this thread if that was the last one.
    fn free_elsewhere(&self) {
        self.write(OTHERS);
        let mut is_last = false;
        self.remote.push_looking(OTHERS, |state| {
            is_last = self.own_free() + state.count() + 1 >= CARVED;
        });
        // A pin keeps the header mapped from before the push (see `visits`).
        if is_last {
            self.visit();
        }
    }

    /// A sweep frees the other block, whose owner has ended, and reads on in the span.
    fn sweep(&self) {
        let locks = self.mistake != Mistake::SweepsWithoutLock;
        let is_on_list = locks.then(|| self.heaps[EXPERTS].lock().unwrap());
        if is_on_list.as_deref() != Some(&false) {
            self.write(OTHERS);
            self.remote.push(OTHERS);
            // The sweep goes on in the same span: here with what `Span::block` reads. The
            // other block is still its thread's, so the sweep reads the freed one.
            // SAFETY: the span is on the heap's list, if the protocol holds.
            self.blocks[OTHERS].with(|block| assert_eq!(unsafe { *block }, 1));
        }
    }

    /// The expert ends while the block is in use, and the host adopts the span.
    fn adopt(&self) {
        let mut experts = self.heaps[EXPERTS].lock().unwrap();
        let mut hosts = self.heaps[HOSTS].lock().unwrap();
        if *experts {
            (*experts, *hosts) = (false, true);
        }
        self.heap.store(HOSTS, Relaxed);
    }

    /// Nothing is in use any more: the next visit ends the span if nobody has.
    fn is_over(&self) {
        self.visit();
        assert_eq!(self.ends.load(Relaxed), 1, "ends once");
    }
}

/// The span's thread frees its last block, for which the span waits with `wait`, while
/// another thread does something else.
fn against(scene: impl Fn() -> Scene + Send + Sync + 'static, wait: u32, other: fn(&Scene)) {
    loom::model(move || {
        let scene = Arc::new(scene());
        let there = Arc::clone(&scene);
        let thread = thread::spawn(move || there.free(wait));
        other(&scene);
        thread.join().unwrap();
        scene.is_over();
    });
}

/// As `against`, where another thread has freed its block before.
fn against_last(wait: u32, mistake: Mistake, other: fn(&Scene)) {
    let scene = move || {
        let scene = Scene::new(2, mistake);
        scene.free_elsewhere();
        if wait == 1 {
            // It came home since then.
            scene.list(false);
            scene.base.store(2, Relaxed);
            scene.wait.store(1, Relaxed);
            assert_eq!(scene.remote.take(), [OTHERS]);
            scene.list(true);
        }
        scene
    };
    against(scene, wait, other);
}

/// The span waits for the last free.
#[test]
fn a_visit_spares_a_span_that_its_thread_ends() {
    against_last(1, Mistake::None, Scene::visit);
}

#[test]
#[should_panic(expected = "the span has ended")]
fn counting_before_the_lock_is_found_out() {
    against_last(1, Mistake::CountsBeforeLock, Scene::visit);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn visiting_without_the_lock_is_found_out() {
    against_last(1, Mistake::VisitsWithoutLock, Scene::visit);
}

/// The span does not wait for the last free, because a block was freed elsewhere.
#[test]
fn a_visit_ends_a_span_after_its_thread_is_done_with_it() {
    against_last(2, Mistake::None, Scene::visit);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_count_without_an_order_is_found_out() {
    against_last(2, Mistake::CountsUnordered, Scene::visit);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn counting_before_the_block_is_listed_is_found_out() {
    against_last(2, Mistake::CountsEarly, Scene::visit);
}

/// Another thread frees the other block meanwhile. `wait` is 1 if the span waits for one
/// free, to be looked at, and 2 if it does not wait for this one.
fn the_last_two_frees(wait: u32, mistake: Mistake) {
    against(move || Scene::new(wait, mistake), wait, Scene::free_elsewhere);
}

#[test]
fn one_of_the_last_two_frees_or_a_visit_ends_the_span() {
    the_last_two_frees(2, Mistake::None);
}

#[test]
fn one_of_the_last_two_frees_ends_a_span_that_is_looked_at() {
    the_last_two_frees(1, Mistake::None);
}

#[test]
#[should_panic(expected = "ended twice")]
fn ending_without_looking_is_found_out() {
    the_last_two_frees(1, Mistake::EndsWithoutLooking);
}

/// A sweep frees the other block meanwhile.
fn swept(mistake: Mistake) {
    against(move || Scene::new(1, mistake), 1, Scene::sweep);
}

#[test]
fn a_span_stays_while_it_is_swept() {
    swept(Mistake::None);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn sweeping_without_the_lock_is_found_out() {
    swept(Mistake::SweepsWithoutLock);
}

/// The host adopts the span meanwhile, and a third thread visits.
fn adopted(mistake: Mistake) {
    let mut builder = loom::model::Builder::new();
    // Without a bound there are too many orders of three threads.
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let scene = Scene::new(2, mistake);
        scene.free_elsewhere();
        scene.remote.take();
        scene.wait.store(1, Relaxed);
        let scene = Arc::new(scene);
        let [ends, visits] = [(); 2].map(|()| Arc::clone(&scene));
        let others = [thread::spawn(move || ends.adopt()), thread::spawn(move || visits.visit())];
        scene.free(1);
        others.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(scene.ends.load(Relaxed), 1, "ended by its thread");
        let left = scene.heaps.iter().filter(|heap| *heap.lock().unwrap()).count();
        assert_eq!(left, 0, "on the list of the heap that it was given to");
    });
}

#[test]
fn a_span_is_taken_off_the_list_of_the_heap_that_has_it() {
    adopted(Mistake::None);
}

#[test]
#[should_panic(expected = "another heap")]
fn trusting_the_first_heap_is_found_out() {
    adopted(Mistake::TrustsTheFirstHeap);
}
