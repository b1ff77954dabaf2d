//! Remote lists: pushed to by any thread, taken whole by one.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::remote::{Remote, RemoteState};

/// How many blocks a span has in these models.
pub const BLOCKS: usize = 3;

/// A span's remote list, and the first words of its blocks.
pub struct Span {
    pub remote: Remote,
    links: [UnsafeCell<Option<usize>>; BLOCKS],
}

// SAFETY: the cells are checked by loom, which is what they are for.
unsafe impl Sync for Span {}
// SAFETY: as above.
unsafe impl Send for Span {}

impl Span {
    pub fn new() -> Self {
        let links = core::array::from_fn(|_| UnsafeCell::new(None));
        Self { remote: Remote::new(), links }
    }

    /// Frees a block from another thread, as `free::push_any` does.
    pub fn push(&self, block: usize) -> RemoteState {
        self.push_looking(block, |_| ())
    }

    /// The same, with a look at each state before the push.
    pub fn push_looking(&self, block: usize, mut look: impl FnMut(RemoteState)) -> RemoteState {
        let after = self.remote.push(block * 16, |state| {
            look(state);
            // SAFETY: the block is this thread's until it is pushed.
            self.links[block].with_mut(|link| unsafe { *link = state.first() });
            true
        });
        after.expect("room for three")
    }

    /// Takes the list, and returns the blocks that were on it.
    pub fn take(&self) -> Vec<usize> {
        let taken = self.remote.take();
        let mut blocks = Vec::new();
        let mut next = taken.first();
        while let Some(offset) = next {
            blocks.push(offset / 16);
            assert!(blocks.len() <= BLOCKS, "a ring");
            // SAFETY: the list was taken whole.
            next = self.links[offset / 16].with(|link| unsafe { *link });
        }
        assert_eq!(taken.count() as usize, blocks.len(), "REMOTE1");
        blocks
    }
}

#[test]
fn each_block_comes_home_once() {
    loom::model(|| {
        let span = Arc::new(Span::new());
        let first = Arc::clone(&span);
        let first = thread::spawn(move || {
            first.push(0);
            first.push(1);
        });
        let second = Arc::clone(&span);
        let second = thread::spawn(move || {
            second.push(2);
        });
        let mut home = span.take();
        first.join().unwrap();
        second.join().unwrap();
        home.append(&mut span.take());
        home.sort_unstable();
        assert_eq!(home, [0, 1, 2]);
    });
}

/// REMOTE2: during a push, another thread takes a block, hands it out and frees it again.
#[test]
fn a_block_that_is_first_again_is_no_mistake() {
    loom::model(|| {
        let span = Arc::new(Span::new());
        span.push(0);
        let other = Arc::clone(&span);
        let other = thread::spawn(move || {
            other.push(1);
        });
        let mut home = span.take();
        let again = home.contains(&0);
        if again {
            home.retain(|&block| block != 0);
            span.push(0);
        }
        other.join().unwrap();
        home.append(&mut span.take());
        home.sort_unstable();
        assert_eq!(home, [0, 1]);
    });
}
