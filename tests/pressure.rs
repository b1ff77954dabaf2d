//! What a quota has room for once something was freed.

use expert_alloc::testing::{Path, count};
use expert_alloc::{Error, ExpertAlloc};

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

/// The bookkeeping waits for an eighth of a span's blocks to be free before it
/// looks at the span; a refusal does not.
#[test]
fn a_single_freed_block_is_found_before_a_refusal() {
    let expert = ALLOC.expert("tight").quota(64 << 10).register().unwrap();
    let mut blocks = Vec::new();
    let why = loop {
        match expert.alloc(40) {
            Ok(block) => blocks.push(block.as_ptr()),
            Err(why) => break why,
        }
    };
    assert_eq!(why, Error::QuotaExceeded);
    assert!(blocks.len() * 64 >= (64 << 10) * 9 / 10, "{} blocks", blocks.len());
    let before = count(Path::Pressure);
    for round in 0..3 {
        expert.free(blocks.swap_remove(round * 100)).unwrap();
        blocks.push(expert.alloc(40).unwrap().as_ptr());
        assert!(expert.alloc(40).is_err());
    }
    assert!(count(Path::Pressure) > before);
}
