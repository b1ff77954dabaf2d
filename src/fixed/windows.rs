//! The indexes of a heap, one for each window with regions; nearly always there is only
//! one.
//!
//! - WINDOW1 no two indexes have the same window, and each region's window has one.
//! - WINDOW2 all indexes except the first lie in memory that a region gave up for them,
//!   and are never removed.

use core::ptr::NonNull;

use super::block::Block;
use super::index::{Found, Index};
use super::link::{Link, WIDE, Window};

/// How many bytes a region gives up for an index, as documented.
const _: () = assert!(size_of::<Index>() + align_of::<Index>() <= 800);

/// All free blocks of a heap, by window.
pub struct Windows {
    /// The index of the window that was served first.
    pub first: Index,
}

impl Windows {
    /// No windows.
    pub const fn new() -> Self {
        Self { first: Index::new(Window::NONE, Link::NONE) }
    }

    /// Whether a block belongs to the first index.
    #[inline(always)]
    pub fn are_first(&self, block: Block) -> bool {
        !WIDE || self.first.more.is_none() || self.first.window() == Window::of(block.address())
    }

    /// The index that a block belongs to.
    pub fn of(&mut self, block: Block) -> &mut Index {
        if self.are_first(block) {
            return &mut self.first;
        }
        self.others(Window::of(block.address())).unwrap_or(&mut self.first)
    }

    fn others<'a>(&self, window: Window) -> Option<&'a mut Index> {
        let mut more = self.first.more;
        loop {
            // SAFETY: WINDOW2; each index is referred to once at a time, because
            // a reference to one exists only under the store's lock.
            let index = unsafe { more?.as_mut() };
            if index.window() == window {
                return Some(index);
            }
            more = index.more;
        }
    }

    /// A free block of any window; see [`Index::find`].
    pub fn find(&mut self, size: usize, align: usize) -> Option<Found> {
        let mut found = self.first.find(size, align);
        let mut more = self.first.more;
        while WIDE && found.is_none() {
            // SAFETY: as in `others`.
            let index = unsafe { more?.as_mut() };
            found = index.find(size, align);
            more = index.more;
        }
        found
    }

    /// How many bytes an index at `start` takes, if a region there needs a new one.
    pub fn cost(&self, start: usize) -> usize {
        let window = Window::of(start);
        let is_served = [window, Window::NONE].contains(&self.first.window());
        if !WIDE || is_served || self.others(window).is_some() {
            return 0;
        }
        start.wrapping_neg() % align_of::<Index>() + size_of::<Index>()
    }

    /// Ensures that there is an index for the window of `start`; a new one takes the first
    /// bytes from there.
    ///
    /// # Safety
    ///
    /// - S1 [`cost`](Self::cost) bytes from `start` are memory in one window
    ///   that is the heap's alone, from now on and for as long as the heap is
    ///   in use.
    pub unsafe fn serve(&mut self, start: NonNull<u8>, nil: Link) {
        let window = Window::of(start.addr().get());
        if self.first.window() == Window::NONE {
            self.first = Index::new(window, nil);
        }
        let Some(gap) = self.cost(start.addr().get()).checked_sub(size_of::<Index>()) else {
            return;
        };
        // SAFETY: S1.
        let place = unsafe { start.add(gap) }.cast::<Index>();
        let mut index = Index::new(window, nil);
        index.more = self.first.more;
        // SAFETY: S1, aligned by the gap.
        unsafe { place.write(index) };
        self.first.more = Some(place);
    }
}

#[cfg(feature = "testing")]
use super::region::Regions;

#[cfg(feature = "testing")]
impl Windows {
    /// Walks all lists of all windows, and returns the number of blocks in them.
    pub fn check(&self, regions: &Regions) -> Result<usize, &'static str> {
        let mut count = self.first.check(regions)?;
        let mut more = self.first.more;
        while let Some(index) = more {
            // SAFETY: WINDOW2; the store is borrowed.
            let index = unsafe { index.as_ref() };
            count += index.check(regions)?;
            more = index.more;
        }
        Ok(count)
    }
}
