//! Tests of behaviour that the header defines, because Microsoft's documentation is silent.

use super::*;

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

/// Every size around those that are filled in another way than the next.
#[test]
fn fresh_memory_of_each_small_size_is_zero() {
    let key = register("zeroes", 0);
    for size in 0..300 {
        let mut seen = std::collections::HashSet::new();
        let is_used_again = (0..10_000).any(|_| {
            let block = alloc(key, size).unwrap();
            assert!(bytes(block, size).iter().all(|&byte| byte == 0), "{size}");
            bytes(block, size).fill(0xFF);
            assert_eq!(free(key, block), SUCCESS);
            !seen.insert(block)
        });
        assert!(is_used_again, "{size}");
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
            // The block shrinks first, so the tail was written to before.
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
        // This does the same as Configure, which enlarges the block of last time.
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
