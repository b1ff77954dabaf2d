//! The host engine behind the trait that the expert layer sees.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::account::Account;
#[cfg(feature = "capi")]
use crate::engine::AtOnce;
use crate::engine::{Engine, HOST_KEY, Kind, Pass, Taken, Usage, Who};
use crate::error::Error;
use crate::heap::base::number::Number;
use crate::heap::base::size_class::{self, BinPlace};
use crate::heap::base::tables;
use crate::heap::caches::cache::Cache;
use crate::heap::calls::ambient;
use crate::heap::calls::at_once;
use crate::heap::calls::common::{self, Limit};
use crate::heap::calls::large::Purpose;
use crate::heap::calls::lookup;
use crate::heap::calls::raw;
use crate::heap::calls::requests;
use crate::heap::calls::resize;
use crate::heap::calls::scoped::{self, Entered};
use crate::heap::calls::seated;
use crate::heap::lives::handover;
use crate::heap::lives::usage;
use crate::heap::owners::heap::HOST_ACCOUNT;
use crate::heap::owners::numbers;
use crate::heap::presence::visits;
use crate::heap::threads::thread::giving_back;
use crate::heap::threads::thread::seats;
use crate::heap::threads::thread::tending;
use crate::key::ExpertKey;
use crate::sync::{AtomicU32, Ordering};

/// The process-wide engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostEngine;

/// The engine's record of an expert: a number for each kind of blocks, given out on
/// first use.
#[derive(Debug)]
pub struct HostOwner {
    numbers: [AtomicU32; 3],
}

impl HostOwner {
    const fn new() -> Self {
        Self { numbers: [const { AtomicU32::new(0) }; 3] }
    }

    #[inline]
    fn number(&self, kind: Kind) -> Option<Number> {
        // Acquire: the entry of the number (the Release in `number_or_open`).
        Number::from_raw(self.numbers[kind as usize].load(Ordering::Acquire))
    }

    /// Takes the number, because the owner ends.
    fn take(&self, kind: Kind) -> Option<Number> {
        let number = self.number(kind)?;
        // No thread opens another number, because the owner is closed, or only the caller
        // uses it.
        self.numbers[kind as usize].store(0, Ordering::Relaxed);
        Some(number)
    }
}

static HOST_OWNER: HostOwner = HostOwner::new();

/// The number of `who` for blocks of `kind`, opened if need be.
#[inline]
fn number_or_open(who: Who<'_, HostOwner>, kind: Kind) -> Result<Number, Error> {
    match who.owner.number(kind) {
        Some(number) => Ok(number),
        None => open_number(who, kind),
    }
}

#[cold]
fn open_number(who: Who<'_, HostOwner>, kind: Kind) -> Result<Number, Error> {
    let opened = numbers::open(who.key, kind, who.account, who.overdraft);
    let (number, entry) = opened.ok_or(Error::OutOfMemory)?;
    let place = &who.owner.numbers[kind as usize];
    let raw = number.into_raw();
    // Release: the entry; Acquire: the entry that another thread has opened.
    match place.compare_exchange(0, raw, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(number),
        Err(other) => {
            entry.end(number, false, || 0);
            Number::from_raw(other).ok_or(Error::OutOfMemory)
        }
    }
}

/// Makes `who` the owner of this thread's allocations through the global allocator. If
/// there is no memory for a scope, the owner stays as it was, and the result says so. A
/// scope of the host needs memory only if the host is the owner already, or in a thread's
/// first call.
#[inline]
pub fn enter(who: Who<'_, HostOwner>) -> Entered {
    let Who { key, account, owner, overdraft } = who;
    // The host has no number for ambient blocks.
    match owner.number(Kind::Ambient).and_then(scoped::enter_at_once) {
        Some(entered) => entered,
        None => enter_slow(key, account, owner, overdraft),
    }
}

/// The parts of a `Who`, in registers, so that the way above needs no stack.
#[cold]
#[inline(never)]
fn enter_slow(key: ExpertKey, account: &Account, owner: &HostOwner, overdraft: bool) -> Entered {
    let who = Who { key, account, owner, overdraft };
    if key == HOST_KEY {
        return scoped::enter_as_host();
    }
    match number_or_open(who, Kind::Ambient) {
        Ok(number) => scoped::enter(number, key),
        Err(_) => Entered::NOT,
    }
}

impl Engine for HostEngine {
    type Owner = HostOwner;

    const NEW: HostOwner = HostOwner::new();

    fn host<'a>(self) -> Who<'a, HostOwner> {
        Who { key: HOST_KEY, account: &HOST_ACCOUNT, owner: &HOST_OWNER, overdraft: true }
    }

    fn table(self, layout: Layout) -> Option<NonNull<u8>> {
        tables::allocate_zeroed(layout)
    }

    #[inline(always)]
    fn allocate_at_once(self, pass: Pass, layout: Layout) -> Option<NonNull<u8>> {
        let place = size_class::looked_up(layout)?;
        let seat = seats::passed(pass)?;
        seat.pop(place).or_else(|| reuse(seat, place))
    }

    #[cfg(feature = "capi")]
    #[inline(always)]
    fn take_ready(self, pass: Pass, layout: Layout) -> Option<NonNull<u8>> {
        seats::passed(pass)?.pop(size_class::looked_up(layout)?)
    }

    #[inline]
    fn allocate(
        self,
        who: Who<'_, HostOwner>,
        kind: Kind,
        layout: Layout,
        zeroed: bool,
    ) -> Result<NonNull<u8>, Error> {
        let remembered = if kind == Kind::Bound { seats::remembered(who.key) } else { None };
        match (size_class::looked_up(layout), remembered) {
            (Some(place), Some(seat)) => {
                let block = seated::allocate_at(seat, place.class(), Limit::Usual)?;
                if zeroed {
                    requests::zero(block, layout.size());
                }
                Ok(block)
            }
            _ => allocate_slow(who, kind, layout, zeroed),
        }
    }

    #[inline]
    unsafe fn deallocate(self, block: NonNull<u8>, layout: Layout) {
        if layout.size() != 0 {
            // SAFETY: S1 of the trait is S1 and S2 of `dealloc`.
            unsafe { ambient::dealloc(block.as_ptr(), layout) };
        }
    }

    unsafe fn reallocate(
        self,
        who: Who<'_, HostOwner>,
        kind: Kind,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        zeroed: bool,
    ) -> Result<NonNull<u8>, Error> {
        if old.size() == 0 || new.size() == 0 {
            let fresh = self.allocate(who, kind, new, zeroed)?;
            // SAFETY: S1 of the trait.
            unsafe { self.deallocate(block, old) };
            return Ok(fresh);
        }
        // SAFETY: S1 of the trait; the block's owner is `who` (S2).
        unsafe { resize::resize(block, old, new, zeroed) }
    }

    fn owner_of(self, address: *const u8) -> Option<ExpertKey> {
        lookup::owner_of(address)
    }

    #[inline(always)]
    fn raw_allocate(self, who: Who<'_, HostOwner>, size: usize) -> Result<NonNull<u8>, Error> {
        if let Some(number) = who.owner.number(Kind::Raw) {
            if let Some(block) = at_once::allocate(number, size) {
                return Ok(block);
            }
        }
        raw_allocate_slow(who, size)
    }

    fn raw_size(self, key: ExpertKey, address: *const u8) -> Result<usize, Error> {
        raw::size(key, address)
    }

    fn raw_free(self, key: ExpertKey, address: *mut u8) -> Result<(), Error> {
        raw::free(key, address)
    }

    #[inline(always)]
    fn raw_free_of(self, who: Who<'_, HostOwner>, address: *mut u8) -> Result<(), Error> {
        let number = who.owner.number(Kind::Raw);
        if number.is_some_and(|number| raw::free_at_once(number, address)) {
            return Ok(());
        }
        raw::free(who.key, address)
    }

    fn raw_reallocate(
        self,
        who: Who<'_, HostOwner>,
        address: *mut u8,
        size: usize,
    ) -> Result<NonNull<u8>, Error> {
        raw::reallocate(who.key, address, size)
    }

    fn raw_transfer(
        self,
        from: Who<'_, HostOwner>,
        address: *mut u8,
        to: Who<'_, HostOwner>,
    ) -> Result<NonNull<u8>, Error> {
        raw::transfer(from.key, address, number_or_open(to, Kind::Raw)?, to.key)
    }

    fn drain(self, key: ExpertKey) {
        visits::drain(key);
    }

    fn usage(self, who: Who<'_, HostOwner>) -> Usage {
        let of_numbers = Kind::ALL.iter().filter_map(|&kind| who.owner.number(kind));
        let own = of_numbers.map(usage::of_number).sum();
        if who.key == HOST_KEY { usage::of_host() + own } else { own }
    }

    unsafe fn reclaim(self, who: Who<'_, HostOwner>, kind: Kind) -> Taken {
        tending::tend();
        let Some(number) = who.owner.take(kind) else { return Taken::default() };
        // SAFETY: S1 and S2 of the trait.
        unsafe { handover::reclaim_number(number) }
    }

    fn adopt(self, from: Who<'_, HostOwner>, to: Who<'_, HostOwner>) -> Taken {
        debug_assert!(to.key == HOST_KEY);
        match from.owner.take(Kind::Ambient) {
            Some(number) => handover::adopt_number(number),
            None => Taken::default(),
        }
    }

    fn trim(self, who: Who<'_, HostOwner>) {
        tending::tend();
        for number in Kind::ALL.iter().filter_map(|&kind| who.owner.number(kind)) {
            giving_back::trim(number);
        }
    }

    fn close(self, who: Who<'_, HostOwner>) {
        debug_assert!(Kind::ALL.iter().all(|&kind| who.owner.number(kind).is_none()));
    }
}

#[cfg(feature = "capi")]
impl AtOnce for HostEngine {
    #[inline(always)]
    fn raw_allocate_by_key<'o>(
        self,
        key: ExpertKey,
        size: usize,
        owner: impl FnOnce() -> Option<&'o HostOwner>,
    ) -> Option<NonNull<u8>> {
        at_once::allocate_by_key(key, size, || owner()?.number(Kind::Raw))
    }

    #[inline(always)]
    fn raw_free_by_key(
        self,
        key: ExpertKey,
        owner: &HostOwner,
        address: *mut u8,
        is_still: impl FnOnce() -> bool,
    ) -> bool {
        let Some(number) = owner.number(Kind::Raw) else { return false };
        at_once::free_by_key(key, number, address, is_still)
    }
}

/// The most frequent slow path, which is a function of its own so that it stays short.
#[cold]
#[inline(never)]
fn reuse(seat: &'static Cache, place: BinPlace) -> Option<NonNull<u8>> {
    if !seat.serves(place.class()) {
        return hand_out_at_once(seat, place);
    }
    seat.reuse_current(place)
}

#[cold]
#[inline(never)]
fn raw_allocate_slow(who: Who<'_, HostOwner>, size: usize) -> Result<NonNull<u8>, Error> {
    raw::allocate(number_or_open(who, Kind::Raw)?, who.key, size)
}

/// The path for an owner at a desk. Apart, as above.
#[inline(never)]
fn hand_out_at_once(seat: &'static Cache, place: BinPlace) -> Option<NonNull<u8>> {
    common::hand_out_at_once(seat, place)
}

#[cold]
#[inline(never)]
fn allocate_slow(
    who: Who<'_, HostOwner>,
    kind: Kind,
    layout: Layout,
    zeroed: bool,
) -> Result<NonNull<u8>, Error> {
    if layout.size() == 0 {
        return Ok(requests::dangling(layout));
    }
    tending::tend();
    if who.key == HOST_KEY && kind == Kind::Ambient {
        return requests::allocate_for_host(layout, zeroed, Purpose::New);
    }
    let number = number_or_open(who, kind)?;
    requests::allocate_for(number, who.key, layout, zeroed, Purpose::New)
}
