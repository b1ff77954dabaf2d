//! Pins: a visitor of an expert runs against the end of that expert, and a reader of a
//! chunk against the chunk's release.
//!
//! Follows `Visit::new` and `Closing`, and `lookup::find` and
//! `Arena::release_empty`.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::pins::{ANYTHING, Pins};
use crate::sync::fence;

const KEY: usize = 5;
const OTHER_KEY: usize = 7;

/// A resource that exists as long as `is_there` is set.
struct Scene {
    pins: Pins,
    is_there: AtomicBool,
    thing: UnsafeCell<u32>,
}

// SAFETY: the cell is checked by loom, which is what it is for.
unsafe impl Sync for Scene {}
// SAFETY: as above.
unsafe impl Send for Scene {}

impl Scene {
    fn new() -> Arc<Self> {
        let is_there = AtomicBool::new(true);
        Arc::new(Self { pins: Pins::new(), is_there, thing: UnsafeCell::new(1) })
    }

    fn visit(&self, word: usize) {
        let taken = self.pins.pin(word);
        self.look();
        self.pins.unpin(taken);
    }

    fn look(&self) {
        if self.is_there.load(Ordering::Acquire) {
            // SAFETY: pinned, if the protocol holds.
            assert_eq!(self.thing.with(|thing| unsafe { *thing }), 1);
        }
    }

    fn take_away(&self) {
        // SAFETY: no thread is pinned any more, if the protocol holds.
        self.thing.with_mut(|thing| unsafe { *thing = 0 });
    }

    /// Ends an expert: waits for its visitors.
    fn drain(&self) {
        self.is_there.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.wait();
        self.take_away();
    }

    fn wait(&self) {
        let seen = self.pins.seen();
        while !self.pins.are_past(KEY, seen) {
            thread::yield_now();
        }
    }

    /// Releases a chunk, unless a thread is pinned.
    fn release(&self) {
        self.is_there.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !self.pins.are_any() {
            self.take_away();
        }
    }
}

fn against(visit: fn(&Scene), end: fn(&Scene)) {
    loom::model(move || {
        let scene = Scene::new();
        let visitor = Arc::clone(&scene);
        let visitor = thread::spawn(move || visit(&visitor));
        end(&scene);
        visitor.join().unwrap();
    });
}

#[test]
fn an_end_waits_for_visitors() {
    against(|scene| scene.visit(KEY), Scene::drain);
}

#[test]
fn a_chunk_stays_while_it_is_looked_at() {
    against(|scene| scene.visit(ANYTHING), Scene::release);
}

/// A transfer visits two experts at once.
#[test]
fn a_second_key_is_pinned_too() {
    against(
        |scene| {
            let outer = scene.pins.pin(OTHER_KEY);
            scene.visit(KEY);
            scene.pins.unpin(outer);
        },
        Scene::drain,
    );
}

/// Reading memory during a visit does not end the visit's pin.
#[test]
fn a_pin_in_a_pin_keeps_the_outer_one() {
    against(
        |scene| {
            let outer = scene.pins.pin(KEY);
            let inner = scene.pins.pin(ANYTHING);
            scene.pins.unpin(inner);
            scene.look();
            scene.pins.unpin(outer);
        },
        Scene::drain,
    );
}

#[test]
#[should_panic]
fn looking_before_pinning_is_found_out() {
    against(
        |scene| {
            let is_there = scene.is_there.load(Ordering::Acquire);
            let taken = scene.pins.pin(KEY);
            if is_there {
                // SAFETY: none; this is the mistake.
                scene.thing.with(|thing| unsafe { *thing });
            }
            scene.pins.unpin(taken);
        },
        Scene::drain,
    );
}

#[test]
#[should_panic]
fn ending_without_waiting_is_found_out() {
    against(
        |scene| scene.visit(KEY),
        |scene| {
            scene.is_there.store(false, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            scene.take_away();
        },
    );
}

#[test]
#[should_panic]
fn ending_without_a_fence_is_found_out() {
    against(
        |scene| scene.visit(KEY),
        |scene| {
            scene.is_there.store(false, Ordering::Release);
            scene.wait();
            scene.take_away();
        },
    );
}

/// The end of an expert does not wait for each new call of a thread that calls again and
/// again with its key.
#[test]
fn a_pin_after_a_pin_of_the_same_key_is_another() {
    against(
        |scene| {
            scene.visit(KEY);
            scene.visit(KEY);
        },
        Scene::drain,
    );
}
