//! Raw blocks with an alignment beyond 16 bytes, by key.
//!
//! The engines align raw blocks to 16 bytes. A block with a larger alignment lies inside a
//! larger raw block, the *outer* block, and is freed, resized and measured by the same
//! calls as any other. Two words in front of it lead back:
//!
//! ```text
//!  outer                      address, aligned
//!  +------------+------+------+--------------------+-------+
//!  | slack      |offset| size | size bytes         | slack |
//!  +------------+------+------+--------------------+-------+
//!  <-------- offset ---------->
//!  <------------------ size + alignment ------------------->
//! ```
//!
//! The two words lie in memory that the plug-in can reach, so they are a hint: the
//! address that they lead to is looked up in the engine's own map, and accepted
//! only if a live raw block of the same owner with exactly this shape is there.
//!
//! Invariants
//!
//! - ALIGNED1 an outer block has `size + alignment` bytes, where a size of 0 counts as 1
//!   (or the address would be in the next block), the alignment a power of two
//!   above 16, and `16 <= offset <= alignment`.

use core::ptr::NonNull;

use crate::engine::{Engine, Who};
use crate::error::Error;
use crate::expert::home::{Home, OwnerOf};
use crate::key::ExpertKey;
use crate::sync::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// The alignment of every raw block, in bytes, which is also the room of the two
/// words.
const NATURAL: usize = 16;
const _: () = assert!(2 * size_of::<AtomicUsize>() <= NATURAL);

/// The largest alignment, in bytes; beyond it nearly all of the outer block would be slack.
const LARGEST: usize = 1 << 30;

/// Whether there ever was an aligned block; if not, calls look for none. A thread that got
/// the address of such a block from another thread sees the flag set, because passing the
/// address orders it.
static EVER: AtomicBool = AtomicBool::new(false);

/// An aligned block that was found.
#[derive(Clone, Copy)]
pub(crate) struct Aligned {
    /// The block that it lies in.
    pub(crate) outer: *mut u8,
    pub(crate) owner: ExpertKey,
    /// The bytes asked for.
    pub(crate) size: usize,
    pub(crate) alignment: usize,
}

/// A raw block for `who`, aligned as asked, zero-filled where asked.
///
/// # Errors
///
/// [`Error::InvalidPointer`] for an alignment that is no power of two, or
/// beyond 1 GiB; [`Error::OutOfMemory`], [`Error::QuotaExceeded`].
pub(crate) fn allocate<H: Home>(
    home: H,
    who: Who<'_, OwnerOf<H>>,
    size: usize,
    alignment: usize,
    zeroed: bool,
) -> Result<NonNull<u8>, Error> {
    if !alignment.is_power_of_two() || alignment > LARGEST {
        return Err(Error::InvalidPointer);
    }
    let whole = if alignment > NATURAL { size.max(1).checked_add(alignment) } else { Some(size) };
    let whole = whole.ok_or(Error::OutOfMemory)?;
    let outer = if zeroed {
        home.engine().raw_allocate(who, whole)?
    } else {
        home.engine().raw_allocate_uninit(who, whole)?
    };
    if alignment <= NATURAL {
        return Ok(outer);
    }
    // ALIGNED1: a multiple of 16, because the outer address is one.
    let offset = alignment - outer.addr().get() % alignment;
    // SAFETY: ALIGNED1: inside the outer block, because `offset <= alignment`.
    let block = unsafe { outer.add(offset) };
    let [offset_word, size_word] = words(block.as_ptr());
    // SAFETY: ALIGNED1: `offset >= 16`, so both words are inside the outer block, aligned.
    unsafe { &*offset_word }.store(offset, Relaxed);
    // SAFETY: as above.
    unsafe { &*size_word }.store(size, Relaxed);
    EVER.store(true, Relaxed);
    Ok(block)
}

/// Where the two words of a block at `address` would be.
fn words(address: *const u8) -> [*const AtomicUsize; 2] {
    let offset = address.wrapping_sub(NATURAL).cast::<AtomicUsize>();
    [offset, offset.wrapping_add(1)]
}

/// The live aligned block of any owner that begins at `address`. Trusts nothing: any
/// address may be passed.
pub(crate) fn find<H: Home>(home: H, address: *const u8) -> Option<Aligned> {
    if address.addr() % (2 * NATURAL) != 0 || !EVER.load(Relaxed) {
        return None;
    }
    let [offset, size] = words(address);
    let engine = home.engine();
    let owner = engine.owner_of(offset.cast())?;
    // Memory that is found to be the heap's stays mapped until the pin is dropped.
    let _pin = home.pin(owner);
    if engine.owner_of(offset.cast()) != Some(owner) {
        return None;
    }
    // SAFETY: inside a block of this heap, which the pin keeps mapped; aligned.
    let offset = unsafe { &*offset }.load(Relaxed);
    // SAFETY: as above: blocks are whole multiples of 16 bytes.
    let size = unsafe { &*size }.load(Relaxed);
    let outer = address.wrapping_sub(offset).cast_mut();
    let alignment = engine.raw_size(owner, outer).ok()?.checked_sub(size.max(1))?;
    // ALIGNED1.
    let has_shape = alignment.is_power_of_two()
        && alignment > NATURAL
        && (NATURAL..=alignment).contains(&offset)
        && address.addr() % alignment == 0;
    has_shape.then_some(Aligned { outer, owner, size, alignment })
}

/// Moves an aligned block: to another owner, or to another size.
///
/// # Errors
///
/// As [`allocate`]; the block is then untouched. [`Error::InvalidPointer`] if another
/// thread freed it meanwhile.
pub(crate) fn relocate<H: Home>(
    home: H,
    from: &Aligned,
    to: Who<'_, OwnerOf<H>>,
    size: usize,
) -> Result<NonNull<u8>, Error> {
    let moved = allocate(home, to, size, from.alignment, true)?;
    let offset = from.alignment - from.outer.addr() % from.alignment;
    // The pin keeps the source of the copy mapped, even if another thread frees it.
    let pin = home.pin(from.owner);
    if home.engine().raw_size(from.owner, from.outer).is_err() {
        drop(pin);
        free_at(home, to.key, moved.as_ptr());
        return Err(Error::InvalidPointer);
    }
    let content = from.outer.wrapping_add(offset);
    // SAFETY: ALIGNED1: `from.size` bytes from there are in the outer block, which was
    // live just now and is kept mapped; the other block is a fresh one.
    unsafe { content.copy_to_nonoverlapping(moved.as_ptr(), from.size.min(size)) };
    drop(pin);
    match home.engine().raw_free(from.owner, from.outer) {
        Ok(()) => Ok(moved),
        Err(why) => {
            free_at(home, to.key, moved.as_ptr());
            Err(why)
        }
    }
}

/// Frees a block that [`allocate`] has just made.
fn free_at<H: Home>(home: H, key: ExpertKey, block: *mut u8) {
    if let Some(made) = find(home, block) {
        let freed = home.engine().raw_free(key, made.outer);
        debug_assert!(freed.is_ok(), "nobody else knows the block");
    }
}
