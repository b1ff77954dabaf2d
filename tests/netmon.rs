//! The contract of the Netmon calls, row by row, and what is known to go wrong
//! elsewhere. Called as C calls them; `c_contract` does the same from C.

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

/// What an error is before a call that is to write it.
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

/// `pError` is written on success and on failure, and says which it was.
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

// ---- the codes ---------------------------------------------------------------

#[test]
fn nmerr_success_when_done() {
    let key = register("done", 0);
    let block = alloc(key, 10).unwrap();
    let block = realloc(key, block, 100_000).unwrap();
    assert_eq!(free(key, block), SUCCESS);
    assert_eq!(reclaim(key).0, SUCCESS);
}

#[test]
fn nmerr_out_of_memory_from_the_quota_the_system_and_an_overflow() {
    let key = register("greedy", 1 << 20);
    assert_eq!(alloc(key, 2 << 20), Err(OUT_OF_MEMORY));
    let unlimited = register("boundless", 0);
    // Of 4 GiB of addresses, half may well be to be had.
    let (half, huge) = match usize::BITS {
        64 => (isize::MAX as usize, usize::MAX >> 14),
        _ => (usize::MAX, usize::MAX - 4096),
    };
    for size in [usize::MAX, usize::MAX - 15, half, huge] {
        assert_eq!(alloc(unlimited, size), Err(OUT_OF_MEMORY), "{size:#x}");
        let block = alloc(unlimited, 7).unwrap();
        assert_eq!(realloc(unlimited, block, size), Err(OUT_OF_MEMORY), "{size:#x}");
        assert_eq!(self::size(unlimited, block), 7);
    }
    assert_eq!(stats(key).refusals, 1);
    reclaim(key);
    reclaim(unlimited);
}

#[test]
fn nmerr_internal_exception_when_a_cleanup_fails() {
    extern "C-unwind" fn fails(_: Pointer) {
        panic!("this clean-up fails");
    }
    let key = register("untidy", 0);
    alloc(key, 10).unwrap();
    assert_eq!(on_reclaim(key, fails, null_mut()), SUCCESS);
    let (code, report) = reclaim(key);
    assert_eq!(code, INTERNAL_EXCEPTION);
    assert_eq!((report.cleanups_run, report.cleanups_failed), (1, 1));
    assert_eq!(report.blocks, 1, "reclaimed all the same");
    assert_eq!(reclaim(key).0, INVALID_EXPERT_HANDLE);
}

#[test]
fn nmerr_access_denied_for_another_keys_block_which_stays_untouched() {
    let (mine, yours) = (register("mine", 0), register("yours", 0));
    let block = alloc(mine, 33).unwrap();
    bytes(block, 33).fill(7);
    assert_eq!(free(yours, block), ACCESS_DENIED);
    assert_eq!(realloc(yours, block, 100), Err(ACCESS_DENIED));
    assert_eq!(transfer(yours, block, yours), Err(ACCESS_DENIED));
    assert_eq!(size(yours, block), 0);
    assert_eq!(free(host_key(), block), ACCESS_DENIED);
    assert_eq!((size(mine, block), &*bytes(block, 33)), (33, &[7; 33][..]));
    reclaim(yours);
    assert_eq!(&*bytes(block, 33), &[7; 33]);
    assert_eq!(free(mine, block), SUCCESS);
    reclaim(mine);
}

#[test]
fn nmerr_invalid_parameter_for_what_is_no_live_block() {
    let key = register("wild", 0);
    let block = alloc(key, 1000).unwrap();
    let large = alloc(key, 3 << 20).unwrap();
    let local = 5_u64;
    let boxed = Box::new([1_u8; 64]);
    let wild: [Pointer; 13] = [
        without_provenance_mut(1),
        without_provenance_mut(0x1000),
        without_provenance_mut(usize::MAX),
        without_provenance_mut(usize::MAX / 2),
        (&raw const local).cast_mut().cast(),
        (&raw const *boxed).cast_mut().cast(),
        ALLOC_ADDRESS as Pointer,
        shifted(block, 1),
        shifted(block, 16),
        shifted(block, -16),
        shifted(block, 999),
        shifted(large, 4096),
        shifted(large, 1 << 20),
    ];
    for pointer in wild {
        assert_eq!(free(key, pointer), INVALID_PARAMETER, "{pointer:p}");
        assert_eq!(realloc(key, pointer, 10), Err(INVALID_PARAMETER), "{pointer:p}");
        assert_eq!(transfer(key, pointer, host_key()), Err(INVALID_PARAMETER), "{pointer:p}");
        assert_eq!(size(key, pointer), 0, "{pointer:p}");
    }
    assert_eq!(*boxed, [1; 64]);
    assert_eq!((size(key, block), size(key, large)), (1000, 3 << 20));
    assert_eq!((free(key, block), free(key, large)), (SUCCESS, SUCCESS));
    assert_eq!((free(key, block), free(key, large)), (INVALID_PARAMETER, INVALID_PARAMETER));
    assert_eq!(realloc(key, block, 10), Err(INVALID_PARAMETER));
    reclaim(key);
}

/// The address of code, which is nobody's block.
const ALLOC_ADDRESS: fn(HEXPERTKEY, usize) -> Result<Pointer, u32> = alloc;

#[test]
fn nmerr_invalid_parameter_for_a_block_of_a_reclaimed_key() {
    let (old, next) = (register("old", 0), register("next", 0));
    let blocks: Vec<Pointer> = (0..100).map(|size| alloc(old, size * 50).unwrap()).collect();
    assert_eq!(reclaim(old).0, SUCCESS);
    for &block in &blocks {
        assert_eq!(free(next, block), INVALID_PARAMETER);
        assert_eq!(free(old, block), INVALID_EXPERT_HANDLE);
        assert!(ExpertOwnerOf(block).is_null());
    }
    reclaim(next);
}

#[test]
fn nmerr_expert_terminate_is_sticky_and_lets_the_expert_clean_up() {
    let key = register("stopped", 0);
    let (kept, freed) = (alloc(key, 10).unwrap(), alloc(key, 20).unwrap());
    assert_eq!(ExpertTerminateKey(key), SUCCESS);
    for _ in 0..3 {
        assert_eq!(alloc(key, 1), Err(EXPERT_TERMINATE));
        assert_eq!(realloc(key, kept, 5), Err(EXPERT_TERMINATE));
        assert_eq!(realloc(key, null_mut(), 5), Err(EXPERT_TERMINATE));
    }
    assert_eq!((size(key, kept), size(key, freed)), (10, 20), "size works");
    assert_eq!(free(key, freed), EXPERT_TERMINATE);
    assert_eq!(free(key, freed), INVALID_PARAMETER, "it was freed");
    assert_eq!(free(key, null_mut()), SUCCESS, "nothing happens");
    assert_eq!(stats(key).live_blocks, 1);
    assert_eq!(ExpertTerminateKey(key), SUCCESS, "sticky");
    assert_eq!(reclaim(key).1.blocks, 1);
}

#[test]
fn nmerr_invalid_expert_handle_for_null_forged_and_ended_keys() {
    let (ended, live) = (register("ended", 0), register("live", 0));
    let block = alloc(live, 10).unwrap();
    reclaim(ended);
    let word = live.addr();
    let half = usize::BITS / 2;
    let mut forged = vec![null_mut(), ended];
    forged.extend([1, 2, 1 << half, word + 1, word + (1 << half), word + (2 << half)].map(key_at));
    forged.extend([word & !(usize::MAX << half), word ^ usize::MAX, usize::MAX].map(key_at));
    for key in forged {
        assert_eq!(alloc(key, 10), Err(INVALID_EXPERT_HANDLE), "{key:p}");
        assert_eq!(realloc(key, block, 10), Err(INVALID_EXPERT_HANDLE));
        assert_eq!(free(key, block), INVALID_EXPERT_HANDLE);
        assert_eq!(free(key, null_mut()), INVALID_EXPERT_HANDLE);
        assert_eq!(size(key, block), 0);
        assert_eq!(ExpertTerminateKey(key), INVALID_EXPERT_HANDLE);
        assert_eq!(reclaim(key), (INVALID_EXPERT_HANDLE, EXPERTRECLAIMED::default()));
        assert_eq!(transfer(key, block, live), Err(INVALID_EXPERT_HANDLE));
        assert_eq!(transfer(live, block, key), Err(INVALID_EXPERT_HANDLE));
        assert_eq!(on_reclaim(key, counts, null_mut()), INVALID_EXPERT_HANDLE);
        let mut stats = EXPERTMEMORYSTATS::default();
        // SAFETY: a place for the figures.
        let code = unsafe { ExpertGetMemoryStats(key, &mut stats) };
        assert_eq!(code, INVALID_EXPERT_HANDLE);
    }
    assert_eq!(size(live, block), 10);
    reclaim(live);
}

fn key_at(word: usize) -> HEXPERTKEY {
    without_provenance_mut(word)
}

#[test]
fn the_codes_are_those_of_the_errors() {
    assert_eq!(Error::OutOfMemory.nmerr(), OUT_OF_MEMORY);
    assert_eq!(Error::QuotaExceeded.nmerr(), OUT_OF_MEMORY);
    assert_eq!(Error::CleanupFailed.nmerr(), INTERNAL_EXCEPTION);
    assert_eq!(Error::AccessDenied.nmerr(), ACCESS_DENIED);
    assert_eq!(Error::InvalidPointer.nmerr(), INVALID_PARAMETER);
    for stop in [Error::Terminated, Error::Overdrawn, Error::ParentStopped] {
        assert_eq!(stop.nmerr(), EXPERT_TERMINATE);
    }
    assert_eq!(Error::InvalidKey.nmerr(), INVALID_EXPERT_HANDLE);
}

// ---- what the pages leave open ----------------------------------------------

const SIZES: [usize; 14] =
    [1, 8, 16, 17, 100, 128, 1000, 4096, 5000, 32768, 65536, 100_000, 1 << 20, 5 << 20];

#[test]
fn fresh_memory_is_zero_also_when_it_was_used_before() {
    let key = register("zeroes", 0);
    for size in SIZES {
        for _ in 0..3 {
            let blocks = [(); 4].map(|()| alloc(key, size).unwrap());
            for block in blocks {
                assert!(bytes(block, size).iter().all(|&byte| byte == 0), "{size}");
                bytes(block, size).fill(0xFF);
            }
            assert!(blocks.iter().all(|&block| free(key, block) == SUCCESS));
        }
    }
    reclaim(key);
}

#[test]
fn memory_that_another_was_refused_is_still_zero_filled_later() {
    let (key, poor) = (register("zeroes", 0), register("poor", 4096));
    for size in [40_000, 130_000, 1 << 20] {
        let block = alloc(key, size).unwrap();
        bytes(block, size).fill(0xFF);
        assert_eq!(free(key, block), SUCCESS);
        assert_eq!(alloc(poor, size), Err(OUT_OF_MEMORY));
        let block = alloc(key, size).unwrap();
        assert!(bytes(block, size).iter().all(|&byte| byte == 0), "{size}");
    }
    reclaim(poor);
    reclaim(key);
}

#[test]
fn the_grown_tail_of_a_realloc_is_zero_and_the_rest_is_kept() {
    let key = register("tails", 0);
    for from in SIZES {
        for to in [from / 2, from + 1, from + 15, from * 2, from * 7] {
            let block = alloc(key, from).unwrap();
            bytes(block, from).fill(0xAB);
            // Down first, so that the tail has been written to before.
            let less = realloc(key, block, from / 3).unwrap();
            let block = realloc(key, less, to).unwrap();
            let kept = (from / 3).min(to);
            assert!(bytes(block, to)[..kept].iter().all(|&byte| byte == 0xAB), "{from} {to}");
            assert!(bytes(block, to)[kept..].iter().all(|&byte| byte == 0), "{from} {to}");
            assert_eq!(size(key, block), to);
            assert_eq!(free(key, block), SUCCESS);
        }
    }
    reclaim(key);
}

#[test]
fn blocks_are_aligned_to_16_bytes() {
    let key = register("aligned", 0);
    for size in 0..300 {
        let block = alloc(key, size).unwrap();
        assert_eq!(block.addr() % 16, 0, "{size}");
        let block = realloc(key, block, size * 3).unwrap();
        assert_eq!(block.addr() % 16, 0, "{size}");
    }
    reclaim(key);
}

#[test]
fn a_size_of_0_gives_a_block_of_its_own() {
    let key = register("empty", 0);
    let blocks: HashSet<Pointer> = (0..100).map(|_| alloc(key, 0).unwrap()).collect();
    assert_eq!(blocks.len(), 100, "unique");
    for &block in &blocks {
        assert_eq!((size(key, block), free(key, block)), (0, SUCCESS));
        assert_eq!(free(key, block), INVALID_PARAMETER);
    }
    let block = alloc(key, 500).unwrap();
    let block = realloc(key, block, 0).unwrap();
    assert_eq!((size(key, block), stats(key).live_blocks), (0, 1));
    let block = realloc(key, block, 20).unwrap();
    assert_eq!(bytes(block, 20), [0; 20]);
    reclaim(key);
}

#[test]
fn realloc_of_null_is_an_alloc() {
    let key = register("null", 0);
    let block = realloc(key, null_mut(), 30).unwrap();
    assert_eq!((size(key, block), &*bytes(block, 30)), (30, &[0; 30][..]));
    assert_eq!(free(key, block), SUCCESS);
    reclaim(key);
}

#[test]
fn free_of_null_is_nothing_and_its_size_is_0() {
    let key = register("null", 0);
    assert_eq!((free(key, null_mut()), size(key, null_mut())), (SUCCESS, 0));
    assert_eq!(stats(key), EXPERTMEMORYSTATS::default());
    assert_eq!(transfer(key, null_mut(), host_key()), Err(INVALID_PARAMETER));
    reclaim(key);
}

#[test]
fn size_is_what_was_asked_for() {
    let key = register("exact", 0);
    for size in (0..2000).chain([4095, 32767, 65537, 1_000_001]) {
        let block = alloc(key, size).unwrap();
        assert_eq!(self::size(key, block), size);
        let block = realloc(key, block, size + 1).unwrap();
        assert_eq!(self::size(key, block), size + 1);
        assert_eq!(free(key, block), SUCCESS);
        assert_eq!(self::size(key, block), 0);
    }
    reclaim(key);
}

#[test]
fn a_failed_realloc_leaves_the_block_as_it_was() {
    let key = register("failing", 1 << 20);
    let block = alloc(key, 3000).unwrap();
    bytes(block, 3000).fill(0x5A);
    for size in [2 << 20, usize::MAX, isize::MAX as usize] {
        assert_eq!(realloc(key, block, size), Err(OUT_OF_MEMORY));
    }
    assert_eq!(self::size(key, block), 3000);
    assert!(bytes(block, 3000).iter().all(|&byte| byte == 0x5A));
    assert_eq!(free(key, block), SUCCESS);
    reclaim(key);
}

#[test]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
fn perror_may_be_null() {
    let key = register("silent", 1 << 20);
    let none = null_mut::<u32>();
    // SAFETY: null is allowed for every error and report below.
    unsafe {
        let block = ExpertAllocMemory(key, 10, none);
        assert!(!block.is_null());
        let block = ExpertReallocMemory(key, block, 20, none);
        assert!(!block.is_null() && ExpertAllocMemory(null_mut(), 10, none).is_null());
        assert!(ExpertReallocMemory(key, block, usize::MAX, none).is_null());
        assert!(!ExpertTransferMemory(key, block, host_key(), none).is_null());
        let other = ExpertRegisterKey(c"other".as_ptr(), 0, none);
        assert_eq!(ExpertReclaimKey(other, null_mut()), SUCCESS);
        let unnamed = ExpertRegisterKey(std::ptr::null(), 0, none);
        assert_eq!(ExpertReclaimKey(unnamed, null_mut()), SUCCESS);
        assert_eq!(ExpertGetMemoryStats(key, null_mut()), INVALID_PARAMETER);
        assert_eq!(ExpertOnReclaim(key, None, null_mut()), INVALID_PARAMETER);
    }
    reclaim(key);
}

#[test]
fn a_stale_pointer_is_an_error_and_changes_nothing() {
    let key = register("stale", 0);
    let stale = alloc(key, 64).unwrap();
    assert_eq!(free(key, stale), SUCCESS);
    let before = stats(key);
    for _ in 0..1000 {
        assert_eq!(free(key, stale), INVALID_PARAMETER);
        assert_eq!(realloc(key, stale, 128), Err(INVALID_PARAMETER));
        assert_eq!(size(key, stale), 0);
    }
    let after = stats(key);
    assert_eq!((after.live_blocks, after.frees), (before.live_blocks, before.frees));
    let blocks: HashSet<Pointer> = (0..1000).map(|_| alloc(key, 64).unwrap()).collect();
    assert_eq!(blocks.len(), 1000, "no block is given out twice");
    reclaim(key);
}

#[test]
fn of_two_threads_that_free_a_block_one_succeeds() {
    let key = register("race", 0);
    let address = key.addr();
    for _ in 0..200 {
        let blocks: Vec<usize> = (0..16).map(|_| alloc(key, 48).unwrap().addr()).collect();
        let freed = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for &block in &blocks {
                        let code = free(key_at(address), key_at(block));
                        assert!([SUCCESS, INVALID_PARAMETER].contains(&code), "{code}");
                        freed.fetch_add(usize::from(code == SUCCESS), SeqCst);
                    }
                });
            }
        });
        assert_eq!(freed.load(SeqCst), 16);
    }
    assert_eq!(stats(key).live_blocks, 0);
    reclaim(key);
}

#[test]
fn any_thread_may_use_a_key_and_reclaim_runs_from_any() {
    let key = register("shared", 0).addr();
    let block = alloc(key_at(key), 100).unwrap().addr();
    thread::spawn(move || {
        let block = realloc(key_at(key), key_at(block), 200).unwrap();
        assert_eq!(size(key_at(key), block), 200);
        alloc(key_at(key), 300).unwrap();
    })
    .join()
    .unwrap();
    let (code, report) = thread::spawn(move || reclaim(key_at(key))).join().unwrap();
    assert_eq!((code, report.blocks), (SUCCESS, 2));
}

#[test]
fn reclaim_at_the_end_of_every_run_failed_or_not() {
    for run in 0..100 {
        let key = register("run", 1 << 20);
        let event = alloc(key, 500).unwrap();
        if run % 2 == 0 {
            assert_eq!(free(key, event), SUCCESS);
        }
        let (code, report) = reclaim(key);
        assert_eq!((code, report.blocks), (SUCCESS, run % 2));
        assert_eq!(report.adopted_blocks, 0);
    }
}

#[test]
fn what_configure_returns_outlives_its_key() {
    let mut config: Pointer = null_mut();
    for run in 0..5 {
        let key = register("configured", 0);
        if !config.is_null() {
            config = transfer(host_key(), config, key).unwrap();
        }
        // What Configure does: it enlarges the block of last time.
        config = realloc(key, config, 100 * (run + 1)).unwrap();
        assert!(bytes(config, 100 * run).iter().all(|&byte| byte == run as u8), "kept");
        bytes(config, 100 * (run + 1)).fill(run as u8 + 1);
        config = transfer(key, config, host_key()).unwrap();
        assert_eq!(free(key, config), ACCESS_DENIED);
        assert_eq!(reclaim(key).1.blocks, 0);
        assert_eq!(size(host_key(), config), 100 * (run + 1));
        assert_eq!(ExpertOwnerOf(config), host_key());
    }
    assert_eq!(free(host_key(), config), SUCCESS);
}

#[test]
fn a_transfer_needs_room_in_the_takers_quota() {
    let (from, to) = (register("from", 0), register("to", 64 << 10));
    let block = alloc(from, 200_000).unwrap();
    assert_eq!(transfer(from, block, to), Err(OUT_OF_MEMORY));
    assert_eq!(size(from, block), 200_000, "untouched");
    ExpertTerminateKey(to);
    assert_eq!(transfer(from, block, to), Err(EXPERT_TERMINATE));
    ExpertTerminateKey(from);
    let saved = transfer(from, block, host_key()).unwrap();
    assert_eq!(free(host_key(), saved), SUCCESS);
    reclaim(from);
    reclaim(to);
}

#[test]
fn owner_of_knows_every_block_and_no_other_address() {
    let key = register("owner", 0);
    assert_eq!(ExpertOwnerOf(alloc(key, 0).unwrap()), key);
    for size in SIZES {
        let block = alloc(key, size).unwrap();
        assert_eq!(ExpertOwnerOf(block), key);
        assert_eq!(ExpertOwnerOf(shifted(block, size as isize - 1)), key);
    }
    let boxed = Box::new(5_u64);
    assert_eq!(ExpertOwnerOf((&raw const *boxed).cast()), host_key());
    let local = 5_u64;
    assert!(ExpertOwnerOf((&raw const local).cast()).is_null());
    for word in [0, 1, 4096, usize::MAX, usize::MAX - 4096] {
        assert!(ExpertOwnerOf(key_at(word)).is_null());
    }
    reclaim(key);
}

#[test]
fn the_host_cannot_be_told_to_stop_or_reclaimed_nor_can_experts_of_rust_code() {
    assert_eq!(ExpertTerminateKey(host_key()), ACCESS_DENIED);
    assert_eq!(reclaim(host_key()).0, ACCESS_DENIED);
    assert_eq!(on_reclaim(host_key(), counts, null_mut()), ACCESS_DENIED);
    let expert = ALLOC.expert("rust").register().unwrap();
    let key = key_at(expert.key().into_raw());
    let mut numbers = allocator_api2::vec::Vec::new_in(expert.allocator());
    numbers.extend(0..1000_u32);
    assert_eq!(reclaim(key).0, ACCESS_DENIED);
    assert_eq!(numbers.iter().sum::<u32>(), 499_500);
    let raw = alloc(key, 10).unwrap();
    assert_eq!(expert.free(raw.cast()), Ok(()), "the two faces share the raw blocks");
    assert_eq!(free(key, numbers.as_mut_ptr().cast()), INVALID_PARAMETER, "not a raw block");
    drop(numbers);
}

// ---- clean-ups -----------------------------------------------------------------

extern "C-unwind" fn counts(context: Pointer) {
    if !context.is_null() {
        // SAFETY: the tests give null or a counter that outlives the expert.
        unsafe { &*context.cast::<AtomicUsize>() }.fetch_add(1, SeqCst);
    }
}

struct Cleaning {
    key: HEXPERTKEY,
    block: Pointer,
    codes: Vec<u32>,
}

#[test]
fn during_cleanups_the_key_frees_and_gets_nothing() {
    extern "C-unwind" fn uses_the_key(context: Pointer) {
        // SAFETY: the test gives this, and looks at it afterwards only.
        let cleaning = unsafe { &mut *context.cast::<Cleaning>() };
        let key = cleaning.key;
        cleaning.codes = vec![
            alloc(key, 10).unwrap_err(),
            size(key, cleaning.block) as u32,
            free(key, cleaning.block),
            on_reclaim(key, counts, null_mut()),
            reclaim(key).0,
        ];
    }
    let key = register("cleaning", 0);
    let mut cleaning = Cleaning { key, block: alloc(key, 33).unwrap(), codes: Vec::new() };
    on_reclaim(key, uses_the_key, (&raw mut cleaning).cast());
    let (code, report) = reclaim(key);
    assert_eq!((code, report.blocks), (SUCCESS, 0));
    let told = [EXPERT_TERMINATE, 33, EXPERT_TERMINATE, EXPERT_TERMINATE, INVALID_EXPERT_HANDLE];
    assert_eq!(cleaning.codes, told);
}

#[test]
fn a_cleanup_that_panics_crosses_nothing_and_stops_no_other() {
    extern "C-unwind" fn panics(_: Pointer) {
        panic!("out of a clean-up");
    }
    let key = register("panics", 0);
    let ran = AtomicUsize::new(0);
    for _ in 0..3 {
        on_reclaim(key, counts, (&raw const ran).cast_mut().cast());
        on_reclaim(key, panics, null_mut());
    }
    let (code, report) = reclaim(key);
    assert_eq!((code, report.cleanups_run, report.cleanups_failed), (INTERNAL_EXCEPTION, 6, 3));
    assert_eq!(ran.load(SeqCst), 3);
}

// ---- known to go wrong elsewhere ------------------------------------------------

/// Allocates blocks of `size` bytes until the quota has no room.
fn fill(key: HEXPERTKEY, size: usize) -> Vec<Pointer> {
    std::iter::from_fn(|| alloc(key, size).ok()).collect()
}

#[test]
fn a_realloc_that_fits_in_place_succeeds_at_the_limit() {
    let key = register("at the limit", 256 << 10);
    let blocks = fill(key, 100);
    assert_eq!(alloc(key, 100), Err(OUT_OF_MEMORY));
    for &block in &blocks {
        // One byte more fits where the class has room for it; less always does.
        assert_eq!(realloc(key, block, 101), Ok(block));
        assert_eq!(realloc(key, block, 100), Ok(block));
        realloc(key, block, 60).unwrap();
    }
    reclaim(key);
    let key = register("large at the limit", 4 << 20);
    let large = fill(key, 1 << 20);
    assert!(!large.is_empty());
    fill(key, 100_000);
    fill(key, 1000);
    assert_eq!(realloc(key, large[0], (1 << 20) - 1), Ok(large[0]));
    assert_eq!(realloc(key, large[0], 1 << 20), Ok(large[0]));
    reclaim(key);
}

#[test]
fn the_limit_counts_what_is_really_set_aside_and_uses_its_slack() {
    for (size, share) in [(1, 0), (100, 75), (1000, 90), (10_000, 85)] {
        let quota = 1 << 20;
        let key = register("slack", quota);
        let blocks = fill(key, size);
        let full = stats(key);
        assert!(full.charged_bytes <= quota && full.peak_bytes <= quota, "{size}: {full:?}");
        assert!(full.live_bytes <= full.charged_bytes, "headers are counted: {size}: {full:?}");
        assert!(full.live_blocks == blocks.len());
        let used = full.live_bytes * 100 / quota;
        assert!(used >= 90, "refused at {used} % of the quota by blocks of {size}");
        assert!(blocks.len() * size * 100 / quota >= share, "{size}");
        for &block in blocks.iter().step_by(3) {
            assert_eq!(free(key, block), SUCCESS);
        }
        for _ in blocks.iter().step_by(3) {
            alloc(key, size).expect("what was freed can be had again");
        }
        assert_eq!(reclaim(key).1.blocks, blocks.len());
    }
}

#[test]
fn after_everything_was_freed_the_whole_quota_serves_another_size() {
    let key = register("turnover", 1 << 20);
    for size in [64, 5000, 300, 60_000, 16] {
        let blocks = fill(key, size);
        let live = stats(key).live_bytes;
        assert!(live * 100 >= 85 << 20, "{live} bytes of blocks of {size}");
        assert!(blocks.into_iter().all(|block| free(key, block) == SUCCESS));
    }
    reclaim(key);
}

#[test]
fn a_child_does_not_escape_its_parents_limit() {
    let parent = ALLOC.expert("parent").quota(1 << 20).register().unwrap();
    let child = ALLOC.expert("child").quota(1 << 30).parent(&parent).register().unwrap();
    let grandchild = ALLOC.expert("grandchild").parent(&child).register().unwrap();
    for who in [&grandchild, &child, &parent] {
        fill(key_at(who.key().into_raw()), 100);
        fill(key_at(who.key().into_raw()), 10_000);
        assert!(parent.stats().charged_bytes <= 1 << 20);
    }
    assert_eq!(alloc(key_at(child.key().into_raw()), 100_000), Err(OUT_OF_MEMORY));
}

#[test]
fn reclaim_takes_neither_its_own_bookkeeping_nor_what_is_others() {
    let stays = register("stays", 0);
    let kept: Vec<Pointer> = SIZES.iter().map(|&size| alloc(stays, size).unwrap()).collect();
    for (&block, &size) in kept.iter().zip(&SIZES) {
        bytes(block, size).fill(0x77);
    }
    let text = "the host's own".repeat(100);
    let ran = AtomicUsize::new(0);
    for _ in 0..50 {
        let goes = register("goes", 0);
        for size in SIZES {
            bytes(alloc(goes, size).unwrap(), size).fill(0x99);
        }
        // Kept by the host, not in the memory that goes.
        on_reclaim(goes, counts, (&raw const ran).cast_mut().cast());
        let (code, report) = reclaim(goes);
        assert_eq!((code, report.blocks), (SUCCESS, SIZES.len()));
        // Recycle what was taken back.
        let next = register("next", 0);
        for size in SIZES {
            bytes(alloc(next, size).unwrap(), size).fill(0x33);
        }
        reclaim(next);
    }
    for (&block, &size) in kept.iter().zip(&SIZES) {
        assert!(bytes(block, size).iter().all(|&byte| byte == 0x77));
        assert_eq!((self::size(stays, block), free(stays, block)), (size, SUCCESS));
    }
    assert_eq!((ran.load(SeqCst), text.len()), (50, 1400));
    assert_eq!(reclaim(stays).1.blocks, 0);
}

#[test]
fn ids_are_recycled_and_never_the_same() {
    let mut seen = HashSet::new();
    let mut highest = 0;
    for _ in 0..200_000 {
        let key = register("brief", 0);
        assert!(seen.insert(key.addr()), "a key is of one expert only");
        highest = highest.max(key.addr() & (usize::MAX >> (usize::BITS / 2)));
        assert_eq!(reclaim(key).0, SUCCESS);
    }
    assert!(highest < 1000, "slot {highest}: a host that runs for long runs out");
}

// ---- many threads --------------------------------------------------------------

#[test]
fn a_key_is_reclaimed_under_the_threads_that_use_it() {
    for round in 0..50 {
        let key = register("used", 0).addr();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut held: Vec<Pointer> = Vec::new();
                    while !stop.load(SeqCst) {
                        match alloc(key_at(key), 40) {
                            Ok(block) => {
                                bytes(block, 40).fill(1);
                                held.push(block);
                            }
                            Err(code) => {
                                let told = [EXPERT_TERMINATE, INVALID_EXPERT_HANDLE];
                                assert!(told.contains(&code), "{code}");
                                break;
                            }
                        }
                        if held.len() > 20 {
                            let code = free(key_at(key), held.swap_remove(7));
                            let told = [SUCCESS, EXPERT_TERMINATE, INVALID_EXPERT_HANDLE];
                            assert!(told.contains(&code), "{code}");
                            if code == INVALID_EXPERT_HANDLE {
                                break;
                            }
                        }
                    }
                });
            }
            thread::sleep(std::time::Duration::from_micros(200 * (round % 5)));
            // What the threads still write to is to be left alone first.
            assert_eq!(ExpertTerminateKey(key_at(key)), SUCCESS);
            stop.store(true, SeqCst);
        });
        assert_eq!(reclaim(key_at(key)).0, SUCCESS);
    }
}

#[test]
fn reclaim_waits_for_calls_and_calls_find_the_key_gone() {
    let keys: Vec<usize> = (0..200).map(|_| register("contended", 0).addr()).collect();
    let reclaimed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for &key in &keys {
                    for _ in 0..20 {
                        let block = alloc(key_at(key), 500);
                        let other = keys[key % keys.len()];
                        if let Ok(block) = block {
                            let _ = transfer(key_at(key), block, key_at(other));
                        }
                    }
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for &key in &keys {
                    let code = reclaim(key_at(key)).0;
                    assert!([SUCCESS, INVALID_EXPERT_HANDLE].contains(&code), "{code}");
                    reclaimed.fetch_add(usize::from(code == SUCCESS), SeqCst);
                }
            });
        }
    });
    assert_eq!(reclaimed.load(SeqCst), 200, "each is ended once");
    for key in keys {
        assert!(ALLOC.get(ExpertKey::from_raw(key).unwrap()).is_none());
    }
}
