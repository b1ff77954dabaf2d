//! Tests of the crate with the library: both have the same table, and the heap is the
//! host's. This program is host and plug-in at once, with two allocators.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::CStr;
use std::mem::offset_of;
use std::ptr;

use expert_alloc::capi::{self, EXPERTHOST, EXPERTMEMORYSTATS};
use expert_alloc::{ExpertAlloc, State};
use expert_alloc_plugin::{
    Configuration, EnumInfo, Error, Heap, Host, Key, Plugin, Run, StartupInfo, Stats, attach,
};

const HEAP: ExpertAlloc = ExpertAlloc::new();

#[test]
fn the_tables_are_the_same() {
    macro_rules! same {
        ($($field:ident)*) => {
            $(assert_eq!(offset_of!(Host, $field), offset_of!(EXPERTHOST, $field));)*
        };
    }
    same!(size identity allocate allocate_zeroed release resize alloc_memory realloc_memory
        free_memory memory_size alloc_aligned on_reclaim memory_stats check);
    assert_eq!(size_of::<Host>(), size_of::<EXPERTHOST>());
    macro_rules! same_figures {
        ($($field:ident)*) => {
            $(assert_eq!(offset_of!(Stats, $field), offset_of!(EXPERTMEMORYSTATS, $field));)*
        };
    }
    same_figures!(live_bytes live_blocks peak_bytes charged_bytes quota allocations frees refusals);
    assert_eq!(size_of::<Stats>(), size_of::<EXPERTMEMORYSTATS>());
}

struct Sums;

impl Plugin for Sums {
    const NAME: &str = "sums";

    fn configure(configuration: &mut Configuration) -> Result<(), Error> {
        let mut next = configuration.bytes().to_vec();
        next.push(next.len() as u8);
        configuration.set(&next)
    }

    fn run(run: &mut Run) -> Result<(), Error> {
        assert!(run.data().len() < 10, "too long");
        let key = run.key();
        let before = key.stats()?.live_blocks;
        let block = key.alloc(100)?.as_ptr();
        assert_eq!((key.size(block), key.stats()?.live_blocks), (100, before + 1));
        let wide = key.alloc_aligned(10, 256, false)?;
        assert_eq!(wide.addr().get() % 256, 0);
        assert_eq!(key.free(wide.as_ptr()), Ok(()));
        assert_eq!(key.free(wide.as_ptr()), Err(Error::INVALID_PARAMETER));
        let block = key.realloc(block, 5000)?.as_ptr();
        assert_eq!(Key::from_raw(ptr::null_mut()).free(block), Err(Error::INVALID_KEY));
        run.check()?;
        let sum = run.data().iter().chain(run.config()).map(|&byte| u64::from(byte)).sum();
        run.set_result(sum);
        Ok(())
    }
}

/// The items that `plugin!` defines, without its global allocator, because this program has
/// one.
mod entries {
    use expert_alloc_plugin::{caught, macros};
    use std::ffi::c_void;

    pub fn run(key: *mut c_void, config: *mut c_void, startup: *mut c_void) -> u32 {
        // SAFETY: the caller below is a host that keeps the contract.
        caught!(unsafe { macros::run::<super::Sums>(key, config, startup) })
    }
}

#[test]
fn the_heap_is_the_hosts() {
    let library = HEAP.expert("library").quota(1 << 20).register().unwrap();
    // SAFETY: it ends at the end of this test, and there is no library.
    let key = unsafe { library.lend() };
    let table = capi::ExpertHostTable().cast::<Host>();
    // SAFETY: no layout of size 0.
    assert!(unsafe { Heap.alloc(Layout::new::<u64>()) }.is_null(), "there is no host yet");
    // SAFETY: a null table is refused.
    assert_eq!(unsafe { attach(ptr::null(), capi::handle(key)) }, Err(Error::INVALID_PARAMETER));
    // SAFETY: the host's table, and a key that was lent.
    assert_eq!(unsafe { attach(table, capi::handle(key)) }, Ok(()));
    // SAFETY: as above.
    assert_eq!(unsafe { attach(table, capi::handle(key)) }, Ok(()), "it is so already");
    // SAFETY: as above.
    let again = unsafe { attach(table, capi::handle(HEAP.host().key())) };
    assert_eq!(again, Err(Error::ACCESS_DENIED));

    let host = HEAP.host().stats().live_blocks;
    let mut seed = 1_usize;
    for round in 0..2000 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let layout = Layout::from_size_align(1 + (seed >> 40) % 20_000, 1 << (seed >> 60)).unwrap();
        let zeroed = round % 2 == 0;
        // SAFETY: not of size 0.
        let plain = || unsafe { Heap.alloc(layout) };
        // SAFETY: not of size 0.
        let filled = || unsafe { Heap.alloc_zeroed(layout) };
        let block = if zeroed { filled() } else { plain() };
        assert!(!block.is_null() && block.addr() % layout.align() == 0);
        assert_eq!(HEAP.owner_of(block), Some(key));
        // SAFETY: a block of this size.
        let bytes = unsafe { std::slice::from_raw_parts_mut(block, layout.size()) };
        assert!(!zeroed || bytes.iter().all(|&byte| byte == 0));
        bytes.fill(7);
        // SAFETY: a live block of this layout.
        let block = unsafe { Heap.realloc(block, layout, layout.size() * 2) };
        assert!(!block.is_null() && block.addr() % layout.align() == 0);
        // SAFETY: as many bytes were kept.
        let kept = unsafe { std::slice::from_raw_parts(block, layout.size()) };
        assert!(kept.iter().all(|&byte| byte == 7));
        let layout = Layout::from_size_align(layout.size() * 2, layout.align()).unwrap();
        // SAFETY: a live block of this layout.
        unsafe { Heap.dealloc(block, layout) };
    }
    assert_eq!((library.stats().live_blocks, library.state()), (0, State::Live));
    assert_eq!(HEAP.host().stats().live_blocks, host);

    // A request beyond the quota is granted, and `check` reports that.
    let large = Layout::from_size_align(4 << 20, 8).unwrap();
    // SAFETY: not of size 0.
    let block = unsafe { Heap.alloc(Layout::new::<[u8; 100_000]>()) };
    // SAFETY: a live block of this layout.
    let block = unsafe { Heap.realloc(block, Layout::new::<[u8; 100_000]>(), large.size()) };
    assert!(!block.is_null() && HEAP.owner_of(block) == Some(key));
    assert_eq!(library.state(), State::Overdrawn);
    // SAFETY: not of size 0.
    let small = unsafe { Heap.alloc(Layout::new::<u64>()) };
    assert!(!small.is_null(), "Rust code is not refused");
    // SAFETY: a live block of this layout.
    unsafe { Heap.dealloc(block, large) };
    assert_eq!(capi::ExpertCheck(capi::handle(key)), Error::TERMINATE.code());

    run_goes_over_the_border();
    // A key that was not lent has no memory for an allocator.
    let other = HEAP.expert("other").register().unwrap();
    // SAFETY: `TABLE` is the host's.
    let host = unsafe { &*table };
    assert!((host.allocate)(capi::handle(other.key()), 8, 8).is_null());
    assert!((host.allocate)(capi::handle(key), 8, 3).is_null(), "no alignment");
    assert!((host.allocate_zeroed)(ptr::null_mut(), 8, 8).is_null());
    // SAFETY: S1: only `small` is left, and it is not used any more.
    assert_eq!(unsafe { library.reclaim_all() }.blocks, 1);
    // SAFETY: not of size 0.
    assert!(unsafe { Heap.alloc(Layout::new::<u64>()) }.is_null(), "the key is stale");
}

fn run_goes_over_the_border() {
    let expert = HEAP.expert("run").register().unwrap();
    let key = capi::handle(expert.key());
    let mut info = EnumInfo { name: [1; 64], description: [1; 192], version: 0 };
    // SAFETY: `info` may be written to.
    assert_eq!(unsafe { expert_alloc_plugin::register::<Sums>(&raw mut info) }, 0);
    // SAFETY: ended by a 0.
    assert_eq!(unsafe { CStr::from_ptr(info.name.as_ptr()) }, c"sums");

    let mut config = ptr::null_mut();
    for _ in 0..3 {
        let place = &raw mut config;
        // SAFETY: null, or what was made before.
        let code = unsafe { expert_alloc_plugin::macros::configure::<Sums>(key, place) };
        assert_eq!(code, 0);
    }
    let data = [1_u8, 2, 3];
    let run = |bytes: &[u8]| {
        let (data, data_bytes) = (bytes.as_ptr().cast(), bytes.len());
        let size = size_of::<StartupInfo>();
        let mut startup = StartupInfo { size, data, data_bytes, result: 0 };
        (entries::run(key, config, (&raw mut startup).cast()), startup.result)
    };
    assert_eq!(run(&data), (0, 1 + 2 + 3 + 1 + 2));
    assert_eq!(run(&[0; 10]).0, Error::INTERNAL_EXCEPTION.code(), "the panic is caught");
    expert.terminate();
    assert_eq!(run(&data).0, Error::TERMINATE.code());
    assert_eq!(expert.finish().blocks, 2);
}
