//! Tests of each error code of the calls: when it is returned, and what it leaves
//! unchanged.

use super::*;

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
    // On 32-bit targets, half of the addresses may be available.
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

/// An address of code is no block.
const ALLOC_ADDRESS: fn(HEXPERTKEY, usize) -> Result<Pointer, u32> = alloc;

#[test]
fn nmerr_invalid_parameter_for_a_block_of_a_reclaimed_key() {
    let (old, next) = (register("old", 0), register("next", 0));
    let blocks: Vec<Pointer> = (0..100).map(|size| alloc(old, size * 50).unwrap()).collect();
    assert_eq!(reclaim(old).0, SUCCESS);
    for &block in &blocks {
        assert_eq!(free(next, block), INVALID_PARAMETER);
        assert_eq!(free(old, block), INVALID_EXPERT_HANDLE);
        // Another test may have got this address since; `old` does not own it any more.
        assert_ne!(ExpertOwnerOf(block), old);
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
    // The key of the next slot may be that of another test's expert; this slot has no
    // expert.
    let beyond = word | 1 << (half - 1);
    forged.extend([1, 2, 1 << half, beyond, word + (1 << half), word + (2 << half)].map(key_at));
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
