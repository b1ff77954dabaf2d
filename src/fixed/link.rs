//! Links of the free lists: 32 bits on every target.
//!
//! On 64-bit targets a link is the low half of an address, and a *window*, 4
//! GiB of addresses with one high half, supplies the rest. On 32-bit targets there
//! is one window, and a link is an address.

use core::ptr;

use super::block::Block;

/// Whether addresses are wider than links.
pub const WIDE: bool = usize::BITS > 32;

/// The bits of an address that a link has.
const LOW: usize = u32::MAX as usize;

/// All addresses with the same high half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(usize);

impl Window {
    /// The window of no address.
    pub const NONE: Self = Self(LOW);

    /// The window that `address` is in.
    #[inline(always)]
    pub const fn of(address: usize) -> Self {
        Self(if WIDE { address & !LOW } else { 0 })
    }

    /// How many bytes there are from `address` to the end of its window; on 32-bit targets
    /// no region reaches the end.
    #[inline]
    pub const fn bytes_from(address: usize) -> usize {
        if WIDE { LOW - (address & LOW) + 1 } else { usize::MAX }
    }
}

/// A link to a block. The back link of the first block in a list leads to the list, by an
/// odd number that stands for it. So the code that removes a block does not have to find
/// out which list it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Link(u32);

impl Link {
    /// A link to nothing, as long as there is no end mark.
    pub const NONE: Self = Self(0);

    /// To a block.
    #[inline(always)]
    pub fn to(block: Block) -> Self {
        Self::to_address(block.address())
    }

    /// A link to the header at `address`.
    #[inline(always)]
    pub const fn to_address(address: usize) -> Self {
        Self(address as u32)
    }

    /// A link to the list with this number.
    #[inline(always)]
    pub const fn list(number: usize) -> Self {
        Self((number as u32) << 1 | 1)
    }

    /// Whether this leads to a list.
    #[inline(always)]
    pub fn is_to_list(self) -> bool {
        self.0 & 1 != 0
    }

    /// The number of the list that this leads to.
    #[inline(always)]
    pub fn list_number(self) -> usize {
        (self.0 >> 1) as usize
    }

    /// The address of the block, or the end mark, in `window` that this leads to.
    #[inline(always)]
    pub fn pointer(self, window: Window) -> *mut u8 {
        // Added, not or-ed: an addition is a part of the instruction that follows the link.
        let high = if WIDE { window.0 } else { 0 };
        ptr::with_exposed_provenance_mut(high.wrapping_add(self.0 as usize))
    }
}
