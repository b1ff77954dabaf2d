//! Requests: blocks and owners together, under the engine's lock. Every change
//! of a block is charged, or refunded, in the same step.
//!
//! - CHARGE1 the accounts of a heap, and all owners' counts, change only here.
//! - CHARGE2 a block's charge is its size with its header; a request that is
//!   refused has changed nothing but the count of refusals.

use super::block::Block;
use super::class::WIDE;
use super::header::{CRUMBS, Extent, GRANULE, HEADER, MAX_BLOCK, MIN_BLOCK, Tag, block_size};
use super::index::KEPT;
use super::owner::{Directory, Owner};
use super::store::{Mark, Store, fitted, take};
use crate::engine::{HOST_KEY, Kind, Taken, Who};
use crate::error::Error;
use crate::key::ExpertKey;

/// A request for memory, with its owner and its kind.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The account that is charged.
    pub who: Who<'a, Owner>,
    /// The kind of block.
    pub kind: Kind,
    /// The bytes asked for.
    pub asked: usize,
    /// The alignment of the payload's address: a power of two.
    pub align: usize,
}

/// The way in which the block for a request is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The common way: [`Index::find_fast`].
    Plain,
    /// For an alignment of more than [`GRANULE`]: [`Index::find_aligned`].
    Aligned,
    /// All others: [`Index::find_close`].
    Close,
}

impl Way {
    /// The way for a request of `asked` bytes at a multiple of `align`.
    #[inline(always)]
    pub fn of(asked: usize, align: usize) -> Self {
        if asked > WIDE - HEADER || align > KEPT {
            Self::Close
        } else if align > GRANULE {
            Self::Aligned
        } else {
            Self::Plain
        }
    }
}

/// The tag of an owner's blocks.
#[inline]
fn tag(who: Who<'_, Owner>) -> Option<Tag> {
    who.key.slot().and_then(Tag::of_slot)
}

impl Store {
    /// The mark of a block of this store.
    #[inline(always)]
    pub fn mark(&self, tag: Tag, kind: Kind) -> Mark {
        Mark { tag, kind, salt: self.salt }
    }

    /// The mark of a block that keeps its owner.
    fn mark_of(&self, block: Block, kind: Kind) -> Mark {
        self.mark(block.label(self.salt).tag(), kind)
    }

    /// Allocates a block in the common case: nothing to search, nothing to refuse. Returns
    /// `None`, with nothing changed, in all other cases.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn allocate(&mut self, way: Way, request: Request<'_>) -> Option<Block> {
        let Request { who, kind, asked, align } = request;
        let mark = self.mark(tag(who)?, kind);
        let index = &mut self.free.first;
        let size = block_size(asked)?;
        let found = match way {
            Way::Plain => index.find_fast(size),
            Way::Aligned => index.find_aligned(size, align),
            Way::Close => index.find_close(size, align),
        }?;
        let size = found.size;
        if mark.tag == Tag::HOST {
            who.account.charge_unlimited_locked(size);
        } else {
            who.account.charge_again_locked(size).ok()?;
        }
        who.owner.gain(1, size);
        Some(take(index, &found, mark))
    }

    /// Allocates a block.
    #[inline(never)]
    pub fn allocate_slow(&mut self, request: Request<'_>) -> Result<Block, Error> {
        let Request { who, kind, asked, align } = request;
        let Some(tag) = tag(who) else { return Err(Error::TooManyExperts) };
        let size = block_size(asked).ok_or_else(|| why_not(request, MAX_BLOCK))?;
        let mut found = self.free.find(size, align).ok_or_else(|| why_not(request, size))?;
        if CRUMBS && !has_room(request, found.size) {
            found.leave_crumb(size);
        }
        charge(request, found.size)?;
        who.owner.gain(1, found.size);
        Ok(self.take(&found, self.mark(tag, kind)))
    }

    /// Frees a live block of any owner.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn free(&mut self, host: Who<'_, Owner>, others: &impl Directory, block: Block) {
        let size = block.size();
        let tag = block.label(self.salt).tag();
        if tag == Tag::HOST {
            host.account.refund_unlimited_locked(size);
            host.owner.lose(1, size);
        } else if let Some(entry) = others.find(tag.slot()) {
            entry.account.refund_locked(size);
            entry.owner.lose(1, size);
        }
        self.release(block, size);
    }

    /// Makes room for `asked` bytes of a live block of the host in the common case. The
    /// room is where the block stands, or elsewhere, and then the caller moves the content.
    /// Returns `None`, with nothing changed, in all other cases.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn resize_for_host(
        &mut self,
        host: Who<'_, Owner>,
        block: Block,
        asked: usize,
        align: usize,
    ) -> Option<Block> {
        let size = block_size(asked)?;
        let before = block.size();
        if is_close(size, before) {
            return Some(block);
        }
        let request = Request { who: host, kind: Kind::Ambient, asked, align };
        if is_hole_worth_it(size, before) {
            if let Some(hole) = self.allocate_hole(request, before) {
                return Some(hole);
            }
        }
        let whole = self.reach(block);
        if size > whole {
            return match Way::of(asked, align) {
                Way::Plain => self.allocate(Way::Plain, request),
                _ => None,
            };
        }
        let size = fitted(size, whole);
        let more = size.wrapping_sub(before);
        host.account.charge_unlimited_locked(more);
        host.owner.resize(more);
        self.resize(block, size, self.mark(Tag::HOST, Kind::Ambient));
        Some(block)
    }

    /// Makes room for a live block that is resized. The room is where the block stands, or,
    /// if it shrinks, in a [hole](Self::allocate_hole), and then the caller moves the
    /// content. Returns `None`, with the block untouched, if neither is possible.
    #[inline(never)]
    pub fn resize_for(
        &mut self,
        request: Request<'_>,
        block: Block,
    ) -> Option<Result<Block, Error>> {
        let size = block_size(request.asked)?;
        let before = block.size();
        if block.payload().addr().get() & (request.align - 1) != 0 {
            return None;
        }
        if is_close(size, before) {
            return Some(Ok(block));
        }
        if is_hole_worth_it(size, before) {
            if let Some(hole) = self.allocate_hole(request, before) {
                return Some(Ok(hole));
            }
        }
        let whole = self.reach(block);
        if size > whole {
            return None;
        }
        let size = affordable(request, before, size, whole);
        if let Err(error) = recharge(request, before, size) {
            return Some(Err(error));
        }
        self.resize_slow(block, size, self.mark_of(block, request.kind));
        Some(Ok(block))
    }

    /// Allocates out of a free block of fewer than `below` bytes, if one is at
    /// hand and the quota has room for it.
    ///
    /// A block that shrinks to half its size or less moves there: that uses small holes
    /// and makes large ones. A heap whose blocks are resized at random is filled to 98
    /// instead of 92 % (measured): a block that shrinks in place breaks up memory, and
    /// nothing else joins it again. While there is [plenty](Index::has_plenty) of memory
    /// in one piece, blocks stay, which saves the copies.
    #[inline(never)]
    fn allocate_hole(&mut self, request: Request<'_>, below: usize) -> Option<Block> {
        let Request { who, kind, asked, align } = request;
        let mark = self.mark(tag(who)?, kind);
        let index = &mut self.free.first;
        if index.has_plenty(below) {
            return None;
        }
        let found = index.find_close(block_size(asked)?, align)?;
        if found.block.size() >= below {
            return None;
        }
        who.account.charge_locked(found.size).ok()?;
        who.owner.gain(1, found.size);
        Some(take(index, &found, mark))
    }

    /// Moves a live block, with the first `kept` bytes of its content, to a place with
    /// room for `request`, and charges only the difference.
    pub fn relocate(
        &mut self,
        request: Request<'_>,
        block: Block,
        kept: usize,
    ) -> Result<Block, Error> {
        let size = block_size(request.asked).ok_or_else(|| why_not(request, MAX_BLOCK))?;
        let mark = self.mark_of(block, request.kind);
        if let Some(mut found) = self.free.find(size, request.align) {
            let before = block.size();
            if CRUMBS && !has_room(request, found.size.saturating_sub(before)) {
                found.leave_crumb(size);
            }
            recharge(request, before, found.size)?;
            let moved = self.take(&found, mark);
            // SAFETY: two live blocks, each at least `kept` bytes long.
            unsafe { block.payload().copy_to_nonoverlapping(moved.payload(), kept) };
            self.release_slow(block, before);
            return Ok(moved);
        }
        let fits = |&(previous, whole): &(Block, usize)| {
            whole >= size && previous.payload().addr().get() & (request.align - 1) == 0
        };
        let Some((_, whole)) = self.reach_back(block).filter(fits) else {
            return Err(why_not(request, size.saturating_sub(block.size())));
        };
        let size = affordable(request, block.size(), size, whole);
        recharge(request, block.size(), size)?;
        self.slide(block, size, kept, mark).ok_or(Error::OutOfMemory)
    }

    /// The live raw block of `key` at `address`; any address may be passed.
    pub fn raw(
        &self,
        others: &impl Directory,
        key: ExpertKey,
        address: usize,
    ) -> Result<Block, Error> {
        let block = self.at(address).ok_or(Error::InvalidPointer)?;
        if block.extent().kind() != Some(Kind::Raw) {
            return Err(Error::InvalidPointer);
        }
        match self.key_of(others, block) {
            Some(owner) if owner == key => Ok(block),
            Some(_) => Err(Error::AccessDenied),
            None => Err(Error::InvalidPointer),
        }
    }

    /// The key that a live block belongs to; `None` for the engine's own.
    pub fn key_of(&self, others: &impl Directory, block: Block) -> Option<ExpertKey> {
        match block.label(self.salt).tag() {
            Tag::HOST => Some(HOST_KEY),
            Tag::ENGINE => None,
            tag => others.find(tag.slot())?.key,
        }
    }

    /// The size that a raw block was asked for with.
    pub fn asked_for(&self, block: Block) -> usize {
        block.size() - HEADER - block.label(self.salt).slack()
    }

    /// Makes a live block one of `kind`, with the size asked for.
    pub fn set_kind(&mut self, block: Block, kind: Kind, asked: usize) {
        let extent = Extent::live(block.size(), kind);
        let extent = extent.with_previous_free(block.extent().is_previous_free());
        let slack = if kind == Kind::Raw { block.size() - HEADER - asked } else { 0 };
        block.set_live(extent, block.label(self.salt).tag(), slack, self.salt);
    }

    /// Gives a live block, with its charge, to another owner.
    pub fn transfer(
        &mut self,
        block: Block,
        from: Who<'_, Owner>,
        to: Who<'_, Owner>,
    ) -> Result<(), Error> {
        let tag = tag(to).ok_or(Error::TooManyExperts)?;
        let size = block.size();
        if from.account.shift_locked(to.account, size).is_err() {
            to.account.count_refusal();
            return Err(Error::QuotaExceeded);
        }
        from.owner.lose(1, size);
        to.owner.gain(1, size);
        block.set_live(block.extent(), tag, block.label(self.salt).slack(), self.salt);
        Ok(())
    }

    /// Frees all blocks of one kind of `who`.
    pub fn reclaim_for(&mut self, who: Who<'_, Owner>, kind: Kind) -> Taken {
        if who.owner.is_empty() {
            return Taken::default();
        }
        let Some(tag) = tag(who) else { return Taken::default() };
        let taken = self.reclaim(tag, kind);
        who.account.refund_locked(taken.bytes);
        who.owner.lose(taken.blocks, taken.bytes);
        without_headers(taken)
    }

    /// Gives all ambient blocks of `from` to `to`.
    pub fn adopt(&mut self, from: Who<'_, Owner>, to: Who<'_, Owner>) -> Taken {
        if from.owner.is_empty() {
            return Taken::default();
        }
        let (Some(old), Some(new)) = (tag(from), tag(to)) else { return Taken::default() };
        let taken = self.retag(old, new, Kind::Ambient);
        from.owner.lose(taken.blocks, taken.bytes);
        to.owner.gain(taken.blocks, taken.bytes);
        if from.account.shift_locked(to.account, taken.bytes).is_err() {
            from.account.refund_locked(taken.bytes);
            to.account.overdraw_locked(taken.bytes);
        }
        without_headers(taken)
    }
}

/// Whether a block of `before` bytes stays as it is when `size` bytes are
/// asked for, because the rest would be a crumb.
#[inline(always)]
fn is_close(size: usize, before: usize) -> bool {
    before.wrapping_sub(size) < MIN_BLOCK
}

/// Whether a block of `before` bytes that shrinks to `size` may move: the move copies
/// fewer bytes than it frees.
#[inline(always)]
fn is_hole_worth_it(size: usize, before: usize) -> bool {
    size <= before / 2
}

fn without_headers(taken: Taken) -> Taken {
    Taken { bytes: taken.bytes.wrapping_sub(taken.blocks.wrapping_mul(HEADER)), ..taken }
}

/// The reason why there is no free block for a request that would charge `bytes`. If both
/// quota and memory are exhausted, the answer is the quota, which the expert can act on.
fn why_not(request: Request<'_>, bytes: usize) -> Error {
    if has_room(request, bytes) { Error::OutOfMemory } else { Error::QuotaExceeded }
}

/// Whether `bytes` more can be charged, or are granted without asking.
#[inline(never)]
fn has_room(request: Request<'_>, bytes: usize) -> bool {
    let granted = request.kind == Kind::Ambient && request.who.overdraft;
    granted || request.who.account.has_room(bytes)
}

/// The size of a block that had `before` bytes, needs `size`, and can have
/// `whole`: with the rest that would be a crumb, if the quota has room for it too.
fn affordable(request: Request<'_>, before: usize, size: usize, whole: usize) -> usize {
    let fitted = fitted(size, whole);
    if !CRUMBS || has_room(request, fitted.saturating_sub(before)) { fitted } else { size }
}

/// Charges `bytes`.
fn charge(request: Request<'_>, bytes: usize) -> Result<(), Error> {
    let Request { who, kind, .. } = request;
    if who.account.charge_locked(bytes).is_ok() {
        return Ok(());
    }
    if kind == Kind::Ambient && who.overdraft {
        who.account.overdraw_locked(bytes);
        return Ok(());
    }
    Err(Error::QuotaExceeded)
}

/// Charges, or refunds, the difference when a block goes from `before` bytes to `after`.
fn recharge(request: Request<'_>, before: usize, after: usize) -> Result<(), Error> {
    if after > before {
        charge(request, after - before)?;
    } else {
        request.who.account.refund_locked(before - after);
    }
    request.who.owner.resize(after.wrapping_sub(before));
    Ok(())
}
