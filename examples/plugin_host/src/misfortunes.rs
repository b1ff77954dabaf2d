//! Faults of plug-ins, one after another, and the host's reaction to each.

use std::ffi::c_void;
use std::fs;
use std::path::Path;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::ALLOC;
use crate::library::{Outcome, Plugin};
use crate::memory::threads;

/// A fault: its name, and the function that causes it. The function returns the outcome in
/// a few words, or an error.
pub type Misfortune = (&'static str, fn(&Path) -> Result<String, String>);

/// All of them.
pub const ALL: &[Misfortune] = &[
    ("a C++ exception", |folder| fails(folder, "throws.so", 69)),
    ("a Rust panic", |folder| fails(folder, "libpanics.so", 69)),
    ("longjmp over the host", jumps),
    ("pthread_exit", |folder| fails(folder, "exits.so", 69)),
    ("a leak of 100 MB", leaks),
    ("a double free", |folder| fails(folder, "double_free.so", 76)),
    ("a free of another's", foreign_free),
    ("a stale pointer", stale),
    ("an endless loop", endless),
    ("a thread left running", leaves_a_thread),
    ("unloaded under a thread", unloaded_under_a_thread),
    ("a second heap in Rust", |folder| second_heap(folder, "libsecond_heap.so")),
    ("a second heap in C", |folder| second_heap(folder, "own_heap.so")),
    ("64 plug-ins", many),
];

const LIMIT: Duration = Duration::from_secs(20);
const TEXT: &[u8] = b"to be or not to be";

fn check(holds: bool, what: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.into()) }
}

/// Runs a plug-in once, and unloads it.
fn play(folder: &Path, file: &str, data: &[u8], limit: Duration) -> Result<Outcome, String> {
    let plugin = Plugin::load(&folder.join(file))?;
    let outcome = plugin.run(ptr::null(), data, limit);
    plugin.unload().end()?;
    Ok(outcome)
}

fn told(outcome: &Outcome) -> String {
    format!("code {}, {} blocks back", outcome.code, outcome.reclaimed.blocks)
}

/// A run that gives this code.
fn fails(folder: &Path, file: &str, code: u32) -> Result<String, String> {
    let outcome = play(folder, file, TEXT, LIMIT)?;
    check(outcome.code == code, told(&outcome))?;
    Ok(told(&outcome))
}

fn leaks(folder: &Path) -> Result<String, String> {
    let outcome = play(folder, "leaks.so", TEXT, LIMIT)?;
    check(outcome.code == 0 && outcome.reclaimed.bytes >= 100_000_000, told(&outcome))?;
    Ok(told(&outcome))
}

/// The plug-in calls the host, the host calls the plug-in, and the plug-in jumps over the
/// host.
fn jumps(folder: &Path) -> Result<String, String> {
    type CallsHost =
        unsafe extern "C-unwind" fn(extern "C-unwind" fn(*mut c_void), *mut c_void) -> i32;

    struct Called<'a> {
        plugin: &'a Plugin,
        outcome: Option<Outcome>,
    }

    extern "C-unwind" fn host(called: *mut c_void) {
        // SAFETY: what is given below.
        let called = unsafe { &mut *called.cast::<Called<'_>>() };
        let expert = ALLOC.expert("jumps").register().expect("a slot is left");
        called.outcome = Some(called.plugin.runner().run(expert, ptr::null(), TEXT));
    }

    let plugin = Plugin::load(&folder.join("jumps.so"))?;
    let calls_host = plugin.entry::<CallsHost>("CallsHost").ok_or("no CallsHost")?;
    let mut called = Called { plugin: &plugin, outcome: None };
    // SAFETY: the callback gets what it expects.
    let came_by_jump = unsafe { calls_host(host, (&raw mut called).cast()) };
    let outcome = called.outcome.take().ok_or("the host was jumped over")?;
    plugin.unload().end()?;
    check(came_by_jump == 0 && outcome.code == 69, told(&outcome))?;
    check(outcome.reclaimed.blocks == 1, told(&outcome))?;
    Ok(told(&outcome))
}

/// The plug-in frees the data that it was given to read.
fn foreign_free(folder: &Path) -> Result<String, String> {
    let other = ALLOC.expert("other").register().map_err(|e| e.to_string())?;
    let block = other.alloc(100).map_err(|e| e.to_string())?;
    // SAFETY: a live block of 100 bytes, zero-filled.
    let data = unsafe { std::slice::from_raw_parts(block.as_ptr(), 100) };
    let outcome = play(folder, "foreign_free.so", data, LIMIT)?;
    check(outcome.code == 74 && other.size(block.as_ptr()) == 100, told(&outcome))?;
    Ok(told(&outcome))
}

fn stale(folder: &Path) -> Result<String, String> {
    let plugin = Plugin::load(&folder.join("stale.so"))?;
    let first = plugin.run(ptr::null(), TEXT, LIMIT);
    let second = plugin.run(ptr::null(), TEXT, LIMIT);
    plugin.unload().end()?;
    check((first.code, second.code) == (0, 76), told(&second))?;
    Ok(told(&second))
}

fn endless(folder: &Path) -> Result<String, String> {
    let began = Instant::now();
    let outcome = play(folder, "endless.so", TEXT, Duration::from_millis(100))?;
    check(outcome.code == 125, told(&outcome))?;
    Ok(format!("code 125 after {} ms", began.elapsed().as_millis()))
}

/// After the end of the run, the thread is refused memory and ends. Then the library can be
/// unloaded.
///
/// Threads are told apart and not counted, because a thread of the host may end meanwhile,
/// even one that was joined before. If that counted as the end of the plug-in's thread,
/// code that runs would be unloaded.
fn leaves_a_thread(folder: &Path) -> Result<String, String> {
    let (ends, waits) = mpsc::channel::<()>();
    let of_host = thread::spawn(move || waits.recv());
    let before = threads();
    let plugin = Plugin::load(&folder.join("thread.so"))?;
    let outcome = plugin.run(ptr::null(), TEXT, LIMIT);
    drop(ends);
    let _ = of_host.join();
    let (began, is_left) = (Instant::now(), || !threads().is_subset(&before));
    while is_left() && began.elapsed() < LIMIT {
        thread::sleep(Duration::from_millis(1));
    }
    if is_left() {
        std::mem::forget(plugin);
        return Err("its thread does not end: the library stays".into());
    }
    plugin.unload().end()?;
    check(outcome.code == 0, told(&outcome))?;
    Ok(format!("{}, the thread ended", told(&outcome)))
}

/// A thread of the host calls a plug-in, which keeps data for the thread. The plug-in is
/// closed, but it and its memory stay until the thread ends.
fn unloaded_under_a_thread(folder: &Path) -> Result<String, String> {
    let plugin = Plugin::load(&folder.join("liblingers.so"))?;
    let runner = plugin.runner();
    let (ran, goes) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|threads| {
        let worker = threads.spawn(|| {
            let expert = ALLOC.expert("lingers").register().expect("a slot is left");
            let outcome = runner.run(expert, ptr::null(), TEXT);
            ran.wait();
            goes.wait();
            outcome
        });
        ran.wait();
        let closed = plugin.unload().try_end();
        goes.wait();
        let outcome = worker.join().map_err(|_| "the thread panicked")?;
        check(outcome.code == 0 && outcome.result == TEXT.len() as u64, told(&outcome))?;
        let Err(closed) = closed else { return Err("it was gone under the thread".into()) };
        let blocks = closed.end()?;
        Ok(format!("it stayed until the thread ended, {blocks} blocks back"))
    })
}

fn second_heap(folder: &Path, file: &str) -> Result<String, String> {
    match Plugin::load(&folder.join(file)) {
        Ok(_) => Err("nobody noticed".into()),
        Err(why) if why.contains("second heap") => Ok(why.split(':').next().unwrap_or("").into()),
        Err(why) => Err(why),
    }
}

/// 64 plug-ins, each called by four threads, and closed in random order while the threads
/// live.
fn many(folder: &Path) -> Result<String, String> {
    const PLUGINS: usize = 64;
    // The order differs each time.
    static ORDER: AtomicUsize = AtomicUsize::new(0);
    let order = ORDER.fetch_add(2, Relaxed) + process::id() as usize;
    // The folder belongs to this process alone, because another process's libraries must
    // not be overwritten.
    let copies = folder.join(format!("copies-{}", process::id()));
    // The files are new, because a loaded library must not be overwritten.
    if copies.exists() {
        fs::remove_dir_all(&copies).map_err(|e| e.to_string())?;
    }
    fs::create_dir_all(&copies).map_err(|e| e.to_string())?;
    let mut plugins = Vec::new();
    for number in 0..PLUGINS {
        // Two of three stay in memory while a thread lives that has called them.
        let original = ["libdistinct.so", "liblingers.so", "liblingers.so"][number % 3];
        let copy = copies.join(format!("copy{number}.so"));
        fs::copy(folder.join(original), &copy).map_err(|e| e.to_string())?;
        plugins.push(Plugin::load(&copy).map_err(|why| format!("number {number}: {why}"))?);
    }
    let runners: Vec<_> = plugins.iter().map(Plugin::runner).collect();
    let (ran, goes) = (Barrier::new(5), Barrier::new(5));
    let lingering = thread::scope(|threads| {
        let call_all = || {
            threads.spawn(|| {
                for (number, runner) in runners.iter().enumerate() {
                    let expert = ALLOC.expert("many").register().expect("a slot is left");
                    let outcome = runner.run(expert, ptr::null(), TEXT);
                    let expected = if number % 3 == 0 { 4 } else { TEXT.len() as u64 };
                    assert_eq!((outcome.code, outcome.result), (0, expected));
                }
                ran.wait();
                goes.wait();
            })
        };
        let callers = [(); 4].map(|()| call_all());
        ran.wait();
        let mut lingering = Vec::new();
        let mut place = 7;
        while !plugins.is_empty() {
            place = (place * 31 + 17 + order) % plugins.len();
            lingering.extend(plugins.swap_remove(place).unload().try_end().err());
        }
        goes.wait();
        // The end of the scope does not wait for the destructors that threads run at their
        // end.
        for caller in callers {
            caller.join().map_err(|_| "a thread panicked")?;
        }
        Ok::<_, String>(lingering)
    })?;
    let stayed = lingering.len();
    for closed in lingering {
        closed.end()?;
    }
    fs::remove_dir_all(&copies).map_err(|e| e.to_string())?;
    check(stayed == PLUGINS - PLUGINS.div_ceil(3), format!("{stayed} stayed"))?;
    Ok(format!("{} went at once, {stayed} with the threads", PLUGINS - stayed))
}
