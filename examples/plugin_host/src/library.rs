//! A plug-in: a library, the key that its allocator uses, and its entry points.

use std::ffi::{CStr, OsStr, c_char, c_void};
use std::mem::{self, ManuallyDrop};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use expert_alloc::capi::{self, EXPERTHOST, HEXPERTKEY};
use expert_alloc::{Expert, Reclaimed};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};

use crate::ALLOC;

type Register = unsafe extern "C-unwind" fn(*mut EnumInfo) -> u32;
type Configure =
    unsafe extern "C-unwind" fn(HEXPERTKEY, *mut *mut c_void, *const StartupInfo) -> u32;
type Run = unsafe extern "C-unwind" fn(HEXPERTKEY, *const c_void, *mut StartupInfo) -> u32;
type Attach = unsafe extern "C" fn(*const EXPERTHOST, HEXPERTKEY) -> u32;

/// `EXPERTENUMINFO` of `expert_plugin.h`.
#[repr(C)]
struct EnumInfo {
    name: [c_char; 64],
    description: [c_char; 192],
    version: u32,
}

/// `EXPERTSTARTUPINFO` of `expert_plugin.h`.
#[repr(C)]
pub struct StartupInfo {
    size: usize,
    data: *const c_void,
    data_bytes: usize,
    result: u64,
}

impl StartupInfo {
    fn new(data: &[u8]) -> Self {
        let (size, data, data_bytes) = (size_of::<Self>(), data.as_ptr().cast(), data.len());
        Self { size, data, data_bytes, result: 0 }
    }
}

/// The outcome of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The code: 0 for success.
    pub code: u32,
    pub result: u64,
    /// Blocks that it had not freed.
    pub reclaimed: Reclaimed,
}

/// A plug-in that is loaded.
pub struct Plugin {
    pub name: String,
    path: PathBuf,
    library: ManuallyDrop<Library>,
    /// Owns the blocks of the plug-in's own allocator. It is not dropped while the library
    /// is in memory.
    memory: ManuallyDrop<Expert>,
}

impl Plugin {
    /// Loads a library, asks whether it uses this heap, and attaches it.
    pub fn load(path: &Path) -> Result<Self, String> {
        // SAFETY: the constructors of a plug-in are trusted.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| error.to_string())?;
        let address = |name: &CStr| {
            // SAFETY: only the address is taken.
            let found = unsafe { library.get::<*mut c_void>(name.to_bytes()) };
            found.map_or(ptr::null_mut(), |symbol| symbol.as_raw_ptr())
        };
        // SAFETY: a plug-in has functions of this type under these names.
        if let Err(why) = unsafe { capi::probe(address) } {
            // The library stays loaded, because a thread that has used a second heap calls
            // that heap at its end.
            mem::forget(library);
            return Err(why.into());
        }
        let file = path.file_name().and_then(OsStr::to_str).unwrap_or("plug-in");
        let memory = ALLOC.expert(file).quota(256 << 20).register().map_err(|e| e.to_string())?;
        let (library, memory) = (ManuallyDrop::new(library), ManuallyDrop::new(memory));
        let mut plugin = Self { name: file.into(), path: path.into(), library, memory };
        plugin.attach()?;
        Ok(plugin)
    }

    fn attach(&mut self) -> Result<(), String> {
        if let Some(attach) = self.entry::<Attach>("ExpertPluginAttach") {
            // SAFETY: `memory` ends in `try_end` only, when the library is gone.
            let key = capi::handle(unsafe { self.memory.lend() });
            // SAFETY: what it is there for.
            match unsafe { attach(capi::ExpertHostTable(), key) } {
                0 => {}
                code => return Err(format!("it cannot be attached: {code}")),
            }
        }
        if let Some(register) = self.entry::<Register>("Register") {
            let mut info = EnumInfo { name: [0; 64], description: [0; 192], version: 0 };
            let mut code = 0;
            // SAFETY: `info` may be written to, and the call returns.
            let call = || code = unsafe { register(&raw mut info) };
            // SAFETY: nothing there has to be dropped.
            let outcome = unsafe { capi::call(self.memory.key(), call) };
            if (outcome, code) != (0, 0) {
                return Err(format!("it does not register: {outcome}, {code}"));
            }
            info.name[63] = 0;
            // SAFETY: ended by a 0.
            let name = unsafe { CStr::from_ptr(info.name.as_ptr()) };
            self.name = name.to_string_lossy().into_owned();
        }
        Ok(())
    }

    /// An entry point, which must not be called once the library is gone.
    pub fn entry<F: Copy>(&self, name: &str) -> Option<F> {
        // SAFETY: the types above are those of the header.
        let symbol: Symbol<F> = unsafe { self.library.get(name.as_bytes()) }.ok()?;
        Some(*symbol)
    }

    /// What calls `Run`.
    pub fn runner(&self) -> Runner {
        Runner(self.entry("Run"))
    }

    /// One run, on a thread of its own. After `limit` the run is told to stop.
    pub fn run(&self, config: *const c_void, data: &[u8], limit: Duration) -> Outcome {
        let expert = ALLOC.expert(&self.name).quota(256 << 20).register().expect("a slot is left");
        let (config, runner) = (config.expose_provenance(), self.runner());
        let done = thread::scope(|threads| {
            let (tell, told) = mpsc::channel();
            let expert = &expert;
            let running = threads.spawn(move || {
                let config = ptr::with_exposed_provenance(config);
                let done = runner.call(expert, config, data);
                let _ = tell.send(());
                done
            });
            if told.recv_timeout(limit).is_err() {
                expert.terminate();
            }
            running.join().unwrap_or((u32::MAX, 0))
        });
        Outcome { code: done.0, result: done.1, reclaimed: expert.finish() }
    }

    /// Calls `Configure`. The old configuration, a block of the host, is transferred to the
    /// key of this call, and the new one back to the host.
    pub fn configure(&self, config: *mut c_void) -> Result<*mut c_void, String> {
        let configure = self.entry::<Configure>("Configure").ok_or("there is no Configure")?;
        let expert = ALLOC.expert(&self.name).register().map_err(|e| e.to_string())?;
        let given = match config.is_null() {
            true => config,
            false => ALLOC
                .host()
                .transfer(config.cast(), &expert)
                .map_err(|e| e.to_string())?
                .as_ptr()
                .cast(),
        };
        let (startup, mut config, mut code) = (StartupInfo::new(&[]), given, 0);
        let key = capi::handle(expert.key());
        // SAFETY: as the header has it.
        let call = || code = unsafe { configure(key, &raw mut config, &raw const startup) };
        // SAFETY: nothing in `call` has to be dropped.
        let outcome = unsafe { capi::call(expert.key(), call) };
        if (outcome, code) != (0, 0) {
            return Err(format!("{outcome}, {code}"));
        }
        let kept = expert.transfer(config.cast(), &ALLOC.host()).map_err(|e| e.to_string())?;
        Ok(kept.as_ptr().cast())
    }

    /// Whether the library is in memory, closed or not. Closing it once more unloads it if
    /// the last thread with data of it has ended.
    fn is_in_memory(&self) -> bool {
        let is_found = || {
            // SAFETY: it is not loaded by that, so no code of it runs.
            unsafe { Library::open(Some(&self.path), RTLD_NOW | libc::RTLD_NOLOAD) }.is_ok()
        };
        is_found() && is_found()
    }

    /// Closes the library. The blocks of its allocator are freed with it, or later.
    pub fn unload(self) -> Closed {
        let Self { path, library, memory, name } = self;
        drop(ManuallyDrop::into_inner(library));
        let library = ManuallyDrop::new(Library::this());
        Closed(Self { name, path, library, memory })
    }
}

/// The entry point `Run` of a library, which must not be called once the library is gone.
#[derive(Clone, Copy)]
pub struct Runner(Option<Run>);

impl Runner {
    /// One run under this key, on the calling thread.
    pub fn run(self, expert: Expert, config: *const c_void, data: &[u8]) -> Outcome {
        let (code, result) = self.call(&expert, config, data);
        Outcome { code, result, reclaimed: expert.finish() }
    }

    /// The code and the result. No value here needs to be dropped, so a plug-in may leave
    /// the call in any way.
    fn call(self, expert: &Expert, config: *const c_void, data: &[u8]) -> (u32, u64) {
        let Some(run) = self.0 else { return (u32::MAX, 0) };
        let mut startup = StartupInfo::new(data);
        let (key, mut code) = (capi::handle(expert.key()), 0);
        // SAFETY: as the header has it.
        let call = || code = unsafe { run(key, config, &raw mut startup) };
        // SAFETY: nothing in `call` has to be dropped.
        let outcome = unsafe { capi::call(expert.key(), call) };
        (if outcome == 0 { code } else { outcome }, startup.result)
    }
}

/// A plug-in whose library was closed.
pub struct Closed(Plugin);

impl Closed {
    /// Takes its memory back, if the library is gone. It is not gone while any thread has
    /// data of it.
    pub fn try_end(self) -> Result<Reclaimed, Self> {
        if self.0.is_in_memory() {
            return Err(self);
        }
        let memory = ManuallyDrop::into_inner(self.0.memory);
        // SAFETY: the library is gone, and with it all code that could use its memory.
        Ok(unsafe { memory.reclaim_all() })
    }

    /// As [`try_end`](Self::try_end), for a library that no thread keeps. Returns how many
    /// blocks it had left.
    pub fn end(self) -> Result<usize, String> {
        let ended = self.try_end().map(|reclaimed| reclaimed.blocks);
        ended.map_err(|closed| format!("{} is still in memory", closed.0.name))
    }
}
