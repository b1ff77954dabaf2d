//! Tests of threads that end: their memory is adopted, and destructors of thread-locals may
//! allocate and free until the end.

mod common;
mod model;

use std::cell::RefCell;
use std::sync::{Arc, Barrier, mpsc};

use common::ALLOC;
use expert_alloc::testing::{Path, count};
use model::run::walk;

/// A value that frees its blocks, and allocates again, while its thread ends.
#[expect(clippy::vec_box, reason = "many blocks")]
struct Late(Vec<Box<[u8; 100]>>);

impl Drop for Late {
    fn drop(&mut self) {
        self.0.clear();
        let again: Vec<String> = (0..100).map(|number| format!("late {number}")).collect();
        assert_eq!(again[99], "late 99");
        // This creates another thread-local while the thread ends.
        LATER.with(|later| later.borrow_mut().extend(again));
    }
}

struct Later(Vec<String>);

impl Drop for Later {
    fn drop(&mut self) {
        assert!(self.0.iter().all(|text| text.starts_with("late")));
        self.0.push("last".repeat(50));
    }
}

thread_local! {
    static LATE: RefCell<Late> = const { RefCell::new(Late(Vec::new())) };
    static LATER: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static LAST: RefCell<Later> = const { RefCell::new(Later(Vec::new())) };
}

fn destructors_allocate_and_free() {
    let before = walk();
    for _ in 0..50 {
        std::thread::spawn(|| {
            LAST.with(|last| last.borrow_mut().0.push("late".into()));
            LATE.with(|late| late.borrow_mut().0.extend((0..50).map(|_| Box::new([7; 100]))));
        })
        .join()
        .unwrap();
        walk();
    }
    assert_eq!(walk().blocks, before.blocks, "blocks of ended threads");
}

/// A thread ends in a scope of an expert that ends with the thread, before it, or after it.
fn scopes_of_ending_threads() {
    let before = walk();
    for round in 0..50 {
        let expert = ALLOC.expert("scoped").register().unwrap();
        let (send, receive) = mpsc::channel();
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    // The scope is forgotten, so the thread ends in it.
                    std::mem::forget(expert.enter());
                    LATE.with(|late| {
                        late.borrow_mut().0.extend((0..50).map(|_| Box::new([7; 100])))
                    });
                    send.send(vec![1u8; 3000]).unwrap();
                })
                .join()
                .unwrap();
        });
        let left = receive.recv().unwrap();
        drop((send, receive));
        walk();
        assert_eq!(ALLOC.owner_of(left.as_ptr()), Some(expert.key()));
        if round % 2 == 0 {
            drop(expert);
            walk();
            assert_eq!(ALLOC.owner_of(left.as_ptr()), Some(ALLOC.host().key()));
            drop(left);
        } else {
            drop(left);
            let reclaimed = expert.finish();
            assert_eq!(reclaimed.adopted_blocks, 0, "{reclaimed}");
        }
        walk();
    }
    assert_eq!(walk().blocks, before.blocks);
}

/// An expert ends on another thread while this one is in a forgotten scope of
/// it, allocating: from then on it allocates for the host.
fn an_expert_ends_under_a_scope() {
    let before = walk();
    for _ in 0..50 {
        let expert = ALLOC.expert("moved").register().unwrap();
        let key = expert.key();
        let mut kept: Vec<Vec<u8>> = Vec::with_capacity(3000);
        std::mem::forget(expert.enter());
        let other = std::thread::spawn(move || {
            std::thread::yield_now();
            expert.finish()
        });
        for number in 0..2000usize {
            kept.push(vec![number as u8; 1 + number * 13 % 900]);
            if number % 3 == 0 {
                let at = number * 7 % kept.len();
                kept[at].reserve_exact(2000);
            }
            if number % 200 == 0 {
                kept.push(vec![3; 300 << 10]);
            }
        }
        let _ = other.join().unwrap();
        let host = ALLOC.host().key();
        assert!(kept.iter().all(|block| ALLOC.owner_of(block.as_ptr()) == Some(host)));
        assert!(ALLOC.get(key).is_none());
        drop(kept);
        walk();
    }
    assert_eq!(walk().blocks, before.blocks);
}

/// Memory that ended threads left is used again, not only kept.
fn spans_are_adopted() {
    const THREADS: usize = 20;
    let adopted = count(Path::AdoptedSpan);
    // All threads run at once, because later threads would use the memory that the first
    // ones left.
    let (send, receive) = mpsc::channel();
    let all = Arc::new(Barrier::new(THREADS));
    let leave = |number: usize| {
        let (send, all) = (send.clone(), Arc::clone(&all));
        std::thread::spawn(move || {
            let mut blocks: Vec<Box<[u8; 200]>> = (0..1000).map(|_| Box::new([1; 200])).collect();
            all.wait();
            let mut place = number;
            blocks.retain(|_| {
                place += 1;
                place % 2 == 0
            });
            send.send(blocks).unwrap();
        })
    };
    let threads: Vec<_> = (0..THREADS).map(leave).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let left: Vec<_> = receive.try_iter().collect();
    // During that time this thread would give up its idle spans.
    ALLOC.purge();
    let (charged, more) = (walk().charged, (0..9000).map(|_| Box::new([2u8; 200])));
    let more: Vec<_> = more.collect();
    assert!(count(Path::AdoptedSpan) > adopted, "no span was adopted");
    let grown = walk().charged - charged;
    assert!(grown < 9000 * 200 / 2, "{grown} bytes were carved anew");
    drop((left, more));
    walk();
}

fn main() {
    common::run_alone(&[
        ("destructors_allocate_and_free", destructors_allocate_and_free),
        ("scopes_of_ending_threads", scopes_of_ending_threads),
        ("an_expert_ends_under_a_scope", an_expert_ends_under_a_scope),
        ("spans_are_adopted", spans_are_adopted),
    ]);
}
