//! The allocators over a fixed region, each behind the lock that its crate
//! offers for a global allocator.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::{NonNull, null_mut};

use bench_peers::measure::Run;

/// Memory for one heap, page-aligned.
pub struct Region {
    start: NonNull<u8>,
    layout: Layout,
}

impl Region {
    pub fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, 4096).expect("regions are small");
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) });
        Self { start: start.expect("memory is left"), layout }
    }

    fn start(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    fn bytes(&self) -> usize {
        self.layout.size()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout. Heaps over it are not used any
        // more: the experiments end with them.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

type Make = fn(&mut Region) -> Box<dyn GlobalAlloc>;

/// All allocators, in the order of their numbers.
const HEAPS: &[(&str, Make)] = &[
    #[cfg(feature = "small-expert")]
    ("ExpertHeap", expert_heap),
    ("talc", talc),
    ("rlsf", rlsf),
    ("embedded-alloc (TLSF)", embedded_tlsf),
    ("embedded-alloc (LLFF)", embedded_llff),
    ("linked_list_allocator", linked_list),
    ("buddy_system_allocator", buddy),
];

/// Runs an experiment with the heap that the arguments choose.
pub fn with(run: &mut Run, experiment: fn(&mut Run, Make)) {
    let (_, make) = HEAPS[run.arguments.get("peer", 0)];
    experiment(run, make);
}

#[cfg(feature = "small-expert")]
fn expert_heap(region: &mut Region) -> Box<dyn GlobalAlloc> {
    let heap = expert_alloc::ExpertHeap::<spin::Mutex<()>>::empty();
    // SAFETY: the region is ours, and outlives the heap's use.
    unsafe { heap.add_region(region.start(), region.bytes()) };
    Box::new(heap)
}

fn talc(region: &mut Region) -> Box<dyn GlobalAlloc> {
    use talc::{TalcLock, source::Manual};

    let heap = TalcLock::<spin::Mutex<()>, Manual>::new(Manual);
    // SAFETY: the region is ours, and outlives the heap's use.
    let claimed = unsafe { heap.lock().claim(region.start(), region.bytes()) };
    claimed.expect("the region is large enough");
    Box::new(heap)
}

fn rlsf(region: &mut Region) -> Box<dyn GlobalAlloc> {
    let mut heap = rlsf::Tlsf::new();
    let block = NonNull::slice_from_raw_parts(region.start, region.bytes());
    // SAFETY: the region is ours, and outlives the heap's use.
    let inserted = unsafe { heap.insert_free_block_ptr(block) };
    inserted.expect("the region is large enough");
    Box::new(Rlsf(spin::Mutex::new(heap)))
}

/// rlsf has no lock of its own.
struct Rlsf(spin::Mutex<rlsf::Tlsf<'static, u32, u32, 24, 32>>);

// SAFETY: forwards to rlsf, which keeps the contract.
unsafe impl GlobalAlloc for Rlsf {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: of a block, never null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller's duty.
        unsafe { self.0.lock().deallocate(block, layout.align()) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(new) = Layout::from_size_align(size, layout.align()) else { return null_mut() };
        // SAFETY: of a block, never null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller's duty.
        let moved = unsafe { self.0.lock().reallocate(block, new) };
        moved.map_or(null_mut(), NonNull::as_ptr)
    }
}

fn embedded_tlsf(region: &mut Region) -> Box<dyn GlobalAlloc> {
    let heap = embedded_alloc::TlsfHeap::empty();
    // SAFETY: the region is ours, and outlives the heap's use.
    unsafe { heap.init(region.start() as usize, region.bytes()) };
    Box::new(heap)
}

fn embedded_llff(region: &mut Region) -> Box<dyn GlobalAlloc> {
    let heap = embedded_alloc::LlffHeap::empty();
    // SAFETY: the region is ours, and outlives the heap's use.
    unsafe { heap.init(region.start() as usize, region.bytes()) };
    Box::new(heap)
}

fn linked_list(region: &mut Region) -> Box<dyn GlobalAlloc> {
    // SAFETY: the region is ours, and outlives the heap's use.
    Box::new(unsafe { linked_list_allocator::LockedHeap::new(region.start(), region.bytes()) })
}

fn buddy(region: &mut Region) -> Box<dyn GlobalAlloc> {
    let heap = buddy_system_allocator::LockedHeap::<32>::new();
    // SAFETY: the region is ours, and outlives the heap's use.
    unsafe { heap.lock().init(region.start() as usize, region.bytes()) };
    Box::new(heap)
}

/// The lock of embedded-alloc. It does nothing, because there is one thread here; on a
/// single core a critical section takes two instructions.
struct NoInterrupts;
critical_section::set_impl!(NoInterrupts);

// SAFETY: this program has one thread while these heaps are in use.
unsafe impl critical_section::Impl for NoInterrupts {
    unsafe fn acquire() {}
    unsafe fn release((): ()) {}
}
