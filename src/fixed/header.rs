//! A block's header: eight bytes on every target, as two words and pure
//! functions over them. Nothing here touches memory.
//!
//! ```text
//!  bit 31                              3  2 1  0
//! +--------------------------------------+----+---+
//! | extent: size of the block, in bytes  | st | p |   st  0 free, else Kind + 1
//! +-----------------------+---------+----+----+---+   p   the block before is free
//! | label: owner's tag    | slack   | check       |
//! +-----------------------+---------+-------------+
//!  bit 31               16 15     11 10          0
//! ```
//!
//! - HEAD1 a size is a multiple of [`GRANULE`] and counts the header. A live block
//!   has at least [`MIN_BLOCK`] bytes, a free one at least a granule; only the
//!   end mark of a region has size 0.
//! - HEAD2 the size asked for of a live block is `size - HEADER - slack`.
//! - HEAD3 the `check` of a live block is the hash of its address, of its heap's [`Salt`],
//!   and of all other bits except `p`, which the neighbour changes.
//! - HEAD4 the tag of a raw block is stored veiled, by another hash of the input of
//!   `check`. A header of a raw block that is forged in the content of a block must match
//!   both, which are 27 bits.

use crate::engine::Kind;

/// Bytes before each payload, on every target.
pub const HEADER: usize = 8;

/// Sizes and payload addresses are multiples of this, in bytes. On 64-bit targets it is
/// four words, as in other heaps of this kind. The fewer sizes there are, the more often a
/// free block fits a request exactly, so nothing must be cut off or joined later. (With 16
/// bytes random actions took 4 to 9 % longer, and a heap of blocks to 1,000 bytes was
/// filled just as much.) On 32-bit targets memory is scarcer.
pub const GRANULE: usize = if usize::BITS > 32 { 32 } else { 8 };

/// The smallest block that can be live, or free and in a list, in bytes: it has room
/// for an extent, two links and a footer, of 32 bits each.
pub const MIN_BLOCK: usize = if GRANULE > 16 { GRANULE } else { 16 };

/// Whether a free block can be smaller than that. Such a block is a *crumb*: it is in no
/// list and waits for a neighbour to be freed.
pub const CRUMBS: bool = GRANULE < MIN_BLOCK;

/// The largest block, in bytes, on every target: the most that `isize::MAX` allows on
/// 32-bit ones.
pub const MAX_BLOCK: usize = i32::MAX as usize & !(GRANULE - 1);

/// The most bytes of a raw block that were not asked for. They come from rounding up, from
/// the smallest block if there are crumbs, and from a crumb that the block keeps.
pub const MAX_SLACK: usize =
    GRANULE - 1 + if CRUMBS { (MIN_BLOCK - HEADER) + (MIN_BLOCK - GRANULE) } else { 0 };

const _: () = {
    assert!(usize::BITS >= 32, "extents are 32 bits wide");
    assert!(size_of::<Extent>() + size_of::<Label>() == HEADER);
    assert!(GRANULE >= 2 * size_of::<u32>(), "a crumb has an extent and a footer");
    assert!(GRANULE > FLAGS as usize && MIN_BLOCK % GRANULE == 0);
    assert!(MAX_SLACK < 1 << SLACK_BITS && MAX_SLACK >= MIN_BLOCK - HEADER);
    assert!(TAG_BITS + SLACK_BITS + CHECK_BITS == 32);
};

/// The size of the block that a payload of `size` bytes takes; `None` if no block is that
/// large.
#[inline]
pub const fn block_size(size: usize) -> Option<usize> {
    if size > MAX_BLOCK - HEADER {
        return None;
    }
    // The size is computed in 32 bits, which hold every block size, for shorter code on
    // 64-bit targets. A size of 0 takes as much as a size of 1, if those need different
    // blocks.
    let most = (HEADER + GRANULE - 1) as u32 + (HEADER == GRANULE && size == 0) as u32;
    Some(((size as u32 + most) & !(GRANULE as u32 - 1)) as usize)
}

const PREVIOUS_FREE: u32 = 1;
const STATE: u32 = 0b110;
const STATE_SHIFT: u32 = 1;
const FLAGS: u32 = PREVIOUS_FREE | STATE;

/// The first word: the size of a block, whether it is free, and whether the block before it
/// is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Extent(u32);

impl Extent {
    /// The extent of a free block after a live one.
    #[inline]
    pub const fn free(size: usize) -> Self {
        Self(size as u32)
    }

    /// The extent of a live block after a live one.
    #[inline]
    pub const fn live(size: usize, kind: Kind) -> Self {
        Self(size as u32 & !FLAGS | (kind as u32 + 1) << STATE_SHIFT)
    }

    /// The same with the mark "the block before is free" as given.
    #[inline]
    pub const fn with_previous_free(self, free: bool) -> Self {
        Self(self.0 & !PREVIOUS_FREE | free as u32)
    }

    /// Bytes from this header to the next.
    #[inline]
    pub const fn size(self) -> usize {
        (self.0 & !FLAGS) as usize
    }

    /// Whether the block is free.
    #[inline]
    pub const fn is_free(self) -> bool {
        self.0 & STATE == 0
    }

    /// Whether the block before this one is free, and so has a footer.
    #[inline]
    pub const fn is_previous_free(self) -> bool {
        self.0 & PREVIOUS_FREE != 0
    }

    /// Whether this is a live raw block.
    #[inline]
    pub const fn is_raw(self) -> bool {
        self.0 & STATE == (Kind::Raw as u32 + 1) << STATE_SHIFT
    }

    /// The heap that a live block is in.
    #[inline]
    pub const fn kind(self) -> Option<Kind> {
        match (self.0 & STATE) >> STATE_SHIFT {
            1 => Some(Kind::Ambient),
            2 => Some(Kind::Bound),
            3 => Some(Kind::Raw),
            _ => None,
        }
    }

    /// Whether a block can have this extent (HEAD1).
    pub const fn is_possible(self) -> bool {
        let least = if self.is_free() { GRANULE } else { MIN_BLOCK };
        self.size() >= least && self.size() % GRANULE == 0
    }
}

/// The owner of a block, as its header names it: the slot of the owner's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Tag(u16);

impl Tag {
    /// The host, whose key has slot 0.
    pub const HOST: Self = Self(0);

    /// The engine itself: its tables.
    pub const ENGINE: Self = Self(u16::MAX);

    /// The tag of the key in `slot`; `None` if there are no more tags.
    #[inline]
    pub const fn of_slot(slot: usize) -> Option<Self> {
        if slot < TAGS { Some(Self(slot as u16)) } else { None }
    }

    /// The slot, as an index.
    #[inline]
    pub const fn slot(self) -> usize {
        self.0 as usize
    }
}

/// The number of tags that owners can have.
pub const TAGS: usize = Tag::ENGINE.slot();

const TAG_BITS: u32 = 16;
const SLACK_BITS: u32 = 5;
const CHECK_BITS: u32 = 11;
const TAG_SHIFT: u32 = SLACK_BITS + CHECK_BITS;
const CHECK: u32 = (1 << CHECK_BITS) - 1;
const SLACK: u32 = ((1 << SLACK_BITS) - 1) << CHECK_BITS;

/// The second word of a live block: its owner, and a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Label(u32);

impl Label {
    /// The label of the live block at `address` with `extent`, of which
    /// `slack` bytes were not asked for.
    #[inline]
    pub const fn new(tag: Tag, slack: usize, address: usize, extent: Extent, salt: Salt) -> Self {
        debug_assert!(slack <= MAX_SLACK);
        let unchecked = (tag.0 as u32) << TAG_SHIFT | ((slack as u32) << CHECK_BITS) & SLACK;
        let checked = unchecked | check(unchecked, address, extent, salt);
        Self(checked).veiled(address, extent, salt)
    }

    /// Removes the veil of a label that was stored, or adds it (HEAD4).
    #[inline]
    pub const fn veiled(self, address: usize, extent: Extent, salt: Salt) -> Self {
        if !extent.is_raw() {
            return self;
        }
        let word = (address as u32 ^ extent.with_previous_free(false).0).rotate_left(16) ^ salt.0;
        Self(self.0 ^ word.wrapping_mul(GOLDEN) & (u32::MAX << TAG_SHIFT))
    }

    /// Whether this unveiled label is one that [`new`](Self::new) made for that address,
    /// extent and heap (HEAD3). One in 2,048 words that are no label passes.
    #[inline]
    pub const fn matches(self, address: usize, extent: Extent, salt: Salt) -> bool {
        self.0 & CHECK == check(self.0 & !CHECK, address, extent, salt)
    }

    /// The owner's tag.
    #[inline]
    pub const fn tag(self) -> Tag {
        Tag((self.0 >> TAG_SHIFT) as u16)
    }

    /// Bytes of the payload that were not asked for.
    #[inline]
    pub const fn slack(self) -> usize {
        ((self.0 & SLACK) >> CHECK_BITS) as usize
    }
}

/// Hashes the content of a live header with its address, so that a copy of the
/// header elsewhere does not pass for one. Multiplicative hashing (Knuth, The
/// Art of Computer Programming 3, 6.4): the high bits of the product depend on
/// all bits of the words. It finds mistakes, not attacks.
#[inline]
const fn check(label: u32, address: usize, extent: Extent, salt: Salt) -> u32 {
    let extent = extent.with_previous_free(false).0;
    (label ^ extent ^ address as u32 ^ salt.0).wrapping_mul(GOLDEN) >> (32 - CHECK_BITS)
}

/// 2^32 divided by the golden ratio.
const GOLDEN: u32 = 0x9E37_79B1;

/// A number that goes into the checks of one heap's headers only. It tells heaps apart,
/// because a heap may have its region in a block of another heap, or at the place of an old
/// heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(u32);

impl Salt {
    /// The salt of a heap without memory.
    pub const NONE: Self = Self(0);

    /// The salt of the `count`-th heap of the program, whose memory begins at `address`.
    pub const fn new(address: usize, count: usize) -> Self {
        let word = (address as u32 ^ (count as u32).rotate_left(16)).wrapping_mul(GOLDEN);
        Self(word ^ word >> 15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_says_what_it_was_given() {
        for size in [MIN_BLOCK, 4096, MAX_BLOCK] {
            assert!(Extent::free(size).is_free());
            assert_eq!(Extent::free(size).kind(), None);
            for kind in Kind::ALL {
                let extent = Extent::live(size, kind).with_previous_free(true);
                assert_eq!((extent.size(), extent.kind()), (size, Some(kind)));
                assert!(extent.is_previous_free() && !extent.is_free() && extent.is_possible());
                assert!(!extent.with_previous_free(false).is_previous_free());
            }
        }
    }

    #[test]
    fn a_label_matches_its_own_block_only() {
        let extent = Extent::live(64, Kind::Raw);
        let salt = Salt::new(0x1000, 1);
        let label = Label::new(Tag::of_slot(77).unwrap(), 5, 0x1000, extent, salt);
        let label = label.veiled(0x1000, extent.with_previous_free(true), salt);
        assert_eq!((label.tag().slot(), label.slack()), (77, 5));
        assert!(label.matches(0x1000, extent.with_previous_free(true), salt));
        let elsewhere = (1..1000).filter(|n| label.matches(0x1000 + n * 8, extent, salt)).count();
        let other_size = (1..1000)
            .filter(|n| label.matches(0x1000, Extent::live(64 + n * GRANULE, Kind::Raw), salt))
            .count();
        assert_ne!(Salt::new(0x1000, 1), Salt::new(0x2000, 1));
        let heaps = (0..20).flat_map(|n| (1..51).map(move |count| Salt::new(n << 12, count)));
        let other_heap =
            heaps.filter(|&other| other != salt && label.matches(0x1000, extent, other));
        let counts = [elsewhere, other_size, other_heap.count()];
        assert!(counts.iter().all(|&count| count < 10), "{counts:?} of 999");
    }

    /// A plug-in writes data that looks like a header of its own, somewhere in a
    /// block: it must guess the check and the veil.
    #[test]
    fn a_header_in_a_payload_does_not_pass() {
        let salt = Salt::new(0x2000_0000, 3);
        let (mut checked, mut passed) = (0, 0);
        for n in 0..1 << 20 {
            let address = 0x2000_0000 + (n % 4096) * 16;
            let extent = Extent::live(((n >> 12) + 1) * MIN_BLOCK, Kind::Raw);
            let word = Label((1 << TAG_SHIFT) | (n as u32).wrapping_mul(0x85EB_CA6B) >> 16);
            let label = word.veiled(address, extent, salt);
            let is_checked = label.matches(address, extent, salt);
            checked += usize::from(is_checked);
            passed += usize::from(is_checked && label.tag() == Tag(1));
        }
        assert!((256..1024).contains(&checked), "{checked} of a million have the check");
        assert_eq!(passed, 0, "of a million");
        let tags = (0..1 << 16).map(|n| {
            let extent = Extent::live(64, Kind::Raw);
            Label(0).veiled(0x2000_0000 + n * 16, extent, salt).tag().slot()
        });
        let mut seen = vec![false; 1 << 16];
        tags.for_each(|tag| seen[tag] = true);
        let distinct = seen.iter().filter(|&&seen| seen).count();
        assert!(distinct > 1 << 15, "{distinct} veils for as many addresses");
    }

    #[test]
    fn zeros_are_no_live_block() {
        assert!(!Extent(0).is_possible() && Extent(0).is_free());
    }

    #[test]
    fn sizes_are_rounded_up_to_blocks() {
        assert_eq!(block_size(0), Some(MIN_BLOCK));
        assert_eq!(block_size(MIN_BLOCK - HEADER), Some(MIN_BLOCK));
        assert_eq!(block_size(MIN_BLOCK - HEADER + 1), Some(MIN_BLOCK + GRANULE));
        assert_eq!(block_size(MAX_BLOCK - HEADER), Some(MAX_BLOCK));
        assert_eq!(block_size(MAX_BLOCK - HEADER + 1), None);
        assert_eq!(block_size(usize::MAX), None);
    }

    #[test]
    fn the_last_slot_has_no_tag() {
        assert!(Tag::of_slot(65_534).is_some_and(|tag| tag != Tag::ENGINE));
        assert_eq!(Tag::of_slot(65_535), None);
    }
}
