//! A Rust plug-in with a standard library of its own, whose clean-ups panic. The panics are
//! caught and counted, destructors run, and the plug-in's own panics work as before.

use std::ffi::{c_char, c_void};
use std::ptr::null_mut;

unsafe extern "C" {
    fn ExpertRegisterKey(name: *const c_char, quota: usize, error: *mut u32) -> *mut c_void;
    fn ExpertReclaimKey(key: *mut c_void, report: *mut c_void) -> u32;
    fn ExpertOnReclaim(
        key: *mut c_void,
        cleanup: unsafe extern "C-unwind" fn(*mut c_void),
        context: *mut c_void,
    ) -> u32;
}

const INTERNAL_EXCEPTION: u32 = 69;

struct Counted(*mut c_void);

impl Drop for Counted {
    fn drop(&mut self) {
        // SAFETY: the counter of `main`.
        unsafe { *self.0.cast::<u32>() += 1 };
    }
}

unsafe extern "C-unwind" fn panics(count: *mut c_void) {
    let _counted = Counted(count);
    panic!("out of a clean-up");
}

fn main() {
    std::panic::set_hook(Box::new(|_| ()));
    let mut destroyed = 0_u32;
    for _ in 0..100 {
        // SAFETY: a string, and no code is wanted.
        let key = unsafe { ExpertRegisterKey(c"panics".as_ptr(), 0, null_mut()) };
        // SAFETY: the counter outlives the expert.
        assert_eq!(unsafe { ExpertOnReclaim(key, panics, (&raw mut destroyed).cast()) }, 0);
        // SAFETY: no report is wanted.
        assert_eq!(unsafe { ExpertReclaimKey(key, null_mut()) }, INTERNAL_EXCEPTION);
    }
    assert_eq!(destroyed, 100);
    let caught = std::panic::catch_unwind(|| panic!("its own"));
    println!("{}", caught.unwrap_err().downcast_ref::<&str>().unwrap());
}
