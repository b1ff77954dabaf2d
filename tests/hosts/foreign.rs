//! Tests of exceptions of other languages and runtimes, from shared libraries that are
//! loaded at run time.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::cell::Cell;
use std::env;
use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;

use expert_alloc::FailureKind;

use super::{ALLOC, block_on, expert, host, owner};

type Function = unsafe extern "C-unwind" fn();

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/plugins").join(name)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
}

/// The function of this name in a library, which stays loaded.
fn load(library: &Path, name: &str) -> *mut c_void {
    let library = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: a string; the library is one of this test's.
    let handle = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!handle.is_null(), "{library:?} does not load");
    let name = CString::new(name).unwrap();
    // SAFETY: a handle, and a string.
    let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
    assert!(!found.is_null(), "no {name:?}");
    found
}

fn function(library: &Path, name: &str) -> Function {
    // SAFETY: a function of this type, as its source says.
    unsafe { std::mem::transmute(load(library, name)) }
}

fn target(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
}

/// The plug-in in C++; `None` if there is no compiler.
fn cpp(name: &str) -> Option<PathBuf> {
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    Command::new(&compiler).arg("--version").output().ok()?;
    let library = target(name);
    let mut build = Command::new(compiler);
    build.args(["-std=c++11", "-shared", "-fPIC", "-fexceptions"]);
    run(build.arg(source("throws.cpp")).arg("-o").arg(&library));
    Some(library)
}

#[test]
fn an_exception_of_cpp_is_an_outcome() {
    let Some(library) = cpp("throws.so") else { return };
    let expert = expert("in C++");
    for (name, said) in [
        ("throws", "threw: a C++ exception of type St13runtime_error"),
        ("throws_a_number", "threw: a C++ exception of type i"),
    ] {
        let throws = function(&library, name);
        for _ in 0..100 {
            let dropped = Cell::new(false);
            let failure = expert.run(|| {
                let _counted = Counted(&dropped);
                // SAFETY: it takes nothing and may throw.
                unsafe { throws() };
            });
            let failure = failure.unwrap_err();
            assert_eq!(failure.kind(), FailureKind::ForeignException);
            assert_eq!(failure.to_string(), said);
            assert_eq!(owner(failure.message().unwrap()), host());
            assert!(dropped.get() && ALLOC.current().is_none());
        }
        let failure = block_on(expert.run_async(async move {
            // SAFETY: as above.
            unsafe { throws() };
        }));
        assert_eq!(failure.unwrap_err().to_string(), said);
    }
    let panicked = expert.run(|| -> () { panic!("its own") }).unwrap_err();
    assert_eq!((panicked.kind(), panicked.message()), (FailureKind::Panicked, Some("its own")));
}

struct Counted<'c>(&'c Cell<bool>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn a_panic_passes_through_cpp_and_back() {
    unsafe extern "C-unwind" fn panics(_: *mut c_void) {
        panic!("through C++");
    }
    type CallsBack =
        unsafe extern "C-unwind" fn(unsafe extern "C-unwind" fn(*mut c_void), *mut c_void);
    let Some(library) = cpp("calls_back.so") else { return };
    // SAFETY: a function of this type, as its source says.
    let calls_back: CallsBack = unsafe { std::mem::transmute(load(&library, "calls_back")) };
    let expert = expert("through C++");
    // SAFETY: the callback needs no context.
    let failure = expert.run(|| unsafe { calls_back(panics, std::ptr::null_mut()) }).unwrap_err();
    assert_eq!((failure.kind(), failure.message()), (FailureKind::Panicked, Some("through C++")));
}

#[test]
fn a_panic_of_another_runtime_is_an_outcome() {
    let library = target("panics.so");
    let mut build = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    build.args(["--edition", "2024", "--crate-type", "cdylib"]).arg(source("panics.rs"));
    run(build.arg("-o").arg(&library));
    let panics = function(&library, "panics");
    let expert = expert("another runtime");
    for _ in 0..100 {
        // SAFETY: it takes nothing and may unwind.
        let failure = expert.run(|| unsafe { panics() }).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::ForeignException);
        assert_eq!(failure.to_string(), "threw: a panic of another Rust runtime");
    }
    assert!(expert.run(|| panic!("its own")).unwrap_err().message().is_some());
}

/// Runs on a thread of its own, which goes on, because its host did not ask for its end.
#[test]
fn the_end_of_a_thread_stays_in_the_run() {
    unsafe extern "C-unwind" {
        fn pthread_exit(value: *mut c_void) -> !;
    }

    let outcome = std::thread::spawn(|| {
        let expert = expert("ends its thread");
        let failure = expert.run(|| {
            // SAFETY: nothing is to be dropped between here and the call.
            unsafe { pthread_exit(std::ptr::null_mut()) }
        });
        let failure = failure.unwrap_err();
        assert_eq!(ALLOC.current(), None);
        assert_eq!(expert.run(|| 7).ok(), Some(7));
        (failure.kind(), failure.message().map(String::from))
    });
    let message = Some(String::from("the end of its thread"));
    assert_eq!(outcome.join().unwrap(), (FailureKind::ForeignException, message));
}
