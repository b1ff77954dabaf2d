//! The source of a workload's blocks, with the step that follows each turn of a hundred
//! allocations. The same code is compiled once for each: the global allocator alone, the
//! global allocator with a switch of owner, explicit handles.

use std::alloc::{Layout, alloc, dealloc};
use std::hint::black_box;

/// Blocks, and a switch of owner.
pub trait Memory {
    /// A block of `layout`, written to at both ends.
    fn take(&mut self, layout: Layout) -> Block;

    /// Gives `block` back.
    ///
    /// # Safety
    ///
    /// - S1 `block` came from this memory's [`take`](Self::take) and is live.
    unsafe fn give(&mut self, block: Block);

    /// The step after every turn of a hundred allocations, or of `turn`.
    fn switch(&mut self);
}

/// A live block. It has 16 bytes, so a table of blocks takes the same room in the
/// processor's caches for every allocator.
#[derive(Clone, Copy)]
pub struct Block {
    pub address: *mut u8,
    size: u32,
    /// The owner: for handles, the index of the handle.
    pub owner: u32,
}

/// All blocks are aligned to this.
pub const ALIGN: usize = 8;

impl Block {
    /// No block: the address is null.
    pub const NONE: Self = Self { address: std::ptr::null_mut(), size: 0, owner: 0 };

    /// Notes a block that was just handed out, and writes to it at both ends.
    ///
    /// # Safety
    ///
    /// - S1 `address` is null or may be written for `layout.size()` bytes,
    ///   which are at least one.
    #[inline(always)]
    pub unsafe fn fresh(address: *mut u8, layout: Layout, owner: u32) -> Self {
        let address = black_box(address);
        assert!(!address.is_null(), "out of memory");
        // SAFETY: S1, and it is not null.
        unsafe { write_ends(address, layout.size()) };
        Self { address, size: layout.size() as u32, owner }
    }

    pub const fn is_none(self) -> bool {
        self.address.is_null()
    }

    #[inline(always)]
    pub fn layout(self) -> Layout {
        layout(self.size as usize)
    }
}

/// Writes the first and the last byte of a block: programs fill what they
/// allocate, and an allocator whose next call waits for such a write shows it.
///
/// # Safety
///
/// - S1 `address` may be written for `size` bytes, which are at least one.
#[inline(always)]
pub unsafe fn write_ends(address: *mut u8, size: usize) {
    // SAFETY: S1, the first byte.
    unsafe { address.write_volatile(1) };
    // SAFETY: S1, the last byte is inside the block.
    let last = unsafe { address.add(size - 1) };
    // SAFETY: S1, the last byte.
    unsafe { last.write_volatile(1) };
}

/// The layout of a block of `size` bytes.
#[inline(always)]
pub fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, ALIGN).expect("sizes are small")
}

/// The global allocator, without a switch of owner.
pub struct Global;

impl Memory for Global {
    #[inline(always)]
    fn take(&mut self, layout: Layout) -> Block {
        // SAFETY: no size here is 0.
        let address = unsafe { alloc(layout) };
        // SAFETY: S1 is what the allocator promises.
        unsafe { Block::fresh(address, layout, 0) }
    }

    #[inline(always)]
    unsafe fn give(&mut self, block: Block) {
        // SAFETY: S1; `layout` is the layout it was taken with.
        unsafe { dealloc(block.address, block.layout()) }
    }

    #[inline(always)]
    fn switch(&mut self) {}
}
