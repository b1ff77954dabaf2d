//! A growing buffer in memory from the raw calls, as an expert for Network Monitor would
//! have with `ExpertAllocMemory`.
//!
//! Invariants
//!
//! - B1 `block` is a live raw block of `expert` of `capacity` bytes that only
//!   this buffer uses, or there is none and `capacity` is 0.
//! - B2 `len <= capacity`, and the first `capacity` bytes are initialised:
//!   raw blocks come, and grow, filled with zeros.

use std::ptr::NonNull;

use expert_alloc::{Error, Expert};

/// A growing buffer of raw memory. Dropping it frees nothing: the owner calls
/// [`free`](Self::free), or leaves it to the reclaim.
pub struct RawBuffer<'e> {
    expert: &'e Expert,
    block: Option<NonNull<u8>>,
    capacity: usize,
    len: usize,
}

impl<'e> RawBuffer<'e> {
    /// An empty buffer, which holds no memory.
    pub fn new(expert: &'e Expert) -> Self {
        Self { expert, block: None, capacity: 0, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn as_slice(&self) -> &[u8] {
        match self.block {
            // SAFETY: B1 and B2 make the first `len` bytes readable and
            // initialised; writing them takes `&mut self`.
            Some(block) => unsafe { std::slice::from_raw_parts(block.as_ptr(), self.len) },
            None => &[],
        }
    }

    /// Appends `bytes`, then zeros for those of `len` that are not in `bytes`:
    /// what was sent but not captured.
    ///
    /// # Errors
    ///
    /// The error of a raw call; the buffer is then as before.
    pub fn append(&mut self, bytes: &[u8], len: usize) -> Result<(), Error> {
        let start = self.len;
        self.resize(start + len)?;
        let copied = bytes.len().min(len);
        self.as_mut_slice()[start..start + copied].copy_from_slice(&bytes[..copied]);
        self.as_mut_slice()[start + copied..].fill(0);
        Ok(())
    }

    /// As [`append`](Self::append), but writes `bytes` at `offset`, and makes the buffer at
    /// least `offset + len` bytes long.
    ///
    /// # Errors
    ///
    /// The error of a raw call; the buffer is then as before.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8], len: usize) -> Result<(), Error> {
        let copied = bytes.len().min(len);
        self.resize(self.len.max(offset + len))?;
        self.as_mut_slice()[offset..offset + copied].copy_from_slice(&bytes[..copied]);
        Ok(())
    }

    /// Forgets the content and keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Gives the memory back.
    ///
    /// # Errors
    ///
    /// [`Error::Terminated`] if the expert was told to stop; the block is freed all the
    /// same.
    pub fn free(&mut self) -> Result<(), Error> {
        (self.capacity, self.len) = (0, 0);
        match self.block.take() {
            Some(block) => self.expert.free(block.as_ptr()),
            None => Ok(()),
        }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        match self.block {
            // SAFETY: as in `as_slice`, and `&mut self` makes it exclusive.
            Some(block) => unsafe { std::slice::from_raw_parts_mut(block.as_ptr(), self.len) },
            None => &mut [],
        }
    }

    /// Makes the buffer `len` bytes long; new bytes have any content.
    fn resize(&mut self, len: usize) -> Result<(), Error> {
        if len > self.capacity {
            let capacity = len.next_power_of_two().max(64);
            let block = match self.block {
                Some(block) => self.expert.realloc(block.as_ptr(), capacity)?,
                None => self.expert.alloc(capacity)?,
            };
            (self.block, self.capacity) = (Some(block), capacity);
        }
        self.len = len;
        Ok(())
    }
}
