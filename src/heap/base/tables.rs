//! Memory for the engine's own records and tables: in pages of its own, never
//! an owner's and never the global allocator's.
//!
//! Invariant:
//!
//! - TABLE1 memory that was once a record of a [`Pool`] stays a record of that pool. It is
//!   kept for reuse and never unmapped, so a stale reference to one is a reference to a
//!   record, even if the record has a new user.

use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use super::size_class::{self, CLASSES};
use crate::lock::Lock;
use crate::source;
#[cfg(feature = "testing")]
use crate::sync::{AtomicUsize, Ordering::Relaxed};

/// How much is mapped at a time, in bytes; less if the system has no more.
const REGION: usize = 1 << 20;
/// The least that is mapped at a time.
const SHORTEST: usize = 64 << 10;
/// If the addresses of a process are limited, a region takes at most one in this many.
const SHARE: usize = 128;

struct Tables {
    /// Freed records by size class, each holding a link to the next.
    free: [Option<NonNull<Link>>; CLASSES],
    /// The unused part of the newest region.
    unused: usize,
    region: Option<NonNull<u8>>,
    /// Mappings of large tables that were freed but that the system did not take back.
    refused: Option<NonNull<Refused>>,
}

/// The header of such a mapping.
struct Refused {
    bytes: usize,
    next: Option<NonNull<Refused>>,
}

struct Link(Option<NonNull<Link>>);

// SAFETY: the pointers are to memory that only the tables use.
unsafe impl Send for Tables {}

static TABLES: Lock<Tables> =
    Lock::new(Tables { free: [const { None }; CLASSES], unused: 0, region: None, refused: None });

/// Takes the lock of the tables without a guard, for `fork`.
#[cfg(unix)]
pub fn lock_forever() {
    TABLES.lock_forever();
}

/// Undoes [`lock_forever`].
///
/// # Safety
///
/// - S1 this thread, or the parent process's thread it is the copy of, called
///   `lock_forever` and has not undone it.
#[cfg(unix)]
pub unsafe fn unlock() {
    // SAFETY: S1.
    unsafe { TABLES.force_unlock() };
}

/// Bytes mapped for tables now, for tests. It is a statistic and orders nothing.
#[cfg(feature = "testing")]
static MAPPED: AtomicUsize = AtomicUsize::new(0);

/// Bytes mapped for tables now.
#[cfg(feature = "testing")]
pub fn mapped_bytes() -> usize {
    MAPPED.load(Relaxed)
}

fn map(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    let mapping = source::map(bytes, align)?;
    #[cfg(feature = "testing")]
    MAPPED.fetch_add(bytes, Relaxed);
    Some(mapping)
}

/// Memory for `layout`, with unknown content; `None` if there is no more.
pub fn allocate(layout: Layout) -> Option<NonNull<u8>> {
    let Some(class) = size_class::of_layout(layout) else {
        let bytes = layout.size().checked_next_multiple_of(crate::heap::base::geometry::SLICE)?;
        // A record that was used before would not read as zero.
        TABLES.lock().unmap_refused();
        return map(bytes, layout.align().max(crate::heap::base::geometry::PAGE));
    };
    let mut tables = TABLES.lock();
    if let Some(link) = tables.free[class] {
        // SAFETY: a freed record holds a link, and the lock makes it ours.
        tables.free[class] = unsafe { link.read() }.0;
        return Some(link.cast());
    }
    tables.bump(size_class::size_of(class), layout.align())
}

/// Zero-filled memory for `layout`; `None` if there is no more. A mapping of its own from
/// the page source is not touched.
pub fn allocate_zeroed(layout: Layout) -> Option<NonNull<u8>> {
    let memory = allocate(layout)?;
    if size_class::of_layout(layout).is_some() {
        // SAFETY: fresh memory of that layout.
        unsafe { memory.write_bytes(0, layout.size()) };
    }
    Some(memory)
}

/// Memory that is never given back, and was not used before: it reads as zero. `None` if
/// there is no more.
pub fn reserve(layout: Layout) -> Option<NonNull<u8>> {
    TABLES.lock().bump(layout.size(), layout.align())
}

/// Keeps a record for the next request of its size.
///
/// # Safety
///
/// - S1 `memory` came from [`allocate`] with this `layout`.
/// - S2 it is not used any more.
pub unsafe fn free(memory: NonNull<u8>, layout: Layout) {
    let Some(class) = size_class::of_layout(layout) else {
        let bytes = layout.size().next_multiple_of(crate::heap::base::geometry::SLICE);
        let mut tables = TABLES.lock();
        tables.unmap_refused();
        // SAFETY: S1: a mapping of its own; S2.
        return unsafe { tables.unmap(memory, bytes) };
    };
    let mut tables = TABLES.lock();
    let link: NonNull<Link> = memory.cast();
    // SAFETY: S1: at least 16 bytes, aligned; S2: ours.
    unsafe { link.write(Link(tables.free[class])) };
    tables.free[class] = Some(link);
}

/// Creates a record that is never moved or unmapped (TABLE1).
fn make<T>(value: T) -> Option<&'static T> {
    let memory = allocate(Layout::new::<T>())?.cast::<T>();
    // SAFETY: fresh memory of T's layout.
    unsafe { memory.write(value) };
    // SAFETY: initialised, and never unmapped (TABLE1).
    Some(unsafe { memory.as_ref() })
}

impl Tables {
    fn bump(&mut self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let padding = self.region.map_or(0, |at| at.addr().get().wrapping_neg() & (align - 1));
        if self.region.is_none() || self.unused < bytes + padding {
            self.begin_region(bytes + align)?;
            return self.bump(bytes, align);
        }
        let region = self.region?;
        // SAFETY: `padding + bytes <= unused`: inside the region.
        let record = unsafe { region.add(padding) };
        // SAFETY: as above, at most one past the end.
        self.region = Some(unsafe { record.add(bytes) });
        self.unused -= bytes + padding;
        Some(record)
    }

    /// Maps a region of `least` bytes or more. The rest of the old region is lost.
    #[cold]
    fn begin_region(&mut self, least: usize) -> Option<()> {
        let share = source::address_limit() / SHARE;
        let least = least.max(SHORTEST).next_multiple_of(crate::heap::base::geometry::PAGE);
        let mut bytes =
            REGION.min(share).max(least).next_multiple_of(crate::heap::base::geometry::PAGE);
        loop {
            if let Some(region) = map(bytes, crate::heap::base::geometry::PAGE) {
                (self.region, self.unused) = (Some(region), bytes);
                return Some(());
            }
            let shorter =
                (bytes / 2).max(least).next_multiple_of(crate::heap::base::geometry::PAGE);
            if shorter >= bytes {
                return None;
            }
            bytes = shorter;
        }
    }

    /// Unmaps a mapping, now or later.
    ///
    /// # Safety
    ///
    /// - S1 the mapping is a whole one of `bytes` bytes, and not used any more.
    unsafe fn unmap(&mut self, mapping: NonNull<u8>, bytes: usize) {
        // SAFETY: S1.
        if unsafe { source::unmap(mapping, bytes, bytes) } {
            #[cfg(feature = "testing")]
            MAPPED.fetch_sub(bytes, Relaxed);
            return;
        }
        // SAFETY: S1. If this fails too, the physical pages stay with the mapping.
        unsafe { source::purge(mapping, bytes) };
        let refused: NonNull<Refused> = mapping.cast();
        // SAFETY: S1: writable, at least a page long, nobody else's.
        unsafe { refused.write(Refused { bytes, next: self.refused }) };
        self.refused = Some(refused);
    }

    /// Tries again to unmap the mappings that the system did not take.
    fn unmap_refused(&mut self) {
        let mut next = self.refused.take();
        while let Some(refused) = next {
            // SAFETY: written by `unmap`, and this table's alone.
            let before = unsafe { refused.read() };
            next = before.next;
            // SAFETY: S1 of `unmap`, when it was refused.
            unsafe { self.unmap(refused.cast(), before.bytes) };
        }
    }
}

/// A record that a [`Pool`] can keep.
pub trait Linked: Sized + 'static {
    /// The link to the next unused record, which is used under the pool's lock.
    fn next_unused(&self) -> &Cell<Option<&'static Self>>;
}

/// A type of records with an initial value.
pub trait Pooled: Linked {
    /// A record as it is when it is first made.
    fn new() -> Self;
}

/// Records of one type that are used again and again (TABLE1).
pub struct Pool<T: 'static>(Lock<Unused<T>>);

struct Unused<T: 'static>(Cell<Option<&'static T>>);

// SAFETY: the reference is handed from thread to thread under the lock, to
// records that may be shared.
unsafe impl<T: Sync> Send for Unused<T> {}

impl<T: Pooled + Sync> Pool<T> {
    /// As [`take_or`](Self::take_or); a new record has the initial value.
    pub fn take(&self, enrol: impl FnOnce(&'static T)) -> Option<&'static T> {
        self.take_or(T::new, enrol)
    }
}

impl<T: Linked + Sync> Pool<T> {
    /// An empty pool.
    pub const fn new() -> Self {
        Self(Lock::new(Unused(Cell::new(None))))
    }

    /// Takes a record. It is one that was given back earlier, with its old content, or a
    /// new one, which is passed to `enrol` under the lock. `None` if there is no memory.
    pub fn take_or(
        &self,
        fresh: impl FnOnce() -> T,
        enrol: impl FnOnce(&'static T),
    ) -> Option<&'static T> {
        let unused = self.0.lock();
        if let Some(record) = unused.0.get() {
            unused.0.set(record.next_unused().take());
            return Some(record);
        }
        let record = make(fresh())?;
        enrol(record);
        Some(record)
    }

    /// Keeps a record that is not used any more, except as TABLE1 allows.
    pub fn give(&self, record: &'static T) {
        let unused = self.0.lock();
        record.next_unused().set(unused.0.replace(Some(record)));
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
    /// - S1 as for [`unlock`].
    #[cfg(unix)]
    pub unsafe fn unlock(&self) {
        // SAFETY: S1.
        unsafe { self.0.force_unlock() };
    }
}

/// The tables as an allocator, for the engine's hash tables.
#[derive(Clone, Copy)]
pub struct TableAllocator;

// SAFETY: blocks stay where they are until freed, and all copies are equal.
unsafe impl Allocator for TableAllocator {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let memory = allocate(layout).ok_or(AllocError)?;
        Ok(NonNull::slice_from_raw_parts(memory, layout.size()))
    }

    unsafe fn deallocate(&self, memory: NonNull<u8>, layout: Layout) {
        // SAFETY: handed on.
        unsafe { free(memory, layout) };
    }
}
