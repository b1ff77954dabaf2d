//! Tests of keys of libraries, which a plug-in's allocator uses as long as its library is
//! loaded.

use std::ffi::c_void;
use std::ptr;

use expert_alloc::capi::{
    self, ExpertHostTable, ExpertOnReclaim, ExpertReclaimPlugin, ExpertRegisterPlugin, HEXPERTKEY,
};

use super::{ALLOC, expert};

const ACCESS_DENIED: u32 = 74;
const INVALID_HANDLE: u32 = 130;

/// A clean-up in the code of a library, which cannot be called once the library is gone.
unsafe extern "C-unwind" fn in_the_library(_: *mut c_void) {
    unreachable!("the library is gone");
}

fn on_reclaim(key: HEXPERTKEY) -> u32 {
    // SAFETY: it may be called with null.
    unsafe { ExpertOnReclaim(key, Some(in_the_library), ptr::null_mut()) }
}

#[test]
fn no_clean_up_outlives_its_library() {
    let loaded = expert("loaded");
    // SAFETY: there is no library, and the expert ends below.
    let key = capi::handle(unsafe { loaded.lend() });
    assert_eq!(on_reclaim(key), ACCESS_DENIED);
    // SAFETY: nobody uses its memory.
    assert_eq!(unsafe { loaded.reclaim_all() }.cleanups_failed, 0);
    assert_eq!(on_reclaim(key), INVALID_HANDLE);

    let mut error = 0;
    // SAFETY: a string, and a word that may be written to.
    let key = unsafe { ExpertRegisterPlugin(c"loaded".as_ptr(), 1 << 20, &mut error) };
    assert_eq!((error, on_reclaim(key)), (0, ACCESS_DENIED));
    // SAFETY: no plug-in runs, and the report may be null.
    assert_eq!(unsafe { ExpertReclaimPlugin(key, ptr::null_mut()) }, 0);
}

/// The table has 128 places for keys of libraries. Words that are no key find nothing, and
/// keys that share a place find their own account or nothing.
#[test]
fn a_table_serves_no_other_key() {
    // SAFETY: the host's table stays for ever.
    let table = unsafe { &*ExpertHostTable() };
    let take = |key: HEXPERTKEY| (table.allocate)(key, 64, 8);
    let words = [0, 1, 2, 1 << 31, 1 << 32, usize::MAX, 1 << (usize::BITS - 1)];
    for key in words.map(ptr::without_provenance_mut) {
        assert!(take(key).is_null(), "{key:?} is no key");
    }
    // There are more keys than places.
    let loaded: Vec<_> = (0..300).map(|_| expert("loaded")).collect();
    // SAFETY: there is no library, and all end below.
    let keys: Vec<_> = loaded.iter().map(|it| capi::handle(unsafe { it.lend() })).collect();
    for _ in 0..3 {
        for key in &keys {
            let block = take(*key);
            assert_eq!(capi::ExpertOwnerOf(block), *key);
            // SAFETY: the live block of this table.
            unsafe { (table.release)(block, 64, 8) };
        }
    }
    // This key was not lent, although a handle of its expert was served last in this
    // thread.
    let run = expert("run");
    let boxed = allocator_api2::boxed::Box::new_in([0_u64; 8], run.allocator());
    assert_eq!(ALLOC.owner_of(&*boxed), Some(run.key()));
    assert!(take(capi::handle(run.key())).is_null(), "a run's key is not a library's");
    drop(boxed);
    for one in loaded {
        assert_eq!(one.stats().live_blocks, 0);
        // SAFETY: nobody uses its memory.
        assert_eq!(unsafe { one.reclaim_all() }.blocks, 0);
    }
    assert!(keys.into_iter().all(|key| take(key).is_null()), "stale keys find nothing");
    #[cfg(feature = "testing-delays")]
    assert!(expert_alloc::testing::entered(expert_alloc::testing::Window::Lent) > 0);
}
