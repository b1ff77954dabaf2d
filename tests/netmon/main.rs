//! Tests of the contract of the Netmon calls, row by row, and of mistakes known from other
//! libraries. The tests call them as C does; `c_contract` does the same from C.

mod codes;
mod limits;
mod silent;
mod threads;

use std::collections::HashSet;
use std::ffi::{CString, c_void};
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use expert_alloc::capi::*;
use expert_alloc::{Error, ExpertAlloc, ExpertKey};

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

const SUCCESS: u32 = 0;
const OUT_OF_MEMORY: u32 = 19;
const INTERNAL_EXCEPTION: u32 = 69;
const ACCESS_DENIED: u32 = 74;
const INVALID_PARAMETER: u32 = 76;
const EXPERT_TERMINATE: u32 = 125;
const INVALID_EXPERT_HANDLE: u32 = 130;

/// The value of an error before a call that must write it.
const UNWRITTEN: u32 = 0xDEAD_BEEF;

type Pointer = *mut c_void;

fn register(name: &str, quota: usize) -> HEXPERTKEY {
    let name = CString::new(name).unwrap();
    let mut error = UNWRITTEN;
    // SAFETY: a string and a place for the error.
    let key = unsafe { ExpertRegisterKey(name.as_ptr(), quota, &mut error) };
    assert!(!key.is_null() && error == SUCCESS);
    key
}

fn alloc(key: HEXPERTKEY, size: usize) -> Result<Pointer, u32> {
    let mut error = UNWRITTEN;
    // SAFETY: a place for the error.
    checked(unsafe { ExpertAllocMemory(key, size, &mut error) }, error)
}

fn realloc(key: HEXPERTKEY, block: Pointer, size: usize) -> Result<Pointer, u32> {
    let mut error = UNWRITTEN;
    // SAFETY: a place for the error.
    checked(unsafe { ExpertReallocMemory(key, block, size, &mut error) }, error)
}

fn transfer(from: HEXPERTKEY, block: Pointer, to: HEXPERTKEY) -> Result<Pointer, u32> {
    let mut error = UNWRITTEN;
    // SAFETY: a place for the error.
    checked(unsafe { ExpertTransferMemory(from, block, to, &mut error) }, error)
}

/// `pError` is written on success and on failure.
fn checked(block: Pointer, error: u32) -> Result<Pointer, u32> {
    assert_ne!(error, UNWRITTEN, "pError is always written");
    assert_eq!(block.is_null(), error != SUCCESS, "null exactly on failure");
    if block.is_null() { Err(error) } else { Ok(block) }
}

fn free(key: HEXPERTKEY, block: Pointer) -> u32 {
    ExpertFreeMemory(key, block)
}

fn size(key: HEXPERTKEY, block: Pointer) -> usize {
    ExpertMemorySize(key, block)
}

fn reclaim(key: HEXPERTKEY) -> (u32, EXPERTRECLAIMED) {
    let mut report = EXPERTRECLAIMED::default();
    // SAFETY: a place for the report.
    (unsafe { ExpertReclaimKey(key, &mut report) }, report)
}

fn stats(key: HEXPERTKEY) -> EXPERTMEMORYSTATS {
    let mut stats = EXPERTMEMORYSTATS::default();
    // SAFETY: a place for the figures.
    assert_eq!(unsafe { ExpertGetMemoryStats(key, &mut stats) }, SUCCESS);
    stats
}

fn on_reclaim(key: HEXPERTKEY, cleanup: extern "C-unwind" fn(Pointer), context: Pointer) -> u32 {
    // SAFETY: the tests' clean-ups take the contexts that the tests give.
    unsafe { ExpertOnReclaim(key, Some(cleanup), context) }
}

fn bytes<'a>(block: Pointer, count: usize) -> &'a mut [u8] {
    // SAFETY: the tests ask for what the block has, and for one at a time.
    unsafe { std::slice::from_raw_parts_mut(block.cast(), count) }
}

fn host_key() -> HEXPERTKEY {
    without_provenance_mut(ALLOC.host().key().into_raw())
}

fn shifted(block: Pointer, by: isize) -> Pointer {
    block.wrapping_byte_offset(by)
}

fn key_at(word: usize) -> HEXPERTKEY {
    without_provenance_mut(word)
}

const SIZES: [usize; 14] =
    [1, 8, 16, 17, 100, 128, 1000, 4096, 5000, 32768, 65536, 100_000, 1 << 20, 5 << 20];

extern "C-unwind" fn counts(context: Pointer) {
    if !context.is_null() {
        // SAFETY: the tests give null or a counter that outlives the expert.
        unsafe { &*context.cast::<AtomicUsize>() }.fetch_add(1, SeqCst);
    }
}
