//! The cost of an allocation and a free in a plug-in, measured by entry points of its own.

use expert_alloc_plugin::{Key, entry, heap};
use std::ffi::c_void;
use std::hint::black_box;
use std::time::Instant;

heap!();

entry! {
    /// The plug-in's global allocator.
    ///
    /// # Safety
    ///
    /// - S1 `nanoseconds` may be written to.
    unsafe fn allocator_pairs(pairs: u64, nanoseconds: *mut u64) {
        // The first pair is slower.
        drop(black_box(Box::new([0_u64; 8])));
        let began = Instant::now();
        for _ in 0..pairs {
            drop(black_box(Box::<[u64; 8]>::new_uninit()));
        }
        // SAFETY: S1.
        unsafe { nanoseconds.write(began.elapsed().as_nanos() as u64) };
        Ok(())
    }
}

entry! {
    /// The calls by key.
    ///
    /// # Safety
    ///
    /// - S1 `nanoseconds` may be written to.
    unsafe fn keyed_pairs(key: *mut c_void, pairs: u64, nanoseconds: *mut u64) {
        let key = Key::from_raw(key);
        key.free(key.alloc(64)?.as_ptr())?;
        let began = Instant::now();
        for _ in 0..pairs {
            key.free(black_box(key.alloc(64)?.as_ptr()))?;
        }
        // SAFETY: S1.
        unsafe { nanoseconds.write(began.elapsed().as_nanos() as u64) };
        Ok(())
    }
}
