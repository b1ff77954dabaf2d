//! The cost of an allocation and a free: by a handle in the host, by a plug-in's global
//! allocator, and by key.

use std::ffi::c_void;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use expert_alloc::capi;

use crate::ALLOC;
use crate::library::Plugin;

/// Pairs in a round: so few that the round is over before another process gets the core.
const PAIRS: u64 = 10_000;
const ROUNDS: usize = 500;

/// Nanoseconds a pair, the smallest of some rounds.
pub struct Costs {
    pub handle: f64,
    pub plugin: f64,
    pub keyed: f64,
}

fn smallest(mut round: impl FnMut() -> u64) -> f64 {
    let best = (0..ROUNDS).map(|_| round()).min().unwrap_or(0);
    best as f64 / PAIRS as f64
}

/// Measures them.
pub fn measure(folder: &Path) -> Result<Costs, String> {
    type Pairs = unsafe extern "C" fn(u64, *mut u64) -> u32;
    type Keyed = unsafe extern "C" fn(*mut c_void, u64, *mut u64) -> u32;
    let plugin = Plugin::load(&folder.join("libcosts.so"))?;
    let expert = ALLOC.expert("costs").register().map_err(|e| e.to_string())?;
    let handle = smallest(|| {
        let new = || allocator_api2::boxed::Box::<[u64; 8], _>::new_uninit_in(expert.allocator());
        drop(black_box(new()));
        let began = Instant::now();
        for _ in 0..PAIRS {
            drop(black_box(new()));
        }
        began.elapsed().as_nanos() as u64
    });
    let pairs = plugin.entry::<Pairs>("allocator_pairs").ok_or("no allocator_pairs")?;
    let keyed = plugin.entry::<Keyed>("keyed_pairs").ok_or("no keyed_pairs")?;
    let mut nanoseconds = 0;
    let (place, key) = (&raw mut nanoseconds, capi::handle(expert.key()));
    let plugins = smallest(|| {
        // SAFETY: as the plug-in has it.
        unsafe { pairs(PAIRS, place) };
        // SAFETY: written by the call.
        unsafe { place.read() }
    });
    let keyed = smallest(|| {
        // SAFETY: as the plug-in has it.
        unsafe { keyed(key, PAIRS, place) };
        // SAFETY: written by the call.
        unsafe { place.read() }
    });
    plugin.unload().end()?;
    Ok(Costs { handle, plugin: plugins, keyed })
}
