//! The C calls with hostile keys and pointers: every answer is the contract's,
//! nothing else changes, and nothing crashes.

#![no_main]

#[path = "../../tests/model/calls.rs"]
mod calls;
#[path = "../../tests/model/dice.rs"]
#[allow(dead_code, reason = "shared with the model")]
mod dice;

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::null_mut;

use calls::*;
use dice::Dice;
use expert_alloc::{ExpertAlloc, testing};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

struct Expert {
    key: usize,
    has_quota: bool,
    is_terminated: bool,
}

#[derive(Default)]
struct Model {
    experts: Vec<Expert>,
    ended: Vec<usize>,
    /// Live blocks by address: their key and size.
    blocks: BTreeMap<usize, (usize, usize)>,
    stale: Vec<usize>,
}

impl Model {
    /// A key: usually of a live expert, sometimes of an ended one, forged, or null.
    fn key(&self, dice: &mut Dice<'_>) -> usize {
        match dice.below(16) {
            0 => dice.next() as usize,
            1 => 0,
            2 if !self.ended.is_empty() => self.ended[dice.below(self.ended.len())],
            _ if !self.experts.is_empty() => self.experts[dice.below(self.experts.len())].key,
            _ => 7 << 32 | 9,
        }
    }

    fn expert(&self, key: usize) -> Option<&Expert> {
        self.experts.iter().find(|expert| expert.key == key)
    }

    /// An address: usually of a live block, sometimes near one, stale, or wild.
    fn address(&self, dice: &mut Dice<'_>) -> usize {
        let live = match self.blocks.len() {
            0 => 0x1000,
            count => *self.blocks.keys().nth(dice.below(count)).unwrap(),
        };
        match dice.below(16) {
            0 => dice.next() as usize,
            1 => live.wrapping_add(dice.below(5000)),
            2 => live.wrapping_sub(dice.below(5000)),
            3 => live & !0xFFFF | dice.below(1 << 16),
            4 => live & !0x1FF_FFFF | dice.below(1 << 25),
            5 if !self.stale.is_empty() => self.stale[dice.below(self.stale.len())],
            6 => 0,
            7 => (&raw const self.stale).addr(),
            8 => self.stale.as_ptr().addr(),
            _ => live,
        }
    }

    /// The answer that a call with this key and address must give.
    fn verdict(&self, key: usize, address: usize) -> u32 {
        match (self.expert(key), self.blocks.get(&address)) {
            (None, _) => INVALID_HANDLE,
            (Some(_), None) => INVALID_PARAMETER,
            (Some(_), Some(&(owner, _))) if owner != key => ACCESS_DENIED,
            _ => SUCCESS,
        }
    }

    fn is_stopped(&self, key: usize) -> bool {
        self.expert(key).is_some_and(|expert| expert.is_terminated)
    }

    fn check_code(&self, key: usize, code: u32, expected: u32, size: usize) {
        let has_quota = self.expert(key).is_some_and(|expert| expert.has_quota);
        let may_lack = code == OUT_OF_MEMORY && (has_quota || size > 1 << 32);
        let is_stopped = code == TERMINATE && self.is_stopped(key);
        assert!(
            code == expected || is_stopped || expected == SUCCESS && may_lack,
            "{code} {expected}"
        );
    }

    /// Adds a block to the model: checks that it is zero from `from` on, and fills it.
    fn keep(&mut self, key: usize, memory: *mut c_void, size: usize, from: usize) {
        let address = memory.addr();
        assert_eq!(address % 16, 0);
        for offset in (from..size).step_by(1 + size / 5000) {
            // SAFETY: inside the block.
            assert_eq!(unsafe { memory.cast::<u8>().add(offset).read() }, 0);
        }
        // SAFETY: inside the block.
        unsafe { memory.write_bytes(0xA5, size.min(1 << 16)) };
        assert_eq!(ExpertOwnerOf(memory), key);
        assert!(self.blocks.insert(address, (key, size)).is_none(), "handed out twice");
    }

    fn step(&mut self, dice: &mut Dice<'_>) {
        let kind = dice.below(32);
        let (key, address) = (self.key(dice), self.address(dice));
        let memory = address as *mut c_void;
        let size = if dice.once_in(8) { 0 } else { dice.size(1 << 20) };
        let mut code = 77;
        match kind {
            0..=2 if self.experts.len() < 6 => {
                let quota = if dice.once_in(2) { 0 } else { 1 << (14 + dice.below(6)) };
                // SAFETY: a string, and a place for the code.
                let key = unsafe { ExpertRegisterKey(c"fuzzed".as_ptr(), quota, &raw mut code) };
                assert!(code == SUCCESS && key != 0 && !self.ended.contains(&key));
                self.experts.push(Expert { key, has_quota: quota != 0, is_terminated: false });
            }
            0..=10 => {
                // SAFETY: a place for the code.
                let memory = unsafe { ExpertAllocMemory(key, size, &raw mut code) };
                let expected = if self.expert(key).is_some() { SUCCESS } else { INVALID_HANDLE };
                self.check_code(key, code, expected, size);
                assert_eq!(memory.is_null(), code != SUCCESS);
                if !memory.is_null() {
                    self.keep(key, memory, size, 0);
                }
            }
            11..=15 if address != 0 => {
                // SAFETY: a place for the code.
                let moved = unsafe { ExpertReallocMemory(key, memory, size, &raw mut code) };
                self.check_code(key, code, self.verdict(key, address), size);
                assert_eq!(moved.is_null(), code != SUCCESS);
                if !moved.is_null() {
                    let (_, old) = self.blocks.remove(&address).unwrap();
                    if moved != memory {
                        self.stale.push(address);
                    }
                    if old > 0 && size > 0 {
                        // SAFETY: inside the block.
                        assert_eq!(unsafe { moved.cast::<u8>().read() }, 0xA5);
                    }
                    self.keep(key, moved, size, old);
                }
            }
            16..=22 => {
                code = ExpertFreeMemory(key, memory);
                if address == 0 {
                    let expected =
                        if self.expert(key).is_some() { SUCCESS } else { INVALID_HANDLE };
                    return self.check_code(key, code, expected, 0);
                }
                let expected = self.verdict(key, address);
                self.check_code(key, code, expected, 0);
                if expected == SUCCESS {
                    self.blocks.remove(&address);
                    self.stale.push(address);
                    let again = ExpertFreeMemory(key, memory);
                    self.check_code(key, again, INVALID_PARAMETER, 0);
                }
            }
            23..=25 => {
                let expected = match self.blocks.get(&address) {
                    Some(&(owner, size)) if owner == key => size,
                    _ => 0,
                };
                assert_eq!(ExpertMemorySize(key, memory), expected);
            }
            26..=27 => {
                let to = self.key(dice);
                // SAFETY: a place for the code.
                let moved = unsafe { ExpertTransferMemory(key, memory, to, &raw mut code) };
                assert_eq!(moved.is_null(), code != SUCCESS);
                if !moved.is_null() {
                    assert_eq!(self.verdict(key, address), SUCCESS);
                    let (_, size) = self.blocks.remove(&address).unwrap();
                    if moved != memory {
                        self.stale.push(address);
                    }
                    self.keep(to, moved, size, size);
                }
            }
            28 => {
                let expected = if self.expert(key).is_some() { SUCCESS } else { INVALID_HANDLE };
                assert_eq!(ExpertTerminateKey(key), expected);
                let stopped = self.experts.iter_mut().filter(|expert| expert.key == key);
                stopped.for_each(|expert| expert.is_terminated = true);
            }
            29 => self.reclaim(key),
            _ => {
                let owner = ExpertOwnerOf(memory);
                let inside = self.blocks.range(..=address).next_back();
                let inside = inside.filter(|&(start, &(_, size))| address < start + size.max(1));
                if let Some((_, &(expected, _))) = inside {
                    assert_eq!(owner, expected);
                }
            }
        }
    }

    fn reclaim(&mut self, key: usize) {
        // SAFETY: no report is wanted.
        let code = unsafe { ExpertReclaimKey(key, null_mut()) };
        let expected = if self.expert(key).is_some() { SUCCESS } else { INVALID_HANDLE };
        assert_eq!(code, expected);
        if code == SUCCESS {
            self.experts.retain(|expert| expert.key != key);
            self.ended.push(key);
            let gone: Vec<usize> =
                self.blocks.iter().filter(|(_, block)| block.0 == key).map(|(&at, _)| at).collect();
            self.blocks.retain(|_, block| block.0 != key);
            self.stale.extend(gone);
        }
    }
}

fn walk() {
    // SAFETY: S1: one thread only.
    if let Err(broken) = unsafe { testing::check() } {
        panic!("{broken}");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut dice = Dice::Bytes(bytes);
    let mut model = Model::default();
    while !dice.is_spent() {
        model.step(&mut dice);
        walk();
    }
    while let Some(expert) = model.experts.last() {
        model.reclaim(expert.key);
    }
    walk();
});
