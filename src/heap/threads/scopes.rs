//! The scopes of a thread, which tell the owner of its allocations through the global
//! allocator.
//!
//! They stand on a stack. The innermost one that stands is current; a scope that is left
//! while inner ones stand is struck out where it is, and the inner ones go on. So once all
//! scopes of an owner are dropped, in whatever order, the thread does not allocate for that
//! owner.
//!
//! A scope of an owner leaves one level for a scope of the host, which so needs no memory:
//! what must be the host's is the host's also when there is none.
//!
//! Invariants
//!
//! - SCOPE1 the last level, if there is one, is not struck out.
//! - SCOPE2 for each level that names an owner the thread's line for it is open and
//!   held (LED3), so the number is that owner's as long as the level stands.

use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::NonNull;

use crate::heap::base::number::Number;
use crate::heap::base::tables;

/// The owner of a scope: a number, or the host.
type Owner = Option<Number>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Standing(Owner),
    StruckOut,
}

/// How many scopes fit before memory is needed for them.
const INLINE: usize = 8;

/// The stack of a thread. The thread's alone.
pub struct Scopes {
    inline: [Cell<Level>; INLINE],
    /// The larger stack that has replaced the inline one.
    more: Cell<Option<NonNull<Cell<Level>>>>,
    /// How many levels there are besides the one that is left for the host.
    usual: Cell<usize>,
    len: Cell<usize>,
}

impl Scopes {
    /// A stack without scopes, for the host.
    pub const fn new() -> Self {
        Self {
            inline: [const { Cell::new(Level::StruckOut) }; INLINE],
            more: Cell::new(None),
            usual: Cell::new(INLINE - 1),
            len: Cell::new(0),
        }
    }

    /// Forgets all scopes, because their thread is gone.
    pub fn clear(&self) {
        self.len.set(0);
    }

    /// The owner that the thread allocates for.
    #[inline]
    pub fn current(&self) -> Owner {
        match self.len.get().checked_sub(1).map(|last| self.level(last).get()) {
            Some(Level::Standing(owner)) => owner,
            _ => None,
        }
    }

    /// Enters a scope of an owner, and returns its place on the stack, or `None` if there is
    /// no memory.
    pub fn push(&self, owner: Number) -> Option<usize> {
        if self.len.get() >= self.usual.get() {
            self.enlarge()?;
        }
        Some(self.add(Some(owner)))
    }

    /// As [`push`](Self::push), if that needs no memory.
    #[inline]
    pub fn push_at_once(&self, owner: Number) -> Option<usize> {
        (self.len.get() < self.usual.get()).then(|| self.add(Some(owner)))
    }

    /// Enters a scope of the host, and returns its place on the stack. `None` if there is no
    /// memory, which happens only in another scope of the host.
    #[inline]
    pub fn push_host(&self) -> Option<usize> {
        if self.len.get() > self.usual.get() {
            self.enlarge()?;
        }
        Some(self.add(None))
    }

    #[inline]
    fn add(&self, owner: Owner) -> usize {
        let place = self.len.get();
        self.level(place).set(Level::Standing(owner));
        self.len.set(place + 1);
        place
    }

    /// The place of the innermost scope.
    #[cfg(feature = "capi")]
    pub fn last(&self) -> Option<usize> {
        self.len.get().checked_sub(1)
    }

    /// Leaves the scope at `place`, if there is no other, and returns its owner.
    #[inline]
    pub fn remove_only(&self, place: usize) -> Option<Owner> {
        if place != 0 || self.len.get() != 1 {
            return None;
        }
        self.len.set(0);
        match self.level(0).get() {
            Level::Standing(owner) => Some(owner),
            // Not the last one (SCOPE1).
            Level::StruckOut => Some(None),
        }
    }

    /// Leaves the scope at `place`. Returns its owner, and whether another scope is current
    /// now. `None` if no scope stands there.
    pub fn remove(&self, place: usize) -> Option<(Owner, bool)> {
        if place >= self.len.get() {
            return None;
        }
        let was_last = place + 1 == self.len.get();
        // SCOPE1: the last one stands.
        let Level::Standing(owner) = self.level(place).get() else { return None };
        if was_last {
            let mut len = place;
            while len > 0 && self.level(len - 1).get() == Level::StruckOut {
                len -= 1;
            }
            self.len.set(len);
        } else {
            self.level(place).set(Level::StruckOut);
        }
        Some((owner, was_last))
    }

    fn level(&self, place: usize) -> &Cell<Level> {
        let first = match self.more.get() {
            None => &raw const self.inline as *const Cell<Level>,
            Some(more) => more.as_ptr(),
        };
        debug_assert!(place <= self.usual.get());
        // SAFETY: `place` is below the capacity, and so many levels are there.
        let level = unsafe { first.add(place) };
        // SAFETY: initialised: inline, or by `enlarge`.
        unsafe { &*level }
    }

    /// Doubles the capacity. The time grows with the number of scopes.
    #[cold]
    fn enlarge(&self) -> Option<()> {
        let capacity = self.usual.get() + 1;
        let layout = |levels| Layout::array::<Cell<Level>>(levels).ok();
        let memory = tables::allocate(layout(2 * capacity)?)?.cast::<Cell<Level>>();
        for place in 0..2 * capacity {
            let level = if place < capacity { self.level(place).get() } else { Level::StruckOut };
            // SAFETY: fresh memory for so many levels.
            let new = unsafe { memory.add(place) };
            // SAFETY: as above.
            unsafe { new.write(Cell::new(level)) };
        }
        let before = self.more.replace(Some(memory));
        self.usual.set(2 * capacity - 1);
        if let Some(before) = before {
            // SAFETY: S1, S2: made here with that layout, and replaced.
            unsafe { tables::free(before.cast(), layout(capacity)?) };
        }
        Some(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::engine::Kind;

    fn number(index: usize) -> Number {
        Number::new(Kind::Ambient, index).unwrap()
    }

    fn owner(index: usize) -> Owner {
        Some(number(index))
    }

    #[test]
    fn the_innermost_scope_that_stands_is_current() {
        let scopes = Scopes::new();
        let outer = scopes.push(number(1)).unwrap();
        let inner = scopes.push(number(2)).unwrap();
        assert_eq!(scopes.remove(outer), Some((owner(1), false)));
        assert_eq!(scopes.current(), owner(2));
        assert_eq!(scopes.remove(outer), None, "left already");
        assert_eq!(scopes.remove(inner), Some((owner(2), true)));
        assert_eq!(scopes.current(), None);
        assert_eq!(scopes.remove(inner), None);
        assert_eq!(scopes.len.get(), 0);
    }

    #[test]
    fn the_only_scope_is_left_at_once() {
        let scopes = Scopes::new();
        let only = scopes.push_at_once(number(1)).unwrap();
        assert_eq!(scopes.remove_only(only), Some(owner(1)));
        assert_eq!((scopes.current(), scopes.remove_only(only)), (None, None));
        let outer = scopes.push_at_once(number(1)).unwrap();
        let inner = scopes.push_host().unwrap();
        assert_eq!((scopes.remove_only(outer), scopes.remove_only(inner)), (None, None));
        assert_eq!(scopes.remove(inner), Some((None, true)));
        assert_eq!(scopes.remove_only(outer), Some(owner(1)));
        while scopes.push_at_once(number(1)).is_some() {}
        assert_eq!(scopes.len.get(), INLINE - 1, "more need memory");
    }

    #[test]
    fn there_is_room_for_many() {
        let scopes = Scopes::new();
        let places: [usize; 1000] = core::array::from_fn(|n| scopes.push(number(n + 1)).unwrap());
        for (n, &place) in places.iter().enumerate().rev() {
            assert_eq!(scopes.current(), owner(n + 1));
            assert_eq!(scopes.remove(place), Some((owner(n + 1), true)));
        }
    }

    #[test]
    fn there_is_always_room_for_the_host() {
        let scopes = Scopes::new();
        for n in 1..100 {
            scopes.push(number(n)).unwrap();
            let memory = scopes.more.get();
            let host = scopes.push_host().unwrap();
            assert_eq!((scopes.current(), scopes.more.get()), (None, memory));
            assert_eq!(scopes.remove(host), Some((None, true)));
        }
        // Also on top of each other.
        (0..100).for_each(|_| _ = scopes.push_host().unwrap());
        scopes.push(number(1)).unwrap();
    }
}
