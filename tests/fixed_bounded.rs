//! The time of an allocation in a fixed heap does not depend on how many blocks there are:
//! Valgrind counts its instructions for 10, 1,000 and 100,000 live blocks. Without Valgrind
//! nothing is tested, and a line says so.

mod common;

use std::alloc::{GlobalAlloc, Layout};
use std::mem::MaybeUninit;
use std::process::Command;

use expert_alloc::ExpertHeap;

const LAYOUT: Layout = Layout::new::<[u64; 8]>();
const ROUNDS: u64 = 1_000;
const WORKLOAD: &str = "FIXED_WORKLOAD";

static HEAP: ExpertHeap = ExpertHeap::empty();

/// The function that Valgrind counts, with everything that it calls.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fixed_bounded_measured() {
    for _ in 0..ROUNDS {
        // SAFETY: the layout is not of size 0.
        let block = unsafe { HEAP.alloc(LAYOUT) };
        assert!(!block.is_null());
        // SAFETY: the block is live, with this layout.
        unsafe { HEAP.dealloc(block, LAYOUT) };
    }
}

/// The test below runs this under Valgrind: it allocates `blocks` live blocks, with or
/// without a hole behind each, and then the pairs that are counted.
#[test]
fn workload() {
    let Ok(workload) = std::env::var(WORKLOAD) else { return };
    let (blocks, holes) = workload.split_once(' ').unwrap();
    let (blocks, holes) = (blocks.parse::<usize>().unwrap(), holes == "holes");
    let memory: &'static mut [MaybeUninit<u8>] = vec![MaybeUninit::uninit(); 32 << 20].leak();
    // SAFETY: leaked memory is nobody else's.
    unsafe { HEAP.add_region(memory.as_mut_ptr().cast(), memory.len()) };
    // SAFETY: the layout is not of size 0.
    let mut block = || unsafe { HEAP.alloc(LAYOUT) };
    let pairs: Vec<_> = (0..blocks).map(|_| (block(), holes.then(&mut block))).collect();
    for (_, hole) in pairs {
        if let Some(hole) = hole {
            // SAFETY: a live block with this layout.
            unsafe { HEAP.dealloc(hole, LAYOUT) };
        }
    }
    assert_eq!(HEAP.stats().live_blocks, blocks);
    fixed_bounded_measured();
}

/// Instructions of one pair of calls.
fn count(blocks: usize, holes: &str) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=fixed_bounded_measured"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "workload", "--test-threads=1"])
        .env(WORKLOAD, format!("{blocks} {holes}"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let count = text.lines().find_map(|line| line.split_once("Collected : "));
    count.expect("callgrind prints what it collected").1.trim().parse::<u64>().unwrap() / ROUNDS
}

#[test]
fn an_allocation_takes_as_long_among_many_blocks_as_among_few() {
    if std::env::var(WORKLOAD).is_ok() {
        return;
    }
    if cfg!(not(target_arch = "x86_64"))
        || Command::new("valgrind").arg("--version").output().is_err()
    {
        println!("not run: instruction counts need Valgrind");
        return;
    }
    for holes in ["holes", "none"] {
        let counts = [10, 1_000, 100_000].map(|blocks| count(blocks, holes));
        println!("instructions of a pair among 10, 1,000, 100,000 blocks ({holes}): {counts:?}");
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least > 0 && most * 100 < least * 105, "{counts:?}");
    }
}
