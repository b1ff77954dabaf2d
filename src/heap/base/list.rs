//! Lists whose links lie in the records: adding and removing a record takes constant time,
//! and a list needs no memory.
//!
//! A record may be on lists of several kinds, on one of each: it has links for each kind.

use core::cell::Cell;
use core::marker::PhantomData;

/// The neighbours of a record on a list.
pub struct Links<T: 'static> {
    next: Cell<Option<&'static T>>,
    prev: Cell<Option<&'static T>>,
}

/// A record that can be on a list of the kind `K`.
pub trait Chained<K>: Sized + 'static {
    /// Its links on such a list.
    fn links(&self) -> &Links<Self>;
}

/// A list of records, linked by their links of the kind `K`.
pub struct List<T: 'static, K> {
    first: Cell<Option<&'static T>>,
    last: Cell<Option<&'static T>>,
    kind: PhantomData<fn() -> K>,
}

impl<T> Links<T> {
    /// The links of a record on no list.
    pub const fn new() -> Self {
        Self { next: Cell::new(None), prev: Cell::new(None) }
    }

    /// The record behind this one.
    #[inline]
    pub fn next(&self) -> Option<&'static T> {
        self.next.get()
    }

    /// The record before this one.
    #[inline]
    pub fn prev(&self) -> Option<&'static T> {
        self.prev.get()
    }
}

/// Links `record`, which is on no list, in front of the old `first`.
pub fn link_front<T: Chained<K>, K>(record: &'static T, first: Option<&'static T>) {
    record.links().prev.set(None);
    record.links().next.set(first);
    if let Some(first) = first {
        first.links().prev.set(Some(record));
    }
}

/// Links the neighbours of `record` with each other. Returns both neighbours: the one
/// before and the one behind.
pub fn unlink<T: Chained<K>, K>(record: &T) -> (Option<&'static T>, Option<&'static T>) {
    let (prev, next) = (record.links().prev.take(), record.links().next.take());
    if let Some(prev) = prev {
        prev.links().next.set(next);
    }
    if let Some(next) = next {
        next.links().prev.set(prev);
    }
    (prev, next)
}

impl<T: Chained<K>, K> List<T, K> {
    /// An empty list.
    pub const fn new() -> Self {
        Self { first: Cell::new(None), last: Cell::new(None), kind: PhantomData }
    }

    /// The first record.
    #[inline]
    pub fn first(&self) -> Option<&'static T> {
        self.first.get()
    }

    /// The last record.
    pub fn last(&self) -> Option<&'static T> {
        self.last.get()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.first.get().is_none()
    }

    /// Puts `record`, which is on no list of this kind, in front.
    pub fn push_front(&self, record: &'static T) {
        let first = self.first.replace(Some(record));
        link_front(record, first);
        if first.is_none() {
            self.last.set(Some(record));
        }
    }

    /// Puts `record`, which is on no list of this kind, at the end.
    pub fn push_back(&self, record: &'static T) {
        let last = self.last.replace(Some(record));
        record.links().prev.set(last);
        record.links().next.set(None);
        match last {
            Some(last) => last.links().next.set(Some(record)),
            None => self.first.set(Some(record)),
        }
    }

    /// Takes the first record off.
    pub fn pop_front(&self) -> Option<&'static T> {
        let first = self.first.get()?;
        self.remove(first);
        Some(first)
    }

    /// Takes `record`, which is on this list, off it.
    pub fn remove(&self, record: &'static T) {
        let (prev, next) = unlink(record);
        if prev.is_none() {
            self.first.set(next);
        }
        if next.is_none() {
            self.last.set(prev);
        }
    }

    /// Forgets all records, because another list has taken them over.
    pub fn clear(&self) {
        self.first.set(None);
        self.last.set(None);
    }

    /// The records, each of which may be taken off while it is looked at.
    pub fn iter(&self) -> impl Iterator<Item = &'static T> + use<T, K> {
        core::iter::successors(self.first.get(), |record| record.links().next.get())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Record {
        name: u8,
        links: Links<Record>,
    }

    impl Chained<()> for Record {
        fn links(&self) -> &Links<Self> {
            &self.links
        }
    }

    fn record(name: u8) -> &'static Record {
        Box::leak(Box::new(Record { name, links: Links::new() }))
    }

    fn names(list: &List<Record, ()>) -> Vec<u8> {
        let forth: Vec<u8> = list.iter().map(|record| record.name).collect();
        let back = core::iter::successors(list.last(), |record| record.links.prev());
        let mut back: Vec<u8> = back.map(|record| record.name).collect();
        back.reverse();
        assert_eq!(forth, back);
        forth
    }

    #[test]
    fn records_come_and_go_at_both_ends_and_in_between() {
        let list = List::new();
        let [a, b, c, d] = [1, 2, 3, 4].map(record);
        assert!(list.is_empty() && names(&list).is_empty());
        list.push_back(b);
        list.push_front(a);
        list.push_back(c);
        list.push_back(d);
        assert_eq!(names(&list), [1, 2, 3, 4]);
        list.remove(b);
        list.remove(d);
        assert_eq!(names(&list), [1, 3]);
        list.push_front(d);
        assert_eq!(list.pop_front().map(|record| record.name), Some(4));
        list.iter().for_each(|record| list.remove(record));
        assert!(list.is_empty() && list.last().is_none());
    }
}
