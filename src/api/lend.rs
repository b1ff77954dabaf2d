//! Lending: a plug-in whose own global allocator is this heap, under one key.
//!
//! The plug-in's statics, its threads and what its runtime keeps for each thread
//! live as long as its library is loaded, so the key does too: it is not that of a
//! run. Nobody comes by this way to an expert that was not lent, so nothing has to
//! be held in place: who lends promises to end the expert after the library.
//!
//! What is allocated is bound to the expert, as a handle's is, as long as the quota
//! grants it. Rust code takes a null for the end of the process, so beyond the
//! quota it is an ambient block, which overdraws the account.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use crate::api::{Expert, ExpertAlloc};
use crate::engine::{Engine, Kind, Pass};
use crate::expert::home::{Home, SlotOf};
use crate::expert::slot::{LENT, OVERDRAFT, Word};
use crate::expert::visit::who;
use crate::key::ExpertKey;

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
    /// - S1 when this expert ends, no code of the plug-in runs any more, and nothing
    ///   refers to what it allocated: its library is unloaded, and really gone.
    pub unsafe fn lend(&self) -> ExpertKey {
        self.slot().lend(self.key());
        self.key()
    }
}

/// The slot of a key that was lent.
#[inline(always)]
fn lent<'a>(key: Option<ExpertKey>) -> Option<(ExpertKey, &'a SlotOf<ExpertAlloc>, Word)> {
    let key = key?;
    let slot = HEAP.registry().lookup(key.slot()?)?;
    let word = slot.word();
    (word.is_of(key) && word.has(LENT)).then_some((key, slot, word))
}

/// A block for the key's plug-in; null where there is no memory, or the key is not
/// a plug-in's.
#[inline]
pub(crate) fn allocate(key: Option<ExpertKey>, layout: Layout) -> *mut u8 {
    let Some((key, slot, word)) = lent(key) else { return ptr::null_mut() };
    let pass = Pass::new(key, slot.account());
    match HEAP.engine().allocate_at_once(pass, layout) {
        Some(block) => block.as_ptr(),
        None => allocate_slow(key, slot, word, layout, false),
    }
}

/// As [`allocate`], filled with 0.
pub(crate) fn allocate_zeroed(key: Option<ExpertKey>, layout: Layout) -> *mut u8 {
    let Some((key, slot, word)) = lent(key) else { return ptr::null_mut() };
    allocate_slow(key, slot, word, layout, true)
}

#[inline(never)]
fn allocate_slow(
    key: ExpertKey,
    slot: &SlotOf<ExpertAlloc>,
    word: Word,
    layout: Layout,
    zeroed: bool,
) -> *mut u8 {
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

/// Frees a block.
///
/// # Safety
///
/// - S1 `block` is null, or came from one of the calls here with `layout`, and is live.
#[inline]
pub(crate) unsafe fn release(block: *mut u8, layout: Layout) {
    if let Some(block) = NonNull::new(block) {
        // SAFETY: S1.
        unsafe { HEAP.engine().deallocate(block, layout) };
    }
}

/// Resizes a block; null where there is no memory, and then it is untouched.
///
/// # Safety
///
/// - S1 `block` came from one of the calls here with `layout`, and is live.
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
    // The quota refuses a bound block; an ambient one it does not.
    let Ok(new) = Layout::from_size_align(new_size, layout.align()) else { return resized };
    let moved = allocate(key, new);
    if !moved.is_null() {
        // SAFETY: two distinct blocks of at least that many bytes.
        unsafe { block.copy_to_nonoverlapping(moved, layout.size().min(new_size)) };
        // SAFETY: S1.
        unsafe { release(block, layout) };
    }
    moved
}
