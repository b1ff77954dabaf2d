//! A thread that resizes a block looks for the block's owner, while that owner ends and the
//! next owner gets the heap record or the number.
//!
//! Follows `resize::owner_of`, `lookup::owner_of`, `handover::adopt`, `Heap::open` and
//! `sweep::pass_to_host`, reduced to the words that they read and write.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering, Ordering::*};
use loom::thread;

/// Keys. The block's owner is `ENDING` at first, and the host later.
const HOST: usize = 1;
const ENDING: usize = 11;
const NEXT: usize = 22;

/// Heap records, which spans name.
const HOSTS_HEAP: usize = 1;
const RECORD: usize = 2;

/// Mistakes that the models must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// The reader does not read again.
    LooksOnce,
    /// The record's number is not read with Acquire, so the second read may return an old
    /// value.
    ReadsRelaxed,
    /// A record becomes one of another kind, and the reader reads the kind.
    KindChanges,
}

/// A span of one owner, its heap record, and the entries of two numbers.
struct Scene {
    heap_of_span: AtomicUsize,
    number_of_record: AtomicUsize,
    is_record_raw: AtomicUsize,
    /// The tag of the block, where its span has tags: a number.
    tag: AtomicUsize,
    keys: [AtomicUsize; 3],
    mistake: Mistake,
}

impl Scene {
    fn new(mistake: Mistake) -> Arc<Self> {
        Arc::new(Self {
            heap_of_span: AtomicUsize::new(RECORD),
            number_of_record: AtomicUsize::new(1),
            is_record_raw: AtomicUsize::new(0),
            tag: AtomicUsize::new(1),
            keys: [AtomicUsize::new(HOST), AtomicUsize::new(ENDING), AtomicUsize::new(0)],
            mistake,
        })
    }

    fn acquire(&self) -> Ordering {
        if self.mistake == Mistake::ReadsRelaxed { Relaxed } else { Acquire }
    }

    /// The owner of the block according to its span's record; the host if there is none.
    fn owner_by_record(&self) -> usize {
        loop {
            let heap = self.heap_of_span.load(Acquire);
            if heap == HOSTS_HEAP {
                return HOST;
            }
            if self.mistake == Mistake::KindChanges {
                // The words in front of a raw block are not copied when it is moved.
                assert_eq!(self.is_record_raw.load(Relaxed), 0, "taken for a raw block");
            }
            let number = self.number_of_record.load(self.acquire());
            let key = self.keys[number].load(self.acquire());
            let is_same = self.heap_of_span.load(Acquire) == heap;
            if is_same || self.mistake == Mistake::LooksOnce {
                return key;
            }
        }
    }

    /// The host adopts the span. The record becomes that of the next owner, with another
    /// number and the same kind.
    fn adopt_and_recycle(&self) {
        self.keys[1].store(HOST, Release);
        self.heap_of_span.store(HOSTS_HEAP, Release);
        self.keys[2].store(NEXT, Release);
        if self.mistake == Mistake::KindChanges {
            self.is_record_raw.store(1, Relaxed);
        }
        self.number_of_record.store(2, Release);
    }

    /// The owner of the block according to its tag.
    fn owner_by_tag(&self) -> usize {
        loop {
            let number = self.tag.load(Acquire);
            let key = self.keys[number].load(self.acquire());
            let is_same = self.tag.load(Acquire) == number;
            if is_same || self.mistake == Mistake::LooksOnce {
                return key;
            }
        }
    }

    /// A sweep gives the adopted block the host's number, and the next owner gets the
    /// block's old number.
    fn pass_to_host_and_recycle(&self) {
        self.keys[1].store(HOST, Release);
        assert!(self.tag.compare_exchange(1, 0, AcqRel, Acquire).is_ok());
        self.keys[1].store(NEXT, Release);
    }
}

fn asked(ask: fn(&Scene) -> usize, end: fn(&Scene), mistake: Mistake) {
    loom::model(move || {
        let scene = Scene::new(mistake);
        let other = Arc::clone(&scene);
        let other = thread::spawn(move || end(&other));
        let owner = ask(&scene);
        assert!(owner == ENDING || owner == HOST, "the next owner's memory: {owner}");
        other.join().unwrap();
    });
}

#[test]
fn a_block_is_never_the_next_owners_by_its_record() {
    asked(Scene::owner_by_record, Scene::adopt_and_recycle, Mistake::None);
}

#[test]
#[should_panic]
fn looking_once_at_the_record_is_found_out() {
    asked(Scene::owner_by_record, Scene::adopt_and_recycle, Mistake::LooksOnce);
}

#[test]
#[should_panic]
fn a_relaxed_look_at_the_record_is_found_out() {
    asked(Scene::owner_by_record, Scene::adopt_and_recycle, Mistake::ReadsRelaxed);
}

#[test]
#[should_panic]
fn a_record_that_changes_its_kind_is_found_out() {
    asked(Scene::owner_by_record, Scene::adopt_and_recycle, Mistake::KindChanges);
}

#[test]
fn a_block_is_never_the_next_owners_by_its_tag() {
    asked(Scene::owner_by_tag, Scene::pass_to_host_and_recycle, Mistake::None);
}

#[test]
#[should_panic]
fn looking_once_at_the_tag_is_found_out() {
    asked(Scene::owner_by_tag, Scene::pass_to_host_and_recycle, Mistake::LooksOnce);
}

#[test]
#[should_panic]
fn a_relaxed_look_at_the_key_is_found_out() {
    asked(Scene::owner_by_tag, Scene::pass_to_host_and_recycle, Mistake::ReadsRelaxed);
}
