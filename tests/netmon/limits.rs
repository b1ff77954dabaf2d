//! Tests of clean-ups, quotas and keys, for mistakes that are known from other libraries.

use super::*;

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
        // One byte more fits if the class has room for it; a smaller size always fits.
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
        // The context is in the host's memory, not in the memory that is taken back.
        on_reclaim(goes, counts, (&raw const ran).cast_mut().cast());
        let (code, report) = reclaim(goes);
        assert_eq!((code, report.blocks), (SUCCESS, SIZES.len()));
        // Recycle the reclaimed memory.
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
