//! From an address to its block, and from an owner to all of its blocks. The store
//! keeps no list for either: it tests an untrusted address, and finds an owner's
//! blocks by a walk in address order.

use super::block::Block;
use super::header::{GRANULE, HEADER, Tag};
use super::store::Store;
use crate::engine::{Kind, Taken};

impl Store {
    /// The live block whose payload begins at `address`, for any address: in bounded
    /// time, and without reading outside of the regions. The block's own header must
    /// pass its check, and the next one too.
    pub fn at(&self, address: usize) -> Option<Block> {
        let header = address.checked_sub(HEADER)?;
        let span = self.regions.around(header)?;
        if address % GRANULE != 0 {
            return None;
        }
        // SAFETY: the address is in a region, before the end mark, and aligned.
        let block = unsafe { Block::at(header) };
        let extent = block.seen_extent();
        let room = span.end.address() - header;
        if !block.is_genuine(extent, self.salt) || extent.size() > room {
            return None;
        }
        let next = block.skip(extent.size());
        let after = next.seen_extent();
        let room = room - extent.size();
        let fits = next == span.end
            || next.is_genuine(after, self.salt)
            || after.is_free() && after.is_possible() && after.size() <= room && {
                next.skip(after.size()).ends_free(after.size())
            };
        (fits && !after.is_previous_free()).then_some(block)
    }

    /// The live block whose payload `address` points to or into, for any address. It walks
    /// the region up to the address, from header to header, so it never takes a block's
    /// content for a header.
    pub fn around(&self, address: usize) -> Option<Block> {
        let span = self.regions.around(address)?;
        let mut block = span.first;
        while block.next().address() <= address {
            block = block.next();
        }
        (!block.is_free() && block.address() + HEADER <= address).then_some(block)
    }

    /// Frees every block of `kind` that carries `tag`, and returns their number and the sum
    /// of their sizes, headers included.
    pub fn reclaim(&mut self, tag: Tag, kind: Kind) -> Taken {
        let mut taken = Taken::default();
        for span in self.regions.iter() {
            let mut block = span.first;
            while block != span.end {
                if block.is_of(tag, kind, self.salt) {
                    block = self.release_all(block, span.end, tag, kind, &mut taken);
                }
                block = block.next();
            }
        }
        taken
    }

    /// Frees the run of blocks of this owner and kind from `first` on, together with free
    /// blocks between them, as one block. The run ends at the latest at the end mark `end`.
    fn release_all(
        &mut self,
        first: Block,
        end: Block,
        tag: Tag,
        kind: Kind,
        taken: &mut Taken,
    ) -> Block {
        let mut size = 0;
        loop {
            let block = first.skip(size);
            let more = block.size();
            // The label of an end mark is none (INDEX4).
            if block != end && block.is_of(tag, kind, self.salt) {
                taken.blocks += 1;
                taken.bytes += more;
                if size != 0 {
                    block.erase();
                }
            } else if block.is_free() {
                self.swallow(block);
            } else {
                return self.release_slow(first, size);
            }
            size += more;
        }
    }

    /// Writes `to` over the tag of every block of `kind` that carries `from`.
    pub fn retag(&mut self, from: Tag, to: Tag, kind: Kind) -> Taken {
        let mut taken = Taken::default();
        for span in self.regions.iter() {
            let mut block = span.first;
            while block != span.end {
                if block.is_of(from, kind, self.salt) {
                    let extent = block.extent();
                    block.set_live(extent, to, block.label(self.salt).slack(), self.salt);
                    taken.blocks += 1;
                    taken.bytes += extent.size();
                }
                block = block.next();
            }
        }
        taken
    }
}
