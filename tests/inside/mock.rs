//! A test double of an engine: the system's allocator, a map that knows every
//! block's owner, and quotas charged by the byte. Slow, and honest.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::alloc::{GlobalAlloc, System};
use std::boxed::Box;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::vec::Vec;

use crate::account::Account;
use crate::engine::{Engine, HOST_KEY, Kind, Taken, Usage, Who};
use crate::error::Error;
use crate::expert::home::{Ambient, Home, sealed::Sealed};
use crate::expert::owned_name::OwnedName;
use crate::expert::registry::Registry;
use crate::key::ExpertKey;

/// How many owners were closed.
#[derive(Debug, Default)]
pub(crate) struct MockOwner {
    pub(crate) closed: core::sync::atomic::AtomicUsize,
}

struct Block {
    key: ExpertKey,
    account: NonNull<Account>,
    kind: Kind,
    layout: Layout,
    /// The layout for freeing the block; it is smaller after a shrink in place.
    given: Layout,
}

// SAFETY: accounts are `Sync` and stay in place while anything is charged to them.
unsafe impl Send for Block {}

#[derive(Default)]
struct State {
    blocks: BTreeMap<usize, Block>,
    usage: HashMap<ExpertKey, Usage>,
    pins: HashMap<ExpertKey, usize>,
    drained: usize,
}

pub(crate) struct Mock {
    host: (Account, MockOwner),
    state: Mutex<State>,
    unpinned: Condvar,
    registry: Registry<MockOwner, OwnedName>,
    current: Mutex<Vec<ExpertKey>>,
}

/// A home over a mock that lives as long as the process.
#[derive(Clone, Copy)]
pub(crate) struct MockHome(&'static Mock);

impl MockHome {
    pub(crate) fn new() -> Self {
        Self(Box::leak(Box::new(Mock {
            host: (Account::new(), MockOwner::default()),
            state: Mutex::default(),
            unpinned: Condvar::new(),
            registry: Registry::new(),
            current: Mutex::default(),
        })))
    }

    /// How often a thread waited for visitors.
    pub(crate) fn drained(self) -> usize {
        self.state().drained
    }

    /// The number of live blocks, including the host's.
    pub(crate) fn live_blocks(self) -> usize {
        self.state().blocks.len()
    }

    fn state(self) -> MutexGuard<'static, State> {
        self.0.state.lock().unwrap()
    }

    fn check(self, key: ExpertKey, address: *const u8) -> Result<usize, Error> {
        let state = self.state();
        let block = state.blocks.get(&address.addr()).filter(|block| block.kind == Kind::Raw);
        match block {
            None => Err(Error::InvalidPointer),
            Some(block) if block.key != key => Err(Error::AccessDenied),
            Some(block) => Ok(block.layout.size()),
        }
    }

    fn remove(self, address: usize) -> Block {
        let mut state = self.state();
        let block = state.blocks.remove(&address).expect("a block of this heap");
        let usage = state.usage.entry(block.key).or_default();
        usage.live_blocks -= 1;
        usage.live_bytes -= block.layout.size();
        usage.frees += 1;
        drop(state);
        // SAFETY: the account stays while anything is charged to it.
        unsafe { block.account.as_ref() }.refund(block.layout.size());
        // SAFETY: from `allocate`, with this layout made non-empty.
        unsafe {
            System.dealloc(core::ptr::with_exposed_provenance_mut(address), one(block.layout))
        };
        block
    }

    fn take(self, key: ExpertKey, kind: Kind) -> Taken {
        let owned = |(address, block): (&usize, &Block)| {
            (block.key == key && block.kind == kind).then_some(*address)
        };
        let addresses: Vec<usize> = self.state().blocks.iter().filter_map(owned).collect();
        let mut taken = Taken::default();
        for address in addresses {
            taken.blocks += 1;
            taken.bytes += self.remove(address).layout.size();
        }
        taken
    }
}

/// A layout that is not empty, because the system's allocator takes no empty layouts.
fn one(layout: Layout) -> Layout {
    Layout::from_size_align(layout.size().max(1), layout.align()).unwrap()
}

const RAW_ALIGN: usize = 16;

impl Engine for MockHome {
    type Owner = MockOwner;

    const NEW: MockOwner = MockOwner { closed: core::sync::atomic::AtomicUsize::new(0) };

    fn host<'a>(self) -> Who<'a, MockOwner> {
        Who { key: HOST_KEY, account: &self.0.host.0, owner: &self.0.host.1, overdraft: true }
    }

    fn table(self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: tables are not empty.
        NonNull::new(unsafe { System.alloc_zeroed(layout) })
    }

    fn allocate(
        self,
        who: Who<'_, MockOwner>,
        kind: Kind,
        layout: Layout,
        zeroed: bool,
    ) -> Result<NonNull<u8>, Error> {
        if who.account.charge(layout.size()).is_err() {
            if kind != Kind::Ambient || !who.overdraft {
                who.account.count_refusal();
                return Err(Error::QuotaExceeded);
            }
            who.account.overdraw(layout.size());
        }
        // SAFETY: not empty.
        let block = unsafe { System.alloc_zeroed(one(layout)) };
        let block = NonNull::new(block).expect("the tests fit in memory");
        if !zeroed {
            // SAFETY: a fresh block of this size.
            unsafe { block.write_bytes(0xA5, layout.size()) };
        }
        let mut state = self.state();
        let usage = state.usage.entry(who.key).or_default();
        usage.live_blocks += 1;
        usage.live_bytes += layout.size();
        usage.allocations += 1;
        let account = NonNull::from(who.account);
        let address = block.as_ptr().expose_provenance();
        state.blocks.insert(address, Block { key: who.key, account, kind, layout, given: layout });
        Ok(block)
    }

    unsafe fn deallocate(self, block: NonNull<u8>, layout: Layout) {
        assert_eq!(self.remove(block.addr().get()).given, layout);
    }

    unsafe fn reallocate(
        self,
        who: Who<'_, MockOwner>,
        kind: Kind,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        zeroed: bool,
    ) -> Result<NonNull<u8>, Error> {
        if new.size() <= old.size() && new.align() <= old.align() {
            self.state().blocks.get_mut(&block.addr().get()).unwrap().given = new;
            return Ok(block);
        }
        let moved = self.allocate(who, kind, new, zeroed)?;
        // SAFETY: both are live and hold this many bytes.
        unsafe { moved.copy_from_nonoverlapping(block, old.size().min(new.size())) };
        // SAFETY: the caller's duty S1.
        unsafe { self.deallocate(block, old) };
        Ok(moved)
    }

    fn owner_of(self, address: *const u8) -> Option<ExpertKey> {
        let state = self.state();
        let (start, block) = state.blocks.range(..=address.addr()).next_back()?;
        (address.addr() < start + block.layout.size().max(1)).then_some(block.key)
    }

    fn raw_allocate(self, who: Who<'_, MockOwner>, size: usize) -> Result<NonNull<u8>, Error> {
        let layout = Layout::from_size_align(size, RAW_ALIGN).map_err(|_| Error::OutOfMemory)?;
        self.allocate(who, Kind::Raw, layout, true)
    }

    fn raw_size(self, key: ExpertKey, address: *const u8) -> Result<usize, Error> {
        self.check(key, address)
    }

    fn raw_free(self, key: ExpertKey, address: *mut u8) -> Result<(), Error> {
        self.check(key, address)?;
        self.remove(address.addr());
        Ok(())
    }

    fn raw_reallocate(
        self,
        who: Who<'_, MockOwner>,
        address: *mut u8,
        size: usize,
    ) -> Result<NonNull<u8>, Error> {
        let old = self.check(who.key, address)?;
        let moved = self.raw_allocate(who, size)?;
        // SAFETY: both are live and hold this many bytes.
        unsafe { moved.as_ptr().copy_from_nonoverlapping(address, old.min(size)) };
        self.remove(address.addr());
        Ok(moved)
    }

    fn raw_transfer(
        self,
        from: Who<'_, MockOwner>,
        address: *mut u8,
        to: Who<'_, MockOwner>,
    ) -> Result<NonNull<u8>, Error> {
        let size = self.check(from.key, address)?;
        let moved = self.raw_allocate(to, size)?;
        // SAFETY: both are live and hold this many bytes.
        unsafe { moved.as_ptr().copy_from_nonoverlapping(address, size) };
        self.remove(address.addr());
        Ok(moved)
    }

    fn drain(self, key: ExpertKey) {
        let mut state = self.state();
        state.drained += 1;
        while state.pins.get(&key).is_some_and(|&pins| pins != 0) {
            state = self.0.unpinned.wait(state).unwrap();
        }
    }

    fn usage(self, who: Who<'_, MockOwner>) -> Usage {
        self.state().usage.get(&who.key).copied().unwrap_or_default()
    }

    unsafe fn reclaim(self, who: Who<'_, MockOwner>, kind: Kind) -> Taken {
        self.take(who.key, kind)
    }

    fn adopt(self, from: Who<'_, MockOwner>, to: Who<'_, MockOwner>) -> Taken {
        let mut taken = Taken::default();
        let mut state = self.state();
        for block in state.blocks.values_mut() {
            if block.key == from.key && block.kind == Kind::Ambient {
                taken.blocks += 1;
                taken.bytes += block.layout.size();
                block.key = to.key;
                block.account = NonNull::from(to.account);
            }
        }
        from.account.refund(taken.bytes);
        to.account.overdraw(taken.bytes);
        let usage = state.usage.entry(to.key).or_default();
        usage.live_blocks += taken.blocks;
        usage.live_bytes += taken.bytes;
        taken
    }

    fn close(self, who: Who<'_, MockOwner>) {
        who.owner.closed.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        let mut state = self.state();
        state.usage.remove(&who.key);
        assert!(state.blocks.values().all(|block| block.key != who.key), "closed, but not empty");
    }
}

/// A pin, which holds a key until it is dropped.
pub(crate) struct MockPin(MockHome, ExpertKey);

impl Drop for MockPin {
    fn drop(&mut self) {
        *self.0.state().pins.get_mut(&self.1).unwrap() -= 1;
        self.0.0.unpinned.notify_all();
    }
}

impl Sealed for MockHome {}

// SAFETY: S1 and S2: one registry for each mock, leaked. S3: `drain` waits for the count.
unsafe impl Home for MockHome {
    type Engine = Self;
    type Text = crate::expert::owned_name::NameCopy;
    type Name = OwnedName;
    type Pin = MockPin;

    fn engine(self) -> Self {
        self
    }

    fn registry<'a>(self) -> &'a Registry<MockOwner, OwnedName> {
        &self.0.registry
    }

    fn pin(self, key: ExpertKey) -> MockPin {
        *self.state().pins.entry(key).or_default() += 1;
        MockPin(self, key)
    }

    fn is_same(self, other: Self) -> bool {
        core::ptr::eq(self.0, other.0)
    }
}

// SAFETY: S1: it keeps keys, which are only compared.
unsafe impl Ambient for MockHome {
    type Entered = usize;

    fn enter(self, who: Who<'_, MockOwner>) -> usize {
        let mut current = self.0.current.lock().unwrap();
        current.push(who.key);
        current.len() - 1
    }

    fn has_entered(_: usize) -> bool {
        true
    }

    fn leave(self, previous: usize) {
        self.0.current.lock().unwrap().truncate(previous);
    }

    #[cfg(feature = "capi")]
    fn leave_all(self, previous: usize) {
        self.leave(previous);
    }

    fn current(self) -> Option<ExpertKey> {
        self.0.current.lock().unwrap().last().copied().filter(|&key| key != HOST_KEY)
    }
}
