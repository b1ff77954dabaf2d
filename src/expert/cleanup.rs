//! Clean-ups: closures that run when an expert ends, before its memory goes. They
//! release everything that is not memory: files, sockets, registrations with others.
//!
//! A clean-up lies in a block of the host, so that it is not among the blocks that
//! are reclaimed, and counts against no quota.
//!
//! Invariants
//!
//! - CLEANUP1 each node in the list came from [`Cleanups::push`], is owned by the
//!   list, and its closure has not been called.
//! - CLEANUP2 each node is a `Holding<F>` with the `F` that its `call` is for.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::engine::{Engine, Kind};
use crate::error::Error;
use crate::sync::AtomicPtr;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

/// The clean-ups of one expert, last registered first.
pub struct Cleanups(AtomicPtr<Node>);

struct Node {
    next: *mut Node,
    layout: Layout,
    call: unsafe fn(NonNull<Node>),
}

#[repr(C)]
struct Holding<F> {
    node: Node,
    closure: F,
}

/// How many clean-ups ran, and how many of these panicked.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) run: usize,
    pub(crate) failed: usize,
}

impl Cleanups {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// Adds a clean-up, to be run before those added so far.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] where the host has no memory to keep it in.
    pub(crate) fn push<E, F>(&self, engine: E, closure: F) -> Result<(), Error>
    where
        E: Engine,
        F: FnOnce() + Send + 'static,
    {
        let layout = Layout::new::<Holding<F>>();
        let block = engine.allocate(engine.host(), Kind::Ambient, layout, false)?;
        let holding = block.cast::<Holding<F>>();
        let node = Node { next: core::ptr::null_mut(), layout, call: call::<F> };
        // SAFETY: a fresh block of this layout.
        unsafe { holding.write(Holding { node, closure }) };
        self.link(holding.cast());
        Ok(())
    }

    fn link(&self, node: NonNull<Node>) {
        let mut first = self.0.load(Relaxed);
        loop {
            // SAFETY: the node is not in the list yet, so it is this thread's alone.
            unsafe { (*node.as_ptr()).next = first };
            // Release: publishes the node to `run`. Nodes are only ever taken
            // all together, so an unchanged first one means an unchanged list.
            match self.0.compare_exchange_weak(first, node.as_ptr(), Release, Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    /// Whether there is nothing to run.
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: nothing is read behind the pointer here; `run` orders its own reads.
        self.0.load(Relaxed).is_null()
    }

    /// Takes all clean-ups and runs them, last registered first. A panic in
    /// one ends that one only.
    pub(crate) fn run<E: Engine>(&self, engine: E) -> Outcome {
        let mut outcome = Outcome::default();
        // Acquire: pairs with the Release in `link`.
        let mut next = self.0.swap(core::ptr::null_mut(), Acquire);
        while let Some(node) = NonNull::new(next) {
            // SAFETY: CLEANUP1: the list was taken whole, so the node is this thread's.
            let Node { next: following, layout, call } = unsafe { node.read() };
            next = following;
            outcome.run += 1;
            // SAFETY: CLEANUP1 and CLEANUP2 are the duties of `call`; the node is not used again.
            outcome.failed += usize::from(!returns(|| unsafe { call(node) }));
            // SAFETY: S1: from `allocate` with this layout, and its closure is gone.
            unsafe { engine.deallocate(node.cast(), layout) };
        }
        outcome
    }
}

/// Calls the closure of a node, which is gone afterwards, even after a panic.
///
/// # Safety
///
/// - S1 the node is a `Holding<F>`, its closure neither called nor in use.
unsafe fn call<F: FnOnce()>(node: NonNull<Node>) {
    let holding = node.cast::<Holding<F>>().as_ptr();
    // SAFETY: S1: the block holds this type.
    let closure = unsafe { &raw const (*holding).closure };
    // SAFETY: S1: it is read once.
    let closure = unsafe { closure.read() };
    closure();
}

/// Calls `f`; whether it returned, instead of panicking.
#[cfg(feature = "std")]
fn returns(f: impl FnOnce()) -> bool {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    // The closure is gone after its panic, so no one can see an invariant that it
    // left broken.
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
        return true;
    };
    // The payload may be of any type, and may panic once more when it is dropped.
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        core::mem::forget(another);
    }
    false
}

/// Calls `f`. Without an operating system a panic is not caught.
#[cfg(not(feature = "std"))]
fn returns(f: impl FnOnce()) -> bool {
    f();
    true
}
