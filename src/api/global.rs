//! The process-wide heap: the global allocator, and the way to its experts.

use std::vec::Vec;

use crate::api::builder::ExpertBuilder;
use crate::api::host::Host;
use crate::engine::{Engine, HOST_KEY};
use crate::error::Error;
use crate::expert::home::{Home, SlotOf};
use crate::expert::owned_name::NameCopy;
use crate::expert::report::{self, ExpertSnapshot};
use crate::expert::stats::Stats;
use crate::expert::stop;
use crate::expert::table::Report;
use crate::expert::visit::Visit;
use crate::heap::{self, HeapStats, HostEngine};
use crate::key::ExpertKey;

/// The size of an expert that has allocated nothing.
const _: () = assert!(size_of::<SlotOf<ExpertAlloc>>() <= 256);

/// The process-wide heap. It has no state of its own: every `ExpertAlloc` is
/// the same heap, whether or not it is the global allocator.
///
/// A thread that has allocated calls the heap once more at its end. So a shared object that
/// contains this crate must stay loaded, even when it is closed. The shared object of the
/// feature `capi` does that; link others with `-Wl,-z,nodelete` (ELF).
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// #[global_allocator]
/// static ALLOC: ExpertAlloc = ExpertAlloc::new();
///
/// let expert = ALLOC.expert("top-users").quota(64 << 20).register()?;
/// let raw = expert.alloc(4096)?;
/// assert_eq!(ALLOC.owner_of(raw.as_ptr()), Some(expert.key()));
/// let reclaimed = expert.finish();
/// assert_eq!(reclaimed.blocks, 1);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ExpertAlloc;

impl ExpertAlloc {
    /// The process-wide heap.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// // Another name for the same heap.
    /// let text = String::from("the host's");
    /// assert!(ExpertAlloc::new().owner_of(text.as_ptr()).is_some());
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    /// Returns a builder for an expert. Its name is for reports, is kept up to 63 bytes,
    /// and need not be unique: the key identifies.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("top-users").register()?;
    /// let namesake = heap.expert("top-users").register()?;
    /// assert_ne!(expert.key(), namesake.key());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn expert(self, name: &str) -> ExpertBuilder<'_> {
        self.watch_panics_once();
        ExpertBuilder::new(self, name)
    }

    /// The host, with its raw calls and its figures.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("configured").register()?;
    /// let settings = expert.transfer(expert.alloc(64)?.as_ptr(), &heap.host())?;
    /// let _ = expert.finish();
    /// assert_eq!(heap.host().size(settings.as_ptr()), 64, "it outlives the expert");
    /// heap.host().free(settings.as_ptr())?;
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub const fn host(self) -> Host<Self> {
        Host::new(self)
    }

    /// The owner of the block that `address` points to or into: an expert's key or the
    /// host's. `None` for everything that is not a block of this heap. Any address may
    /// be given, and nothing is read there. For a freed block the answer is `None` if it was
    /// raw, large, or of a small expert. A freed block of the host, or of an expert that has
    /// memory to itself, still has its owner until that memory goes to another owner.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("one").register()?;
    /// let block = expert.alloc(100)?.as_ptr();
    /// assert_eq!(heap.owner_of(block.wrapping_add(99)), Some(expert.key()));
    /// assert_eq!(heap.owner_of(&raw const heap), None, "on the stack");
    /// assert_eq!(heap.owner_of(0x5EED as *const u8), None, "nowhere");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn owner_of<T: ?Sized>(self, address: *const T) -> Option<ExpertKey> {
        HostEngine.owner_of(address.cast())
    }

    /// The sum of the figures of the host and all experts. Charges and peaks are summed
    /// over experts without a parent, whose figures include their children's; the sum of
    /// peaks is at least the peak of the sum.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let before = heap.stats().live_blocks;
    /// let expert = heap.expert("one").register()?;
    /// expert.alloc(100)?;
    /// assert_eq!(heap.stats().live_blocks, before + 1);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn stats(self) -> Stats {
        report::total(self)
    }

    /// A table with a row for each expert, made when it is printed. Printing
    /// allocates nothing.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("top-users").register()?;
    /// assert!(heap.report().to_string().contains("top-users"));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn report(self) -> Report<Self> {
        Report(self)
    }

    /// The figures of the host and of every expert, as values.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("top-users").register()?;
    /// let snapshot = heap.snapshot();
    /// assert_eq!(snapshot.get(expert.key()).unwrap().name.as_str(), "top-users");
    /// assert_eq!(snapshot.host().unwrap().name.as_str(), "host");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn snapshot(self) -> Snapshot {
        // Memory that is kept for the reader must not be charged to an expert.
        Home::as_host(self, || Snapshot { experts: report::rows(self).collect() })
    }

    /// The figures of one expert, or of the host; `None` for a key of no
    /// live expert.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("top-users").register()?;
    /// expert.alloc(100)?;
    /// assert_eq!(heap.get(expert.key()).unwrap().stats.live_blocks, 1);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn get(self, key: ExpertKey) -> Option<ExpertSnapshot<NameCopy>> {
        report::row(self, key).ok()
    }

    /// Tells the expert of `key` to stop, as
    /// [`Expert::terminate`](crate::Expert::terminate) does, from wherever
    /// only its key is known.
    ///
    /// ```
    /// use expert_alloc::{Error, ExpertAlloc, State};
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("slow").register()?;
    /// heap.terminate(expert.key())?;
    /// assert_eq!(expert.state(), State::Terminated);
    /// assert_eq!(heap.terminate(heap.host().key()), Err(Error::AccessDenied));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`] for a key of no live expert,
    /// [`Error::AccessDenied`] for the host's.
    pub fn terminate(self, key: ExpertKey) -> Result<(), Error> {
        stop::terminate_visited(self, Visit::new(self, key)?)
    }

    /// Sets the quota of the expert of `key`, as
    /// [`Expert::set_quota`](crate::Expert::set_quota) does. An overdrawn expert is
    /// [forgiven](crate::Expert::forgive) if the new quota covers its charge.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("elastic").quota(64 << 10).register()?;
    /// heap.set_quota(expert.key(), 1 << 20)?;
    /// assert_eq!(expert.stats().quota, 1 << 20);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`] for a key that no expert has, [`Error::AccessDenied`]
    /// for the host's.
    pub fn set_quota(self, key: ExpertKey, bytes: usize) -> Result<(), Error> {
        let visit = Visit::new(self, key)?;
        let account = visit.slot().ok_or(Error::AccessDenied)?.account();
        account.set_quota(bytes);
        account.forgive();
        Ok(())
    }

    /// The memory that the heap has mapped, for all owners together.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("large").register()?;
    /// expert.alloc(1 << 20)?;
    /// assert!(heap.memory().mapped_bytes >= 1 << 20);
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn memory(self) -> HeapStats {
        heap::stats()
    }

    /// How many bytes of memory this process may have: the smallest of the limits of its
    /// control groups (Linux, versions 1 and 2, from its own up to the root), of its
    /// resource limits (`ulimit -v` and `-d`), and the machine's memory; `usize::MAX`
    /// where none of them is known. A container's limit is that of a control group.
    ///
    /// Files are read each time, and nothing is allocated. The limits may change later;
    /// a program that divides them into quotas should ask when it begins.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// println!("{} MiB", heap.system_limit() >> 20);
    /// let half = heap.expert("half of it").quota(heap.system_limit() / 2).register()?;
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn system_limit(self) -> usize {
        heap::system_limit()
    }

    /// Gives free physical memory back to the system at once: empty spans in this thread's
    /// caches (each thread keeps 1 to 2 MiB, and all together 4 MiB more), every free slice,
    /// and the mappings of freed blocks of more than 16 MiB (2 MiB on 32-bit targets). Without
    /// any call, free slices with pages, and such mappings, are bounded by 12 MiB each and a
    /// quarter of the memory in use.
    ///
    /// Without `purge`, memory that was unused for half a second to a second goes back in
    /// the course of later calls. The time of `purge` grows with the number of chunks and
    /// of the thread's caches.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("large").register()?;
    /// expert.alloc(1 << 20)?;
    /// let _ = expert.finish();
    /// heap.purge();
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn purge(self) {
        heap::purge();
    }
}

/// The figures of the host and of all experts at about the same time.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let heap = ExpertAlloc::new();
/// let expert = heap.expert("hungry").register()?;
/// expert.alloc(10 << 20)?;
/// let snapshot = heap.snapshot();
/// let largest = snapshot.experts.iter().max_by_key(|row| row.stats.charged_bytes);
/// assert_eq!(largest.unwrap().key, expert.key());
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// The host first, then the experts in the order of their slots.
    pub experts: Vec<ExpertSnapshot<NameCopy>>,
}

#[cfg(feature = "serde")]
impl serde::Serialize for Snapshot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Snapshot", 1)?;
        fields.serialize_field("experts", &self.experts[..])?;
        fields.end()
    }
}

impl Snapshot {
    /// The host's row.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let snapshot = heap.snapshot();
    /// let host = snapshot.host().unwrap();
    /// assert_eq!((host.key, host.parent), (heap.host().key(), None));
    /// ```
    #[must_use]
    pub fn host(&self) -> Option<&ExpertSnapshot<NameCopy>> {
        self.get(HOST_KEY)
    }

    /// The row of `key`; `None` if no live expert had it.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let early = heap.expert("early").register()?;
    /// let snapshot = heap.snapshot();
    /// let late = heap.expert("late").register()?;
    /// assert_eq!(snapshot.get(early.key()).unwrap().name.as_str(), "early");
    /// assert!(snapshot.get(late.key()).is_none());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    #[must_use]
    pub fn get(&self, key: ExpertKey) -> Option<&ExpertSnapshot<NameCopy>> {
        self.experts.iter().find(|expert| expert.key == key)
    }
}
