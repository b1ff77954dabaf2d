//! Finds the chunk that holds an address, without reading memory there.
//!
//! It is a two-level table over the 48-bit address space, with one entry per chunk-sized
//! unit. Leaves are made on demand and stay. Look-ups take no lock.
//!
//! Invariant:
//!
//! - MAP1 the entries of a unit that holds part of a live chunk's mapping are that
//!   chunk; all others are null.

use core::alloc::Layout;
use core::ptr;

use super::chunk::Chunk;
use crate::heap::base::geometry::{CHUNK, CHUNK_SHIFT};
use crate::heap::base::tables;
use crate::sync::{AtomicPtr, Ordering};

const ADDRESS_BITS: u32 = if usize::BITS == 64 { 48 } else { 32 };
const UNIT_BITS: u32 = ADDRESS_BITS - CHUNK_SHIFT;
const LEAF_BITS: u32 = UNIT_BITS / 2;
const ROOTS: usize = 1 << (UNIT_BITS - LEAF_BITS);
const LEAF: usize = 1 << LEAF_BITS;

type Leaf = [AtomicPtr<Chunk>; LEAF];

static ROOT: [AtomicPtr<Leaf>; ROOTS] = [const { AtomicPtr::new(ptr::null_mut()) }; ROOTS];

/// The live chunk whose mapping holds `address`. The caller is pinned, so that
/// the chunk is not released while it looks (PIN1).
pub fn find(address: usize) -> Option<&'static Chunk> {
    let unit = address >> CHUNK_SHIFT;
    let leaf = leaf(unit)?;
    // Acquire: the chunk's fields (the Release in `store`).
    let chunk = leaf[unit % LEAF].load(Ordering::Acquire);
    // SAFETY: entries are null or chunk records, which are never unmapped.
    let chunk = unsafe { chunk.as_ref() }?;
    crate::sync::delay(crate::sync::Window::ChunkMap);
    chunk.holds(address).then_some(chunk)
}

/// Enters `chunk`. [`OutOfMap`] if a leaf cannot be made, or if the chunk lies beyond the
/// addresses that the map covers.
pub fn insert(chunk: &'static Chunk) -> Result<(), OutOfMap> {
    insert_behind(chunk, 0)
}

/// Enters the part of `chunk` behind its first `bytes`, which are in the map.
pub fn insert_behind(chunk: &'static Chunk, bytes: usize) -> Result<(), OutOfMap> {
    let enter = |unit| store(unit, ptr::from_ref(chunk).cast_mut());
    let done = units_behind(chunk, bytes).try_for_each(enter);
    if done.is_err() {
        remove_behind(chunk, bytes);
    }
    done
}

/// Takes `chunk` out.
pub fn remove(chunk: &'static Chunk) {
    remove_behind(chunk, 0);
}

/// Takes out the part of `chunk` behind its first `bytes`.
pub fn remove_behind(chunk: &'static Chunk, bytes: usize) {
    for unit in units_behind(chunk, bytes) {
        if let Some(leaf) = leaf(unit) {
            // SeqCst: this comes before the releaser looks for pins; a thread that pins
            // later no longer finds the chunk.
            leaf[unit % LEAF].store(ptr::null_mut(), Ordering::SeqCst);
        }
    }
}

/// Calls `f` with each chunk, in the order of their addresses.
#[cfg(unix)]
pub fn for_each(mut f: impl FnMut(&'static Chunk)) {
    let Ok(()) = for_each_unit(|unit, chunk| {
        if chunk.base() >> CHUNK_SHIFT == unit {
            f(chunk);
        }
        Ok::<(), core::convert::Infallible>(())
    });
}

/// Calls `f` with each unit that holds part of a chunk, and with the chunk, until `f`
/// fails.
///
/// # Errors
///
/// Those of `f`.
#[cfg(any(unix, feature = "testing"))]
pub fn for_each_unit<E>(
    mut f: impl FnMut(usize, &'static Chunk) -> Result<(), E>,
) -> Result<(), E> {
    for root in (0..ROOTS).map(|root| root * LEAF) {
        let Some(leaf) = leaf(root) else { continue };
        for (place, entry) in leaf.iter().enumerate() {
            // Acquire: as in `find`.
            // SAFETY: entries are null or chunk records, which are never unmapped.
            if let Some(chunk) = unsafe { entry.load(Ordering::Acquire).as_ref() } {
                f(root + place, chunk)?;
            }
        }
    }
    Ok(())
}

/// The error that the map has no room for a chunk.
#[derive(Debug)]
pub struct OutOfMap;

/// The units of a chunk that do not hold part of its first `bytes`.
fn units_behind(chunk: &Chunk, bytes: usize) -> core::ops::RangeInclusive<usize> {
    let start = chunk.base();
    debug_assert_eq!(start % CHUNK, 0);
    (start >> CHUNK_SHIFT) + bytes.div_ceil(CHUNK)..=(start + chunk.bytes() - 1) >> CHUNK_SHIFT
}

fn leaf(unit: usize) -> Option<&'static Leaf> {
    // Acquire: the leaf's entries (the Release in `make_leaf`).
    let leaf = ROOT.get(unit / LEAF)?.load(Ordering::Acquire);
    // SAFETY: roots are null or leaves, which are never freed.
    unsafe { leaf.as_ref() }
}

fn store(unit: usize, chunk: *mut Chunk) -> Result<(), OutOfMap> {
    let leaf = match leaf(unit) {
        Some(leaf) => leaf,
        None => make_leaf(unit).ok_or(OutOfMap)?,
    };
    // Release: the chunk's fields (the Acquire in `find`).
    leaf[unit % LEAF].store(chunk, Ordering::Release);
    Ok(())
}

/// Makes the leaf for `unit`. The caller holds the arena's lock.
fn make_leaf(unit: usize) -> Option<&'static Leaf> {
    let root = ROOT.get(unit / LEAF)?;
    let memory = tables::allocate(Layout::new::<Leaf>())?.cast::<Leaf>();
    // SAFETY: fresh memory of a leaf's layout; zero is a null pointer each.
    unsafe { memory.write_bytes(0, 1) };
    // Release: the null entries (the Acquire in `leaf`).
    root.store(memory.as_ptr(), Ordering::Release);
    // SAFETY: initialised above, never freed.
    Some(unsafe { memory.as_ref() })
}
