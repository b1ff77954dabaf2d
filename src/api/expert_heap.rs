//! `ExpertHeap`: experts in memory that the program gives, without an operating system. It
//! consists of a lock, a fixed engine and a registry.

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ptr::NonNull;

use lock_api::RawMutex;

use crate::api::builder::ExpertBuilder;
use crate::api::host::Host;
use crate::engine::Engine;
use crate::error::Error;
use crate::expert::home::{Home, SlotOf, sealed::Sealed};
use crate::expert::name::StaticName;
use crate::expert::registry::Registry;
use crate::expert::report::{self, ExpertSnapshot};
use crate::expert::stats::Stats;
use crate::expert::stop;
use crate::expert::table::Report;
use crate::expert::visit::Visit;
use crate::fixed::{Directory, Entry, FixedEngine, Owner, Pin, SpinLock};
use crate::key::ExpertKey;

type Slots = Registry<Owner, StaticName>;

/// A heap in memory that the program gives it, behind the lock `R`.
///
/// It is the program's global allocator, or one of several heaps, or both;
/// experts are registered in it as in `ExpertAlloc`, and names are `'static`.
/// Allocating and freeing take a bounded number of steps, however many blocks
/// there are; ending an expert walks over the blocks of the heap once for each
/// kind of block that it has.
///
/// The default lock spins. Firmware whose interrupt handlers allocate takes the
/// `CriticalSectionLock` of the feature `critical-section`, or any other
/// `lock_api::RawMutex` that excludes interrupt handlers.
///
/// ```
/// use expert_alloc::ExpertHeap;
///
/// static HEAP: ExpertHeap = ExpertHeap::empty();
///
/// let memory = Box::leak(Box::new([0_u8; 16 << 10]));
/// // SAFETY: leaked memory is nobody else's.
/// unsafe { HEAP.add_region(memory.as_mut_ptr(), memory.len()) };
///
/// let sensor = HEAP.expert("sensor").quota(4 << 10).register()?;
/// let block = sensor.alloc(100)?;
/// assert_eq!(HEAP.owner_of(block.as_ptr()), Some(sensor.key()));
/// println!("{}", HEAP.report());
/// assert_eq!(sensor.finish().blocks, 1);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
pub struct ExpertHeap<R = SpinLock> {
    engine: FixedEngine<R, Slots>,
}

/// The sizes of a heap without memory, and of an expert's slot.
const _: () = {
    assert!(size_of::<ExpertHeap>() <= 1024);
    assert!(usize::BITS != 32 || size_of::<SlotOf<&ExpertHeap>>() <= 64);
};

#[cfg(feature = "critical-section")]
const _: () = assert!(size_of::<ExpertHeap<crate::fixed::CriticalSectionLock>>() <= 1024);

impl<R: RawMutex> ExpertHeap<R> {
    /// A heap without memory: every request is refused until a region is added.
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertHeap};
    ///
    /// static HEAP: ExpertHeap = ExpertHeap::empty();
    /// assert_eq!(HEAP.host().alloc(16), Err(Error::OutOfMemory));
    /// ```
    #[must_use]
    pub const fn empty() -> Self {
        Self { engine: FixedEngine::empty(Registry::new()) }
    }

    /// Gives the heap `len` bytes from `start`. Any number of regions may be added, at any
    /// time and anywhere in memory. Returns how many bytes blocks can use, headers
    /// included: up to 86 less (30 on 32-bit targets), and 0 where `len` is too small for a
    /// block. On 64-bit targets a heap serves 4 GiB of addresses whose high halves are the
    /// same; the first region in any other such range gives up 800 bytes more, for an index
    /// of its own. A region may begin at address 0 and end at the last address. The byte at
    /// each of these is left out, which costs up to 32 bytes more (8 on 32-bit targets).
    ///
    /// If the memory held a heap before this program started (after a reset that
    /// keeps the RAM), fill it with 0 first: when a raw call gets an old pointer,
    /// old headers may pass for new ones.
    ///
    /// ```
    /// use expert_alloc::ExpertHeap;
    ///
    /// static HEAP: ExpertHeap = ExpertHeap::empty();
    /// static mut FAST: [u64; 1024] = [0; 1024];
    /// static mut SLOW: [u64; 4096] = [0; 4096];
    ///
    /// // SAFETY: nothing else uses this memory.
    /// let fast = unsafe { HEAP.add_region((&raw mut FAST).cast(), 8 << 10) };
    /// // SAFETY: nothing else uses this memory.
    /// let slow = unsafe { HEAP.add_region((&raw mut SLOW).cast(), 32 << 10) };
    /// assert!(fast > 7000 && slow > 31 << 10);
    /// HEAP.host().alloc(20 << 10)?;                           // in the larger one
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    ///
    /// # Safety
    ///
    /// - S1 the region is memory that may be read and written, and is used by
    ///   nothing else from now on and for as long as the heap is in use.
    pub unsafe fn add_region(&self, start: *mut u8, len: usize) -> usize {
        // SAFETY: S1.
        unsafe { self.engine.add_region(start, len) }
    }
}

impl<R: RawMutex + Send + Sync> ExpertHeap<R> {
    /// Returns a builder for an expert. Its name is for reports, and need not be unique:
    /// the key identifies.
    ///
    /// ```
    /// use expert_alloc::ExpertHeap;
    ///
    /// static HEAP: ExpertHeap = ExpertHeap::empty();
    /// # let memory = Box::leak(Box::new([0_u8; 16 << 10]));
    /// # // SAFETY: leaked memory is nobody else's.
    /// # unsafe { HEAP.add_region(memory.as_mut_ptr(), memory.len()) };
    /// let radio = HEAP.expert("radio").quota(4 << 10).register()?;
    /// assert_eq!((radio.name(), radio.stats().quota), ("radio", 4096));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn expert<'b, 'h: 'b>(&'h self, name: &'static str) -> ExpertBuilder<'b, &'h Self> {
        ExpertBuilder::new(self, name)
    }

    /// The host, with its raw calls and its figures.
    ///
    /// ```
    /// use expert_alloc::ExpertHeap;
    ///
    /// static HEAP: ExpertHeap = ExpertHeap::empty();
    /// # let memory = Box::leak(Box::new([0_u8; 16 << 10]));
    /// # // SAFETY: leaked memory is nobody else's.
    /// # unsafe { HEAP.add_region(memory.as_mut_ptr(), memory.len()) };
    /// let radio = HEAP.expert("radio").register()?;
    /// let settings = radio.transfer(radio.alloc(64)?.as_ptr(), &HEAP.host())?;
    /// let _ = radio.finish();
    /// assert_eq!(HEAP.host().size(settings.as_ptr()), 64, "it outlives the expert");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub const fn host(&self) -> Host<&Self> {
        Host::new(self)
    }

    /// The owner of the live block that `address` points to or into: an expert's key or
    /// the host's. `None` for everything that is not a block of this heap. Any
    /// address may be given, and nothing is read there.
    ///
    /// Walks over the blocks of the region up to the address, with the heap
    /// locked.
    ///
    /// ```
    /// use expert_alloc::ExpertHeap;
    ///
    /// static HEAP: ExpertHeap = ExpertHeap::empty();
    /// # let memory = Box::leak(Box::new([0_u8; 16 << 10]));
    /// # // SAFETY: leaked memory is nobody else's.
    /// # unsafe { HEAP.add_region(memory.as_mut_ptr(), memory.len()) };
    /// let radio = HEAP.expert("radio").register()?;
    /// let frame = radio.alloc(100)?.as_ptr();
    /// assert_eq!(HEAP.owner_of(frame.wrapping_add(99)), Some(radio.key()));
    /// assert_eq!(HEAP.owner_of(0x5EED as *const u8), None);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn owner_of<T: ?Sized>(&self, address: *const T) -> Option<ExpertKey> {
        (&self.engine).owner_of(address.cast())
    }

    /// The sum of the figures of the host and all experts. Charges and peaks are summed
    /// over experts without a parent, whose figures include their children's; the sum of
    /// peaks is at least the peak of the sum.
    ///
    /// ```
    /// use expert_alloc::ExpertHeap;
    ///
    /// static HEAP: ExpertHeap = ExpertHeap::empty();
    /// # let memory = Box::leak(Box::new([0_u8; 16 << 10]));
    /// # // SAFETY: leaked memory is nobody else's.
    /// # unsafe { HEAP.add_region(memory.as_mut_ptr(), memory.len()) };
    /// let radio = HEAP.expert("radio").register()?;
    /// radio.alloc(100)?;
    /// HEAP.host().alloc(100)?;
    /// assert_eq!(HEAP.stats().live_blocks, 2);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        report::total(self)
    }

    /// A table with a row for each expert, made when it is printed. Printing
    /// allocates nothing.
    ///
    /// ```
    /// use expert_alloc::ExpertHeap;
    ///
    /// static HEAP: ExpertHeap = ExpertHeap::empty();
    /// # let memory = Box::leak(Box::new([0_u8; 16 << 10]));
    /// # // SAFETY: leaked memory is nobody else's.
    /// # unsafe { HEAP.add_region(memory.as_mut_ptr(), memory.len()) };
    /// let radio = HEAP.expert("radio").register()?;
    /// let table = HEAP.report().to_string();                  // hprintln! on a board
    /// assert_eq!(table.lines().count(), 4, "a heading, the host, the radio, the sum");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn report(&self) -> Report<&Self> {
        Report(self)
    }

    /// Calls a closure with the figures of the host and of each expert.
    ///
    /// ```
    /// use expert_alloc::ExpertHeap;
    ///
    /// static HEAP: ExpertHeap = ExpertHeap::empty();
    /// # let memory = Box::leak(Box::new([0_u8; 16 << 10]));
    /// # // SAFETY: leaked memory is nobody else's.
    /// # unsafe { HEAP.add_region(memory.as_mut_ptr(), memory.len()) };
    /// let radio = HEAP.expert("radio").register()?;
    /// radio.alloc(100)?;
    /// let most = HEAP.experts().max_by_key(|row| row.stats.live_bytes);
    /// assert_eq!(most.unwrap().name, "radio");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn experts(&self) -> impl Iterator<Item = ExpertSnapshot<&'static str>> {
        report::rows(self)
    }

    /// The figures of one expert, or of the host; `None` for a key of no
    /// live expert.
    ///
    /// ```
    /// use expert_alloc::ExpertHeap;
    ///
    /// static HEAP: ExpertHeap = ExpertHeap::empty();
    /// # let memory = Box::leak(Box::new([0_u8; 16 << 10]));
    /// # // SAFETY: leaked memory is nobody else's.
    /// # unsafe { HEAP.add_region(memory.as_mut_ptr(), memory.len()) };
    /// let radio = HEAP.expert("radio").register()?;
    /// let key = radio.key();
    /// assert_eq!(HEAP.get(key).unwrap().name, "radio");
    /// let _ = radio.finish();
    /// assert!(HEAP.get(key).is_none());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn get(&self, key: ExpertKey) -> Option<ExpertSnapshot<&'static str>> {
        report::row(self, key).ok()
    }

    /// Tells the expert of `key` to stop, as
    /// [`Expert::terminate`](crate::Expert::terminate) does, from wherever
    /// only its key is known.
    ///
    /// ```
    /// use expert_alloc::ExpertHeap;
    ///
    /// static HEAP: ExpertHeap = ExpertHeap::empty();
    /// # let memory = Box::leak(Box::new([0_u8; 16 << 10]));
    /// # // SAFETY: leaked memory is nobody else's.
    /// # unsafe { HEAP.add_region(memory.as_mut_ptr(), memory.len()) };
    /// use expert_alloc::Error;
    ///
    /// let radio = HEAP.expert("radio").register()?;
    /// HEAP.terminate(radio.key())?;
    /// assert_eq!(radio.alloc(1), Err(Error::Terminated));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`] for a key of no live expert,
    /// [`Error::AccessDenied`] for the host's.
    pub fn terminate(&self, key: ExpertKey) -> Result<(), Error> {
        stop::terminate_visited(self, Visit::new(self, key)?)
    }

    /// Walks the whole heap and tests its invariants.
    ///
    /// # Errors
    ///
    /// The first invariant found broken.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn check(&self) -> Result<crate::fixed::Checked, &'static str> {
        self.engine.check()
    }
}

// SAFETY: the engine gives blocks as the layouts ask, never twice, and does not unwind.
unsafe impl<R: RawMutex + Send + Sync> GlobalAlloc for ExpertHeap<R> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.engine.allocate_for_host(layout.size(), layout.align())
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        let Some(block) = NonNull::new(block) else { return };
        self.engine.free(block);
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(block) = NonNull::new(block) else { return block };
        self.engine.resize_for_host(block, layout.size(), layout.align(), new_size)
    }
}

// SAFETY: S1: slots never move, their accounts and owners are parts of them,
// and a slot is not taken anew before its blocks are reclaimed.
unsafe impl Directory for Slots {
    #[inline]
    fn find(&self, slot: usize) -> Option<Entry<'_>> {
        let found = self.lookup(slot)?;
        let word = found.word();
        let key = if word.is_taken() { ExpertKey::new(slot, word.generation()) } else { None };
        Some(Entry { key, account: found.account(), owner: found.owner() })
    }

    #[cfg(feature = "testing")]
    fn for_each(&self, f: &mut dyn FnMut(&Owner)) {
        let taken = self.numbers().filter_map(|slot| self.reachable(slot));
        taken.for_each(|slot| f(slot.owner()));
    }
}

impl<R> Sealed for &ExpertHeap<R> {}

// SAFETY: S1: the registry is the engine's directory, and a part of the heap.
// S2: there is one of each in a heap. S3: as `FixedEngine::pin` says.
unsafe impl<'h, R: RawMutex + Send + Sync> Home for &'h ExpertHeap<R> {
    type Engine = &'h FixedEngine<R, Slots>;
    type Text = &'static str;
    type Name = StaticName;
    type Pin = Pin<'h>;

    #[inline]
    fn engine(self) -> Self::Engine {
        &self.engine
    }

    #[inline]
    fn registry<'a>(self) -> &'a Slots
    where
        Self: 'a,
    {
        self.engine.directory()
    }

    fn pin(self, _: ExpertKey) -> Pin<'h> {
        self.engine.pin()
    }

    fn is_same(self, other: Self) -> bool {
        core::ptr::eq(self, other)
    }
}

impl<R: RawMutex + Send + Sync> fmt::Debug for ExpertHeap<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpertHeap").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
