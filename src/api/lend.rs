//! Lending: a plug-in whose own global allocator is this heap, under one key.
//!
//! The plug-in's statics, its threads and its thread-local data live as long as its library
//! is loaded, so the key does too: it is not the key of a run. Only an expert that was lent
//! can be reached in this way. The code that lends promises to end the expert after the
//! library, so nothing has to be held in place.
//!
//! As long as the quota grants them, blocks are bound to the expert, like those of a
//! handle. Most Rust code aborts the process when it gets null, so beyond the quota the
//! block is ambient, and overdraws the account.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use crate::account::Account;
use crate::api::{Expert, ExpertAlloc};
use crate::engine::{Engine, Kind, Pass};
use crate::error::Error;
use crate::expert::home::{Home, SlotOf};
use crate::expert::slot::{LENT, OVERDRAFT, Word};
use crate::expert::visit::{Visit, who};
use crate::key::ExpertKey;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicPtr, AtomicUsize};

const HEAP: ExpertAlloc = ExpertAlloc::new();

impl Expert<ExpertAlloc> {
    /// Lets a plug-in that is given the key allocate for this expert: its global
    /// allocator is then this heap. See `docs/plugins.md`.
    ///
    /// ```no_run
    /// use expert_alloc::ExpertAlloc;
    /// use expert_alloc::capi::{self, EXPERTHOST, HEXPERTKEY};
    ///
    /// # fn attach_of(_: &str) -> unsafe extern "system" fn(*const EXPERTHOST, HEXPERTKEY) -> u32 { todo() }
    /// # fn todo() -> ! { std::process::exit(1) }
    /// let loaded = ExpertAlloc::new().expert("libcounter.so").quota(64 << 20).register()?;
    /// let attach = attach_of("libcounter.so");       // its `ExpertPluginAttach`
    /// // SAFETY: `loaded` ends below, after the library.
    /// let key = unsafe { loaded.lend() };
    /// // SAFETY: what it is there for.
    /// assert_eq!(unsafe { attach(capi::ExpertHostTable(), capi::handle(key)) }, 0);
    /// // Its entry points are called, then it is unloaded.
    /// // SAFETY: nothing of it is left that could use its memory.
    /// let reclaimed = unsafe { loaded.reclaim_all() };
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    ///
    /// # Safety
    ///
    /// - S1 when this expert ends, no code of the plug-in runs any more, and nothing refers
    ///   to what it allocated: its library is really unloaded.
    pub unsafe fn lend(&self) -> ExpertKey {
        // It has not ended, so there is no error.
        let lent = to_plugin(self.key());
        debug_assert_eq!(lent, Ok(()));
        self.key()
    }
}

/// Lets a plug-in allocate for the expert of `key`.
///
/// # Errors
///
/// [`Error::InvalidKey`], [`Error::AccessDenied`] for the host's.
pub(crate) fn to_plugin(key: ExpertKey) -> Result<(), Error> {
    let visit = Visit::new(HEAP, key)?;
    let slot = visit.slot().ok_or(Error::AccessDenied)?;
    slot.lend(key);
    PLACES[key.into_raw() % PLACES.len()].fill(key, slot.account());
    Ok(())
}

/// A table in which a lent key's account is found in a few instructions. Each key has one
/// place; if another key is there, the call takes the slow path.
static PLACES: [Place; 128] = [const { Place::new() }; 128];

/// The account of places without a key.
static NOBODYS: Account = Account::new();

/// Invariants
///
/// - PLACE1 the pointer is to an account, and accounts exist for ever.
/// - PLACE2 the account is that of the key's expert, as long as this has not ended.
struct Place {
    /// 0, [`TAKING`], or a key.
    key: AtomicUsize,
    account: AtomicPtr<Account>,
}

impl Place {
    const fn new() -> Self {
        let account = AtomicPtr::new((&raw const NOBODYS).cast_mut());
        Self { key: AtomicUsize::new(0), account }
    }

    /// Takes the place, unless it belongs to another expert that has not ended.
    fn fill(&self, key: ExpertKey, account: &Account) {
        // Acquire: the account that goes with the key (the Release below).
        let before = self.key.load(Acquire);
        if before == TAKING || lent(ExpertKey::from_raw(before)).is_some() {
            return;
        }
        // If two threads take it at the same time, one of them gets no place.
        if self.key.compare_exchange(before, TAKING, Acquire, Relaxed).is_ok() {
            self.account.store(ptr::from_ref(account).cast_mut(), Relaxed);
            // Release: the account (the Acquire in `pass`).
            self.key.store(key.into_raw(), Release);
        }
    }

    /// The pass of a key that has its place; no pass for any other word.
    #[inline(always)]
    fn pass(key: usize) -> Option<Pass> {
        let place = &PLACES[key % PLACES.len()];
        // Acquire: PLACE2 (the Release in `fill`).
        if place.key.load(Acquire) != key {
            return None;
        }
        crate::sync::delay(crate::sync::Window::Lent);
        // SAFETY: PLACE1.
        let account = unsafe { &*place.account.load(Relaxed) };
        // The account of an expert that has ended is marked until another has the slot,
        // which is after the last call of the plug-in (S1 of `lend`).
        Some(Pass::of_word(key, account))
    }
}

/// A word that is no key and not 0: the place is being filled.
const TAKING: usize = 1 << (usize::BITS - 1);

/// A block for the key's plug-in, if one is ready.
#[inline(always)]
pub(crate) fn take_ready(key: usize, layout: Layout) -> Option<NonNull<u8>> {
    HEAP.engine().take_ready(Place::pass(key)?, layout)
}

/// A block for the key's plug-in, if one is available at once.
#[inline]
pub(crate) fn allocate_at_once(key: usize, layout: Layout) -> Option<NonNull<u8>> {
    HEAP.engine().allocate_at_once(Place::pass(key)?, layout)
}

/// The slot of a key, if the key was lent.
fn lent<'a>(key: Option<ExpertKey>) -> Option<(ExpertKey, &'a SlotOf<ExpertAlloc>, Word)> {
    let key = key?;
    let slot = HEAP.registry().lookup(key.slot()?)?;
    let word = slot.word();
    (word.is_of(key) && word.has(LENT)).then_some((key, slot, word))
}

/// A block for the key's plug-in; null if there is no memory, or the key was not lent.
pub(crate) fn allocate(key: Option<ExpertKey>, layout: Layout, zeroed: bool) -> *mut u8 {
    let Some((key, slot, word)) = lent(key) else { return ptr::null_mut() };
    let allocate = |kind, overdraft| {
        HEAP.engine().allocate(who::<ExpertAlloc>(slot, key, overdraft), kind, layout, zeroed)
    };
    if slot.account().is_open() {
        if let Ok(block) = allocate(Kind::Bound, false) {
            return block.as_ptr();
        }
    }
    if word.has(OVERDRAFT) {
        return allocate(Kind::Ambient, true).map_or(ptr::null_mut(), NonNull::as_ptr);
    }
    ptr::null_mut()
}

/// Resizes a block; null if there is no memory, and the block is then untouched.
///
/// # Safety
///
/// - S1 `block` came from a call here with `layout`, and is live.
/// - S2 `new_size` is not 0 and fits an `isize` rounded up to the alignment.
pub(crate) unsafe fn resize(
    key: Option<ExpertKey>,
    block: *mut u8,
    layout: Layout,
    new_size: usize,
) -> *mut u8 {
    // SAFETY: S1 and S2: it keeps its owner, whatever its kind is.
    let resized = unsafe { HEAP.realloc(block, layout, new_size) };
    if !resized.is_null() {
        return resized;
    }
    // The quota refuses a bound block, but not an ambient one.
    let Ok(new) = Layout::from_size_align(new_size, layout.align()) else { return resized };
    let moved = allocate(key, new, false);
    if !moved.is_null() {
        // SAFETY: two distinct blocks of at least that many bytes.
        unsafe { block.copy_to_nonoverlapping(moved, layout.size().min(new_size)) };
        // SAFETY: S1.
        unsafe { HEAP.dealloc(block, layout) };
    }
    moved
}
