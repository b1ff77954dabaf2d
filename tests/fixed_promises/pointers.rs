//! Tests of pointers to no live block.

use allocator_api2::alloc::Allocator;
use expert_alloc::{Error, Expert, ExpertHeap};

use crate::{give, heap, layout, take};

/// A header that became the middle of a block and was not overwritten.
#[test]
fn stale_pointers_into_new_blocks_are_found_out() {
    let heap = heap(8 << 10);
    let expert = heap.expert("stale").register().unwrap();
    let [first, second, _wall] = [(); 3].map(|()| expert.alloc(88).unwrap());
    for block in [first, second] {
        expert.free(block.as_ptr()).unwrap();
    }
    // Not filled.
    let both = layout(88 + second.addr().get() - first.addr().get(), 16);
    let block = expert.allocator().allocate(both).unwrap().cast::<u8>();
    assert_eq!(block, first);
    assert_eq!(expert.free(second.as_ptr()), Err(Error::InvalidPointer));
    heap.check().unwrap();
    // SAFETY: a live block with its layout.
    unsafe { expert.allocator().deallocate(block, both) };
    // The same happens at the end of an expert whose slot another expert then takes.
    let wall = heap.expert("wall").register().unwrap();
    let [first, second] = [(); 2].map(|()| expert.alloc(88).unwrap());
    wall.alloc(88).unwrap();
    let _ = expert.finish();
    let next = heap.expert("next").register().unwrap();
    let block = next.allocator().allocate(both).unwrap().cast::<u8>();
    assert_eq!(block, first);
    assert_eq!(next.free(second.as_ptr()), Err(Error::InvalidPointer));
    heap.check().unwrap();
}

/// A live block with an old header in its middle.
pub struct OldHeader {
    /// The old payload behind that header.
    pub block: *mut u8,
    pub header: *mut [u32; 2],
    /// The header before.
    pub copy: [u32; 2],
    /// The old payload of the next block, which is also in the live block now.
    pub last: *mut u8,
}

/// Makes such a block: three blocks side by side become one.
pub fn old_header(expert: &Expert<&ExpertHeap>) -> OldHeader {
    let [first, block, last, _wall] = [(); 4].map(|()| expert.alloc(88).unwrap().as_ptr());
    let header = block.wrapping_sub(8).cast::<[u32; 2]>();
    // SAFETY: a header is two words, aligned.
    let copy = unsafe { header.read() };
    for freed in [first, block, last] {
        expert.free(freed).unwrap();
    }
    let all = expert.alloc(88 + last.addr() - first.addr()).unwrap().as_ptr();
    assert_eq!(all, first);
    OldHeader { block, header, copy, last }
}

/// The words before the pointer are an old header. It leads to words that look like a free
/// block, but no block ends there, or only half of the words fit.
#[test]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all of them")]
fn an_old_header_that_leads_to_no_free_block_is_none() {
    let heap = heap(8 << 10);
    let expert = heap.expert("forger").register().unwrap();
    let OldHeader { block, header, copy, last } = old_header(&expert);
    let next = last.wrapping_sub(8).cast::<u32>();
    // The last of them is right except for its size, which no block has.
    let impossible = if usize::BITS == 64 { 40 } else { 60 };
    let forgeries = [(64, 64, 0), (64, 0, 1), (64, 32, 1), (impossible, impossible, 1)];
    for (size, footer, behind) in forgeries {
        // SAFETY: all in the block.
        unsafe {
            header.write(copy);
            next.write(size);
            next.add(size as usize / 4 - 1).write(footer);
            next.add(size as usize / 4).write(behind);
        }
        assert_eq!(expert.free(block), Err(Error::InvalidPointer), "{size}, {footer}, {behind}");
        heap.check().unwrap();
    }
}

#[test]
fn a_header_has_no_owner() {
    let heap = heap(8 << 10);
    let expert = heap.expert("owner").register().unwrap();
    for block in [(); 3].map(|()| expert.alloc(100).unwrap().as_ptr()) {
        assert_eq!(heap.owner_of(block), Some(expert.key()));
        for before in 1..=8 {
            assert_eq!(heap.owner_of(block.wrapping_sub(before)), None, "{before}");
        }
    }
}

#[test]
fn a_block_of_the_global_allocator_that_is_freed_twice_is_left_alone() {
    let heap = heap(8 << 10);
    let [one, two, _wall] = [100, 200, 8].map(|size| take(heap, size));
    for (block, size) in [(one, 100), (two, 200)] {
        give(heap, block, size);
        let before = heap.host().stats();
        give(heap, block, size);
        assert_eq!(heap.host().stats(), before);
        heap.check().unwrap();
    }
}
