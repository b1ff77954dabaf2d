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
    assert!((1..experts.len()).contains(&entered), "{entered} entered");
    (&experts[..entered], &experts[entered])
}

fn kind<T>(outcome: Result<T, Failure>) -> Option<FailureKind> {
    outcome.err().map(|failure| failure.kind())
}

fn whoever_has_no_scope_hears_of_it() {
    let around = expert("around");
    let experts: Vec<_> = (0..MANY).map(|_| expert("one of many")).collect();
    let _scope = around.enter();
    assert_eq!(owner(), Some(around.key()));
    starving(|| {
        let (before, without) = until_no_scope(&experts);
        assert_eq!(without.try_enter().err(), Some(Error::OutOfMemory));
        let failure = without.run(|| unreachable!("it has no scope")).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::OutOfMemory);
        assert!(failure.to_string().starts_with("stopped: no memory for its scope"), "{failure}");
        let mut task = pin!(without.run_async(async { unreachable!("it has no scope") }));
        let Poll::Ready(outcome) = task.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("it goes on");
        };
        assert_eq!(kind::<()>(outcome), Some(FailureKind::OutOfMemory));
        assert_ne!(ExpertEnter(handle(without.key())), 0);
        assert_ne!(ExpertLeave(), 0, "there is none to leave");
        // Without an answer, all stays as it was.
        let scope = without.enter();
        assert_eq!((ALLOC.current(), owner()), (Some(around.key()), Some(around.key())));
        drop(scope);
        assert_eq!((ALLOC.current(), owner()), (Some(around.key()), Some(around.key())));
        assert_eq!(without.stats().allocations, 0);
        assert_eq!(before[0].run(owner).unwrap(), Some(before[0].key()), "others go on");
    });
    let again = experts.iter().map(|expert| expert.run(owner).unwrap());
    assert!(again.zip(&experts).all(|(owner, expert)| owner == Some(expert.key())));
}

/// What was inherited is not that of whoever polls it.
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
    // Not dropped one by one in a vector's order, which is that of entering.
    let mut scopes: Vec<ManuallyDrop<Scope<'_>>> = Vec::with_capacity(1 << 22);
    starving(|| {
        while let Ok(scope) = inner.try_enter() {
            scopes.push(ManuallyDrop::new(scope));
            assert!(scopes.len() < scopes.capacity());
        }
        assert!(other.try_enter().is_err(), "there is no level");
        for _ in 0..100 {
            assert_eq!(owner(), Some(inner.key()));
        }
        assert_eq!((ALLOC.current(), other.stats().allocations), (Some(inner.key()), 1));
        // What must be the host's is so also without memory.
        assert_eq!(ALLOC.as_host(|| (ALLOC.current(), owner())), (None, host()));
        assert_eq!(ALLOC.as_host(|| ALLOC.as_host(owner)), host());
        assert_eq!(owner(), Some(inner.key()));
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
