//! Records whose pages go back to the system: in slabs of a slice, each of which keeps
//! its addresses and gives its pages back when none of its records is in use.
//!
//! A slab begins with its header, alone in its first page; the records fill the rest.
//! They are taken from slabs that are in part in use first, so that others empty. (The
//! design of slabs is Bonwick's: The Slab Allocator, USENIX 1994.)
//!
//! Invariants
//!
//! - SLAB1 memory that was once a record of a slab stays a record of that slab, so a stale
//!   reference to one is a reference to a record. Each page of a record that is not in use
//!   is as it was left, or zero.
//! - SLAB2 a slab is on the list iff it has a record that is not in use: slabs that are in
//!   part in use come first, then the others.
//! - SLAB3 `used` records of a slab are taken. The first `begun` records were taken since
//!   its pages went back, and those of them that are not in use are on `unused`.
//! - SLAB4 `kept` slabs have no record in use, and may have pages; between two calls they
//!   are at most [`MOST_KEPT`].

use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::{self, NonNull};

use super::geometry::{PAGE, SLICE};
use super::list::{Chained, Links, List};
use super::tables;
use crate::lock::Lock;
use crate::source;

/// How many slabs without a record in use keep their pages.
const MOST_KEPT: usize = 16;

/// A type of records that a slab can hold.
///
/// # Safety
///
/// - S1 a record that is not in use may be zero, in part or whole, and every use of a stale
///   reference to it is defined even then.
pub unsafe trait Record: Sized + 'static {
    /// Prepares a record that is not in use, and may be zero in part, to be taken.
    fn begin(&self);

    /// The link to the next unused record, which is used under the lock.
    fn next_unused(&self) -> &Cell<Option<&'static Self>>;
}

/// The header at the start of a slab. Under the lock.
struct Slab<T: 'static> {
    unused: Cell<Option<&'static T>>,
    begun: Cell<usize>,
    used: Cell<usize>,
    links: Links<Self>,
}

impl<T: 'static> Chained<()> for Slab<T> {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

/// Records of one type, in slabs. See the module.
pub struct Slabs<T: 'static>(Lock<Shelf<T>>);

/// The slabs with a record that is not in use (SLAB2).
struct Shelf<T: 'static> {
    slabs: List<Slab<T>, ()>,
    kept: Cell<usize>,
}

// SAFETY: the references are handed from thread to thread under the lock, to records
// that may be shared.
unsafe impl<T: Sync> Send for Shelf<T> {}

impl<T: Record + Sync> Slabs<T> {
    /// No slab.
    pub const fn new() -> Self {
        Self(Lock::new(Shelf { slabs: List::new(), kept: Cell::new(0) }))
    }

    /// Takes a record that is not in use; `None` if there is no memory.
    pub fn take(&self) -> Option<&'static T> {
        let shelf = self.0.lock();
        let slab = shelf.slabs.first().or_else(|| shelf.add_slab())?;
        if slab.is_kept() {
            shelf.kept.set(shelf.kept.get() - 1);
        }
        let record = slab.take();
        slab.used.set(slab.used.get() + 1);
        if slab.used.get() == Slab::<T>::RECORDS {
            shelf.slabs.remove(slab);
        }
        Some(record)
    }

    /// Keeps a record that is not used any more, except as SLAB1 allows. The pages of its
    /// slab may go back.
    pub fn give(&self, record: &'static T) {
        let shelf = self.0.lock();
        let slab = Slab::of(record);
        record.next_unused().set(slab.unused.replace(Some(record)));
        let used = slab.used.get();
        slab.used.set(used - 1);
        if used == Slab::<T>::RECORDS {
            shelf.slabs.push_front(slab);
        }
        if used == 1 {
            shelf.slabs.remove(slab);
            shelf.slabs.push_back(slab);
            shelf.kept.set(shelf.kept.get() + 1);
            if shelf.kept.get() > MOST_KEPT {
                shelf.purge(slab);
            }
        }
    }

    /// Gives the pages of all slabs back that have no record in use.
    pub fn purge(&self) {
        let shelf = self.0.lock();
        let slabs = core::iter::successors(shelf.slabs.last(), |slab| slab.links.prev());
        slabs.take_while(|slab| slab.used.get() == 0).for_each(|slab| shelf.purge(slab));
    }

    /// Takes the lock without a guard, for `fork`.
    #[cfg(unix)]
    pub fn lock_forever(&self) {
        self.0.lock_forever();
    }

    /// Undoes [`lock_forever`](Self::lock_forever).
    ///
    /// # Safety
    ///
    /// - S1 as for `tables::unlock`.
    #[cfg(unix)]
    pub unsafe fn unlock(&self) {
        // SAFETY: S1.
        unsafe { self.0.force_unlock() };
    }
}

impl<T: Record> Slab<T> {
    const RECORDS: usize = (SLICE - PAGE) / size_of::<T>();

    const FITS: () = assert!(
        size_of::<Self>() <= PAGE && align_of::<T>() <= PAGE && Self::RECORDS > 1,
        "the header has a page, and there is room for records"
    );

    /// The slab of a record.
    fn of(record: &'static T) -> &'static Self {
        let address = ptr::from_ref(record).addr() & !(SLICE - 1);
        // SAFETY: a record lies in a slab, which begins at a multiple of its size with
        // this header, and is never unmapped; `add_slab` exposed its provenance.
        unsafe { &*ptr::with_exposed_provenance(address) }
    }

    /// Takes a record of a slab that has an unused one.
    fn take(&'static self) -> &'static T {
        if let Some(record) = self.unused.get() {
            self.unused.set(record.next_unused().take());
            return record;
        }
        let offset = PAGE + self.begun.get() * size_of::<T>();
        debug_assert!(offset + size_of::<T>() <= SLICE);
        self.begun.set(self.begun.get() + 1);
        let address = ptr::from_ref(self).addr() + offset;
        // SAFETY: SLAB3: inside the slab, where the next record lies; zero or left by one
        // before, which is a record that is not in use (S1 of `Record`).
        let record: &'static T = unsafe { &*ptr::with_exposed_provenance(address) };
        record.begin();
        record
    }

    /// Whether the slab counts as kept (SLAB4).
    fn is_kept(&self) -> bool {
        self.used.get() == 0 && self.begun.get() > 0
    }
}

impl<T: Record> Shelf<T> {
    #[cold]
    fn add_slab(&self) -> Option<&'static Slab<T>> {
        const { Slab::<T>::FITS };
        let layout = Layout::from_size_align(SLICE, SLICE).ok()?;
        let memory: NonNull<Slab<T>> = tables::reserve(layout)?.cast();
        memory.as_ptr().expose_provenance();
        // SAFETY: fresh memory, zeroed and long enough, never unmapped: a header without
        // a record.
        let slab = unsafe { memory.as_ref() };
        self.slabs.push_back(slab);
        Some(slab)
    }

    /// Gives the pages of a slab without a record in use back. If the system does not take
    /// them, they stay, and the slab is used as if it had taken them.
    fn purge(&self, slab: &'static Slab<T>) {
        if !slab.is_kept() {
            return;
        }
        self.kept.set(self.kept.get() - 1);
        slab.begun.set(0);
        slab.unused.set(None);
        let address = ptr::from_ref(slab).addr() + PAGE;
        let Some(records) = NonNull::new(ptr::with_exposed_provenance_mut(address)) else { return };
        // SAFETY: inside one mapping; no record in it is in use (SLAB3), and each stays one
        // (SLAB1).
        unsafe { source::purge_pages(records, SLICE - PAGE) };
    }
}
