//! Tests of pointers that are no live raw blocks of the heap.

use super::*;

#[test]
fn pointers_that_are_no_blocks_are_errors() {
    let heap = heap(8 << 10);
    let (one, other) =
        (heap.expert("one").register().unwrap(), heap.expert("two").register().unwrap());
    let block = one.alloc(200).unwrap().as_ptr();
    // Another's block stays untouched.
    assert_eq!(other.free(block), Err(Error::AccessDenied));
    assert_eq!(other.realloc(block, 8), Err(Error::AccessDenied));
    assert_eq!((other.size(block), one.size(block)), (0, 200));
    // The pointers are interior, unaligned and wild; a copy of a header does not make a
    // block.
    let (header, inside) = (block.wrapping_sub(8), block.wrapping_add(56));
    // SAFETY: both ranges are in the block, or its header, and do not overlap.
    unsafe { header.copy_to_nonoverlapping(inside, 8) };
    for offset in [1, 8, 16, 64, 192] {
        assert_eq!(one.free(block.wrapping_add(offset)), Err(Error::InvalidPointer));
        assert_eq!(heap.owner_of(block.wrapping_add(offset)), Some(one.key()), "{offset}");
    }
    for wild in [1, 8, 16, usize::MAX, usize::MAX & !15, heap as *const ExpertHeap as usize] {
        let wild = std::ptr::without_provenance_mut(wild);
        assert_eq!(one.free(wild), Err(Error::InvalidPointer));
        assert_eq!((heap.owner_of(wild), one.size(wild)), (None, 0));
    }
    // Twice.
    assert_eq!(one.free(block), Ok(()));
    assert_eq!(one.free(block), Err(Error::InvalidPointer));
    assert_eq!(one.realloc(block, 8), Err(Error::InvalidPointer));
    // The pointers are of an expert that has ended, and of one whose key is stale.
    let stale = (one.key(), one.alloc(16).unwrap().as_ptr());
    let _ = one.finish();
    assert_eq!(other.free(stale.1), Err(Error::InvalidPointer));
    assert!(heap.get(stale.0).is_none());
    assert_eq!(heap.terminate(stale.0), Err(Error::InvalidKey));
    let again = heap.expert("in the same slot").register().unwrap();
    assert_ne!(again.key(), stale.0);
    assert_eq!(again.free(stale.1), Err(Error::InvalidPointer));
    drop((again, other));
    heap.check().unwrap();
}

/// Words that pass the check of a header, because they were one before, are no header where
/// no block ends: in free memory, and inside another block.
#[test]
fn an_old_header_put_back_is_no_block() {
    let heap = heap(8 << 10);
    let expert = heap.expert("forger").register().unwrap();
    let [first, block, last, wall] = [(); 4].map(|()| expert.alloc(88).unwrap().as_ptr());
    let header = block.wrapping_sub(8).cast::<[u32; 2]>();
    // SAFETY: a header is two words, aligned.
    let copy = unsafe { header.read() };
    for freed in [first, block] {
        expert.free(freed).unwrap();
    }
    // The new block covers both, and ends where the second ended.
    let both = expert.alloc(88 + block.addr() - first.addr()).unwrap().as_ptr();
    assert_eq!(both, first);
    // SAFETY: inside the block.
    unsafe { header.write(copy) };
    expert.free(both).unwrap();
    // SAFETY: memory of the heap, which nobody writes to meanwhile.
    assert_eq!(unsafe { header.read() }, copy, "it is still there, and leads to a live block");
    let refused = |owner| {
        assert_eq!(expert.size(block), 0);
        assert_eq!(expert.free(block), Err(Error::InvalidPointer));
        assert_eq!(expert.realloc(block, 8), Err(Error::InvalidPointer));
        assert_eq!(heap.owner_of(block), owner);
        heap.check().unwrap();
    };
    refused(None);
    // The new block covers the third, too, so the old header leads to the middle of a
    // block.
    expert.free(last).unwrap();
    let all = expert.alloc(88 + last.addr() - first.addr()).unwrap().as_ptr();
    assert_eq!(all, first);
    // SAFETY: inside the block.
    unsafe { header.write(copy) };
    refused(Some(expert.key()));
    // Now it leads to words that look like the header of a free block, but are none.
    // SAFETY: inside the block.
    unsafe { last.wrapping_sub(8).cast::<u32>().write(64) };
    refused(Some(expert.key()));
    assert_eq!((expert.free(all), expert.free(wall)), (Ok(()), Ok(())));
    heap.check().unwrap();
}

#[test]
fn blocks_of_another_heap_are_wild_pointers() {
    let outer = heap(64 << 10);
    let plug_in = outer.expert("plug-in").register().unwrap();
    let arena = plug_in.alloc(16 << 10).unwrap();
    let inner: ExpertHeap = ExpertHeap::empty();
    // SAFETY: nothing else uses the block, and it is not freed.
    assert_ne!(unsafe { inner.add_region(arena.as_ptr(), 16 << 10) }, 0);
    let query = inner.expert("query").register().unwrap();
    let blocks: Vec<_> = (0..100).map(|_| query.alloc(64).unwrap().as_ptr()).collect();
    for &block in &blocks {
        assert_eq!(plug_in.size(block), 0);
        assert_eq!(plug_in.free(block), Err(Error::InvalidPointer));
        assert_eq!(outer.owner_of(block), Some(plug_in.key()));
    }
    assert!(blocks.iter().all(|&block| query.free(block) == Ok(())));
    outer.check().unwrap();
    inner.check().unwrap();
}

#[test]
fn blocks_of_a_heap_that_is_gone_are_wild_pointers() {
    let memory: &'static mut [u64] = vec![0; 2048].leak();
    let memory: *mut u8 = memory.as_mut_ptr().cast();
    let before = {
        let heap: ExpertHeap = ExpertHeap::empty();
        // SAFETY: nothing else uses leaked memory.
        unsafe { heap.add_region(memory, 16 << 10) };
        let expert = heap.expert("before").register().unwrap();
        let blocks: Vec<_> = (0..50).map(|_| expert.alloc(64).unwrap().as_ptr()).collect();
        std::mem::forget(expert);
        blocks
    };
    let heap: ExpertHeap = ExpertHeap::empty();
    // SAFETY: nothing uses the memory any more.
    unsafe { heap.add_region(memory, 16 << 10) };
    let expert = heap.expert("after").register().unwrap();
    let large = expert.alloc(1).unwrap();
    for &block in before.iter().filter(|&&block| block != large.as_ptr()) {
        assert_eq!(expert.free(block), Err(Error::InvalidPointer));
    }
    heap.check().unwrap();
}
