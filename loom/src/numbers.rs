//! Owner numbers are given out again when no block, no line of a thread and so no scope
//! bears them.
//!
//! Follows `Entry` of `heap/owners/entry.rs`: it is ended under its lock, and released by
//! the thread that finds under the lock that nothing bears the number. Its word for
//! returned bytes serves as a link in the list of unused numbers.

use loom::sync::atomic::{AtomicUsize, Ordering::*};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// Keys.
const HOST: usize = 1;
const ENDING: usize = 11;
const NEXT: usize = 22;

/// A number that the list of unused numbers already has.
const ANOTHER: usize = 7;
const THIS: usize = 3;

/// Mistakes that the models must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// A number is let go while a thread has a line for it.
    ForgetsLines,
    /// A number is let go while a block bears it.
    ForgetsBlocks,
    /// A thread that has opened a line by a number that was looked up does not check the
    /// number's owner.
    TrustsTheNumber,
    /// A thread that counts a free takes the returned bytes of a number that is unused by
    /// now.
    TakesTheLink,
    /// The thread that ends the owner reads an old count of frees, although another thread
    /// has counted a free and seen that the owner is live.
    LooksTooSoon,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Unused,
    Live,
    Adopted,
}

/// The fields that change under the lock of the entry.
struct Locked {
    standing: Standing,
    key: usize,
    lines: usize,
    unused: usize,
}

/// The entry of number `THIS`.
struct Entry {
    locked: Mutex<Locked>,
    /// Whether it is live; read without the lock.
    is_live: AtomicUsize,
    allocations: AtomicUsize,
    frees: AtomicUsize,
    returned: AtomicUsize,
    mistake: Mistake,
}

impl Entry {
    fn new(blocks: usize, mistake: Mistake) -> Arc<Self> {
        let locked = Locked { standing: Standing::Live, key: ENDING, lines: 0, unused: ANOTHER };
        Arc::new(Self {
            locked: Mutex::new(locked),
            is_live: AtomicUsize::new(1),
            allocations: AtomicUsize::new(blocks),
            frees: AtomicUsize::new(0),
            returned: AtomicUsize::new(0),
            mistake,
        })
    }

    fn open_line(&self) -> bool {
        let mut locked = self.locked.lock().unwrap();
        let is_live = locked.standing == Standing::Live;
        locked.lines += usize::from(is_live);
        is_live
    }

    fn close_line(&self, allocations: usize) {
        let mut locked = self.locked.lock().unwrap();
        self.allocations.fetch_add(allocations, Relaxed);
        locked.lines -= 1;
        self.let_go(&mut locked);
    }

    /// The owner ends, and its blocks become the host's.
    fn end(&self) {
        let mut locked = self.locked.lock().unwrap();
        locked.standing = Standing::Adopted;
        locked.key = HOST;
        self.is_live.store(0, Relaxed);
        if self.mistake != Mistake::LooksTooSoon {
            self.frees.fetch_add(0, AcqRel);
        }
        self.let_go(&mut locked);
    }

    /// The next owner gets the number, if it is unused.
    fn open_again(&self) {
        let mut locked = self.locked.lock().unwrap();
        if locked.unused == THIS {
            locked.unused = self.returned.swap(0, Relaxed);
            locked.standing = Standing::Live;
            locked.key = NEXT;
            self.is_live.store(1, Relaxed);
            self.allocations.store(0, Relaxed);
            self.frees.store(0, Relaxed);
        }
    }

    fn let_go(&self, locked: &mut Locked) {
        let has_lines = locked.lines > 0 && self.mistake != Mistake::ForgetsLines;
        // Acquire: the allocations before these frees.
        let is_bare = self.frees.load(Acquire) == self.allocations.load(Relaxed)
            || self.mistake == Mistake::ForgetsBlocks;
        if locked.standing == Standing::Adopted && !has_lines && is_bare {
            locked.standing = Standing::Unused;
            locked.key = 0;
            self.returned.store(locked.unused, Relaxed);
            locked.unused = THIS;
        }
    }

    /// A thread without a line frees a block of 16 bytes.
    fn count_free(&self) {
        self.returned.fetch_add(16, Relaxed);
        self.frees.fetch_add(1, AcqRel);
        if self.is_live.load(Relaxed) == 0 {
            let mut locked = self.locked.lock().unwrap();
            let is_unused = locked.standing == Standing::Unused;
            if !is_unused || self.mistake == Mistake::TakesTheLink {
                self.returned.store(0, Relaxed);
            }
            self.let_go(&mut locked);
        }
    }

    fn key(&self) -> usize {
        self.locked.lock().unwrap().key
    }
}

/// Ends the owner on another thread, and gives the number to the next one.
fn end_and_open_again(entry: &Arc<Entry>) -> thread::JoinHandle<()> {
    let entry = Arc::clone(entry);
    thread::spawn(move || {
        entry.end();
        entry.open_again();
    })
}

/// A thread is in a scope while the owner ends, and allocates a block.
fn scope_against_end(mistake: Mistake) {
    loom::model(move || {
        let entry = Entry::new(0, mistake);
        // A thread that enters has borrowed the expert, so the expert does not end
        // meanwhile.
        assert!(entry.open_line());
        let other = end_and_open_again(&entry);
        assert_ne!(entry.key(), NEXT, "in a scope of an expert that it never entered");
        // The block bears the number from here on, and the line counts it.
        entry.close_line(1);
        assert_ne!(entry.key(), NEXT, "its block is another's");
        other.join().unwrap();
        assert_eq!(entry.key(), HOST, "adopted");
    });
}

/// A thread resizes a block while the block's owner ends. It has looked up owner and
/// number, and looks once more when the line is open.
fn resize_against_end(mistake: Mistake) {
    loom::model(move || {
        let entry = Entry::new(0, mistake);
        let other = end_and_open_again(&entry);
        let key = ENDING;
        if entry.open_line() {
            let is_still = entry.key() == key || mistake == Mistake::TrustsTheNumber;
            if is_still {
                assert_ne!(entry.key(), NEXT, "allocates for an expert that it never knew");
            }
            entry.close_line(0);
        }
        other.join().unwrap();
    });
}

#[test]
fn who_is_in_a_scope_is_never_in_that_of_the_next_owner() {
    scope_against_end(Mistake::None);
}

#[test]
#[should_panic]
fn forgetting_lines_is_found_out() {
    scope_against_end(Mistake::ForgetsLines);
}

#[test]
#[should_panic]
fn forgetting_blocks_is_found_out() {
    scope_against_end(Mistake::ForgetsBlocks);
}

#[test]
fn a_block_is_resized_for_its_owner_or_the_host() {
    resize_against_end(Mistake::None);
}

#[test]
#[should_panic]
fn trusting_the_number_is_found_out() {
    resize_against_end(Mistake::TrustsTheNumber);
}

/// The last two blocks of an ended owner are freed at the same time. The number is put on
/// the list of unused numbers once, and `ANOTHER` is still behind it.
fn the_last_two_frees(mistake: Mistake) {
    loom::model(move || {
        let entry = Entry::new(2, mistake);
        entry.end();
        let other = Arc::clone(&entry);
        let other = thread::spawn(move || other.count_free());
        entry.count_free();
        other.join().unwrap();
        let locked = entry.locked.lock().unwrap();
        assert_eq!((locked.standing, locked.unused), (Standing::Unused, THIS));
        assert_eq!(entry.returned.load(Relaxed), ANOTHER, "the rest of the list is lost");
    });
}

#[test]
fn a_number_is_let_go_once_with_all_behind_it() {
    the_last_two_frees(Mistake::None);
}

#[test]
#[should_panic]
fn taking_the_link_is_found_out() {
    the_last_two_frees(Mistake::TakesTheLink);
}

/// The last block of an owner is freed while the owner ends: one of the two threads sees
/// the change of the other, and releases the number.
fn the_last_free_against_end(mistake: Mistake) {
    loom::model(move || {
        let entry = Entry::new(1, mistake);
        let other = Arc::clone(&entry);
        let other = thread::spawn(move || other.count_free());
        entry.end();
        other.join().unwrap();
        assert_eq!(entry.locked.lock().unwrap().standing, Standing::Unused, "nobody lets go");
    });
}

#[test]
fn a_number_is_let_go_by_the_last_free_or_the_end() {
    the_last_free_against_end(Mistake::None);
}

#[test]
#[should_panic]
fn looking_too_soon_is_found_out() {
    the_last_free_against_end(Mistake::LooksTooSoon);
}
