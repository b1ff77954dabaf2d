//! Entering scopes of the global allocator, and leaving them: whose number is on the
//! thread's stack, whose line is held, and whose seat is current.

use crate::engine::{HOST_KEY, Kind};
use crate::heap::base::number::Number;
use crate::heap::caches::cache::{Cache, EMPTY};
use crate::heap::lives::arrival;
use crate::heap::owners::credit;
use crate::heap::owners::ledger::Line;
use crate::heap::owners::numbers;
use crate::heap::threads::current;
use crate::heap::threads::thread::{self, Thread};
use crate::key::ExpertKey;

/// A scope that a thread is in, as its place on the thread's stack (see `scopes`).
#[derive(Clone, Copy)]
pub struct Entered {
    /// The number of the thread; 0 if there was no memory to note the scope.
    life: u64,
    place: usize,
}

impl Entered {
    /// There was no memory.
    pub const NOT: Self = Self { life: 0, place: 0 };

    /// Whether there was memory for the scope.
    #[inline]
    pub fn is_noted(self) -> bool {
        self.life != 0
    }
}

/// Enters a scope of the owner of `number`, if it sits at its desk, or at a cache that was
/// found last.
#[inline]
pub fn enter_at_once(number: Number) -> Option<Entered> {
    let thread = thread::known()?;
    let seat = thread.ambient_seat(number)?;
    let place = thread.scopes().push_at_once(number)?;
    Some(stand(thread, seat, place))
}

/// Enters a scope of the owner of `number`, an ambient one, whose key is `key`. If there is
/// no memory, the owner stays as it was.
pub fn enter(number: Number, key: ExpertKey) -> Entered {
    let Some(thread) = arrival::this() else { return Entered::NOT };
    let Ok(seat) = thread.seat(number, key, Kind::Ambient as usize) else {
        return Entered::NOT;
    };
    let Some(place) = thread.scopes().push(number) else {
        // The desk is that of the owner of the scope before.
        thread.sit_down();
        return Entered::NOT;
    };
    stand(thread, seat, place)
}

/// Enters a scope of the host.
pub fn enter_as_host() -> Entered {
    let Some(thread) = arrival::this() else { return Entered::NOT };
    let Some(place) = thread.scopes().push_host() else { return Entered::NOT };
    current::set_current(&EMPTY);
    Entered { life: thread.life(), place }
}

/// The scope at `place` stands, of the owner at `seat`.
#[inline]
fn stand(thread: &Thread, seat: &'static Cache, place: usize) -> Entered {
    seat.line().inspect(|line| line.hold());
    current::set_current(seat);
    Entered { life: thread.life(), place }
}

/// Leaves a scope; then the innermost scope that stands is current.
#[inline]
pub fn leave(entered: Entered) {
    let Some(thread) = thread::known().filter(|thread| thread.life() == entered.life) else {
        return;
    };
    match thread.scopes().remove_only(entered.place) {
        Some(owner) => {
            let seat = current::current();
            current::set_current(&EMPTY);
            owner.inspect(|&number| let_go_at(seat, thread, number));
        }
        None => leave_among(thread, entered.place),
    }
}

/// Leaves a scope where there are others.
#[inline(never)]
fn leave_among(thread: &'static Thread, place: usize) {
    let Some((owner, was_last)) = thread.scopes().remove(place) else { return };
    owner.inspect(|&number| let_go_at(current::current(), thread, number));
    if was_last {
        thread.sit_down();
    }
}

/// A scope of the owner of `number` is over, who perhaps sits at `seat`.
#[inline]
fn let_go_at(seat: &'static Cache, thread: &Thread, number: Number) {
    match seat.seat_of(number) {
        Some(seat) => let_go(number, seat.line),
        None => let_go_slow(thread, number),
    }
}

/// A scope for the line is over.
#[inline]
fn let_go(number: Number, line: &Line) {
    line.let_go();
    credit::settle_if_much(number, line);
}

#[cold]
#[inline(never)]
fn let_go_slow(thread: &Thread, number: Number) {
    thread.ledger().opened(number).inspect(|line| let_go(number, line));
}

/// As [`leave`], but also leaves all scopes that were entered in it and still stand,
/// because a jump has skipped them or they are left in another order.
#[cfg(feature = "capi")]
pub fn leave_all(entered: Entered) {
    let Some(thread) = thread::known().filter(|thread| thread.life() == entered.life) else {
        return;
    };
    while let Some(last) = thread.scopes().last().filter(|&last| last >= entered.place) {
        leave(Entered { life: entered.life, place: last });
    }
}

/// The key of the owner of the scope that this thread is in; the host's outside of scopes.
pub fn current_key() -> ExpertKey {
    let number = thread::known().and_then(|thread| thread.scopes().current());
    // The scope's line holds the number.
    number.and_then(|number| numbers::entry(number).key()).unwrap_or(HOST_KEY)
}
