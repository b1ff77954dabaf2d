//! Scopes where the system has no memory for them: whoever asks hears of it, and what is
//! allocated is nobody's by mistake.

mod common;

use std::mem::ManuallyDrop;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use expert_alloc::capi::{ExpertEnter, ExpertLeave, handle};
use expert_alloc::testing::{self, Call};
use expert_alloc::{Error, Expert, ExpertKey, Failure, FailureKind, Scope};

use common::ALLOC;

/// More than there are records for in the memory that the heap has at first.
const MANY: usize = 20_000;

fn expert(name: &str) -> Expert {
    ALLOC.expert(name).register().unwrap()
}

/// Whose a small block is that is allocated now.
fn owner() -> Option<ExpertKey> {
    let block = std::hint::black_box(Box::new([1_u8; 40]));
    ALLOC.owner_of(&*block)
}

fn host() -> Option<ExpertKey> {
    Some(ALLOC.host().key())
}

/// Calls `f`, with no more memory from the system, and heals the system.
fn starving<T>(f: impl FnOnce() -> T) -> T {
    testing::fail_calls_after(Call::Map, 0);
    testing::fail_calls_after(Call::Protect, 0);
    let value = f();
    testing::heal();
    value
}

/// The experts that had a scope before, and the first that gets none.
fn until_no_scope(experts: &[Expert]) -> (&[Expert], &Expert) {
    let entered = experts.iter().take_while(|expert| expert.try_enter().is_ok()).count();
    holds((1..experts.len()).contains(&entered));
    (&experts[..entered], &experts[entered])
}

fn kind(failure: Option<&Failure>) -> Option<FailureKind> {
    failure.map(Failure::kind)
}

/// An assertion that may fail without memory: a panic needs some.
#[track_caller]
fn holds(is_true: bool) {
    if !is_true {
        testing::heal();
        panic!("it does not hold");
    }
}

fn whoever_has_no_scope_hears_of_it() {
    let around = expert("around");
    let experts: Vec<_> = (0..MANY).map(|_| expert("one of many")).collect();
    let _scope = around.enter();
    holds(owner() == Some(around.key()));
    starving(|| {
        let (before, without) = until_no_scope(&experts);
        holds(without.try_enter().err() == Some(Error::OutOfMemory));
        let (mut called, key) = (false, around.key());
        let failure = without.run(|| called = true).err();
        holds(kind(failure.as_ref()) == Some(FailureKind::OutOfMemory) && !called);
        let text = failure.map(|failure| failure.to_string()).unwrap_or_default();
        holds(text.starts_with("stopped: no memory for its scope; most is held by "));
        let mut task = pin!(without.run_async(async { called = true }));
        let poll = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Err(failure)) = poll else { return holds(false) };
        holds(failure.kind() == FailureKind::OutOfMemory);
        holds(ExpertEnter(handle(without.key())) != 0);
        holds(ExpertLeave() != 0);
        // Without an answer, all stays as it was.
        let scope = without.enter();
        holds((ALLOC.current(), owner()) == (Some(key), Some(key)));
        drop(scope);
        holds((ALLOC.current(), owner()) == (Some(key), Some(key)));
        holds(without.stats().allocations == 0);
        holds(before[0].run(owner).ok().flatten() == Some(before[0].key()));
    });
    let mut again = experts.iter().map(|expert| (expert.run(owner).unwrap(), expert.key()));
    assert!(again.all(|(owner, key)| owner == Some(key)));
}

fn a_closure_whose_expert_has_no_scope_is_the_hosts() {
    let around = expert("around");
    let experts: Vec<_> = (0..MANY).map(|_| expert("one of many")).collect();
    let inherit = |expert: &Expert| expert.run(|| ALLOC.inherit_fn(owner)).unwrap();
    let inherited: Vec<_> = experts.iter().map(inherit).collect();
    let mut owners = Vec::with_capacity(experts.len());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let _scope = around.enter();
            starving(|| owners.extend(inherited.into_iter().map(|called| called())));
        });
    });
    let with = owners.iter().zip(&experts).filter(|(owner, of)| **owner == Some(of.key())).count();
    let without = owners.iter().filter(|&&owner| owner == host()).count();
    assert!(with > 0 && without > 0, "{with} with a scope, {without} without");
    assert_eq!(with + without, experts.len(), "none was charged to whoever called it");
}

/// Scopes within scopes, until there is no memory for another level.
fn the_innermost_scope_and_the_host_keep_their_blocks() {
    let (inner, other) = (expert("inner"), expert("other"));
    other.run(|| assert_eq!(owner(), Some(other.key()))).unwrap();
    // A vector drops them in the order of entering.
    let mut scopes: Vec<ManuallyDrop<Scope<'_>>> = Vec::with_capacity(1 << 22);
    starving(|| {
        while let Ok(scope) = inner.try_enter() {
            scopes.push(ManuallyDrop::new(scope));
            holds(scopes.len() < scopes.capacity());
        }
        holds(other.try_enter().is_err());
        for _ in 0..100 {
            holds(owner() == Some(inner.key()));
        }
        holds((ALLOC.current(), other.stats().allocations) == (Some(inner.key()), 1));
        // What must be the host's is so also without memory.
        holds(ALLOC.as_host(|| (ALLOC.current(), owner())) == (None, host()));
        holds(ALLOC.as_host(|| ALLOC.as_host(owner)) == host());
        holds(owner() == Some(inner.key()));
    });
    assert_eq!(other.run(owner).unwrap(), Some(other.key()));
    while let Some(scope) = scopes.pop() {
        drop(ManuallyDrop::into_inner(scope));
    }
    assert_eq!((ALLOC.current(), owner()), (None, host()));
}

fn main() {
    common::run_alone(&[
        ("whoever_has_no_scope_hears_of_it", whoever_has_no_scope_hears_of_it),
        (
            "a_closure_whose_expert_has_no_scope_is_the_hosts",
            a_closure_whose_expert_has_no_scope_is_the_hosts,
        ),
        (
            "the_innermost_scope_and_the_host_keep_their_blocks",
            the_innermost_scope_and_the_host_keep_their_blocks,
        ),
    ]);
}
