//! The allocators, each behind the lock that its crate offers.

pub use chosen::{HEAP, add};

#[cfg(feature = "experts")]
pub use chosen::experts;

#[cfg(not(any(
    feature = "expert",
    feature = "talc",
    feature = "rlsf",
    feature = "embedded-tlsf",
    feature = "embedded-llff",
    feature = "linked-list",
    feature = "buddy"
)))]
mod chosen {
    use core::alloc::{GlobalAlloc, Layout};
    use core::ptr::null_mut;

    /// No allocator, which shows the size of the program itself.
    pub struct None;

    pub static HEAP: None = None;

    // SAFETY: it gives nothing.
    unsafe impl GlobalAlloc for None {
        unsafe fn alloc(&self, _: Layout) -> *mut u8 {
            null_mut()
        }

        unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

        unsafe fn realloc(&self, _: *mut u8, _: Layout, _: usize) -> *mut u8 {
            null_mut()
        }
    }

    pub unsafe fn add(_: *mut u8, _: usize) {}
}

#[cfg(feature = "expert")]
mod chosen {
    use expert_alloc::ExpertHeap;

    pub static HEAP: ExpertHeap = ExpertHeap::empty();

    pub unsafe fn add(memory: *mut u8, len: usize) {
        // SAFETY: the caller's duty.
        unsafe { HEAP.add_region(memory, len) };
    }

    /// An expert with a quota, its raw blocks, its end.
    #[cfg(feature = "experts")]
    pub fn experts() -> Option<usize> {
        use core::hint::black_box;

        let expert = HEAP.expert("measured").quota(black_box(4096)).register().ok()?;
        let block = expert.alloc(black_box(100)).ok()?;
        let block = expert.realloc(block.as_ptr(), black_box(300)).ok()?;
        expert.free(block.as_ptr()).ok()?;
        black_box(HEAP.owner_of(block.as_ptr()));
        Some(expert.stats().live_bytes + expert.finish().blocks)
    }
}

#[cfg(feature = "talc")]
mod chosen {
    use talc::{TalcLock, source::Manual};

    #[global_allocator]
    pub static HEAP: TalcLock<spin::Mutex<()>, Manual> = TalcLock::new(Manual);

    pub unsafe fn add(memory: *mut u8, len: usize) {
        // SAFETY: the caller's duty.
        let _ = unsafe { HEAP.lock().claim(memory, len) };
    }
}

#[cfg(feature = "rlsf")]
mod chosen {
    use core::alloc::{GlobalAlloc, Layout};
    use core::ptr::{NonNull, null_mut};

    use rlsf::Tlsf;

    /// rlsf has no lock of its own.
    pub struct Locked(spin::Mutex<Tlsf<'static, u32, u32, 24, 32>>);

    pub static HEAP: Locked = Locked(spin::Mutex::new(Tlsf::new()));

    pub unsafe fn add(memory: *mut u8, len: usize) {
        let Some(memory) = NonNull::new(memory) else { return };
        let memory = NonNull::slice_from_raw_parts(memory, len);
        // SAFETY: the caller's duty.
        let _ = unsafe { HEAP.0.lock().insert_free_block_ptr(memory) };
    }

    // SAFETY: forwards to rlsf, which keeps the contract.
    unsafe impl GlobalAlloc for Locked {
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
}

#[cfg(any(feature = "embedded-tlsf", feature = "embedded-llff"))]
mod chosen {
    #[cfg(feature = "embedded-tlsf")]
    use embedded_alloc::TlsfHeap as Heap;

    #[cfg(feature = "embedded-llff")]
    use embedded_alloc::LlffHeap as Heap;

    pub static HEAP: Heap = Heap::empty();

    pub unsafe fn add(memory: *mut u8, len: usize) {
        // SAFETY: the caller's duty.
        unsafe { HEAP.init(memory.addr(), len) };
    }

    /// It does nothing, which is close to a critical section of two instructions.
    struct NoInterrupts;
    critical_section::set_impl!(NoInterrupts);

    // SAFETY: the program is not run.
    unsafe impl critical_section::Impl for NoInterrupts {
        unsafe fn acquire() {}
        unsafe fn release((): ()) {}
    }
}

#[cfg(feature = "linked-list")]
mod chosen {
    use linked_list_allocator::LockedHeap;

    pub static HEAP: LockedHeap = LockedHeap::empty();

    pub unsafe fn add(memory: *mut u8, len: usize) {
        // SAFETY: the caller's duty.
        unsafe { HEAP.lock().init(memory, len) };
    }
}

#[cfg(feature = "buddy")]
mod chosen {
    use buddy_system_allocator::LockedHeap;

    #[global_allocator]
    pub static HEAP: LockedHeap<32> = LockedHeap::new();

    pub unsafe fn add(memory: *mut u8, len: usize) {
        // SAFETY: the caller's duty.
        unsafe { HEAP.lock().init(memory.addr(), len) };
    }
}
