//! Finds out how the toolchain has the standard `Allocator` trait, by compiling
//! a use of it, first as it is and then behind its feature:
//!
//! - `expert_alloc_allocator`: the trait is there,
//! - `expert_alloc_allocator_gate`: it is there, behind `feature(allocator_api)`.
//!
//! A version number would not be enough: the trait's shape changes between nightlies, and a
//! stable compiler has the feature if `RUSTC_BOOTSTRAP` allows it.

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Uses what `src/api/allocator.rs` uses.
const PROBE: &str = "
use core::alloc::{AllocError, Allocator, Layout};
use core::ptr::NonNull;
pub struct Probe;
unsafe impl Allocator for Probe {
    fn allocate(&self, _: Layout) -> Result<NonNull<[u8]>, AllocError> { Err(AllocError) }
    fn allocate_zeroed(&self, _: Layout) -> Result<NonNull<[u8]>, AllocError> { Err(AllocError) }
    unsafe fn deallocate(&self, _: NonNull<u8>, _: Layout) {}
    unsafe fn grow(&self, _: NonNull<u8>, _: Layout, _: Layout)
        -> Result<NonNull<[u8]>, AllocError> { Err(AllocError) }
    unsafe fn grow_zeroed(&self, _: NonNull<u8>, _: Layout, _: Layout)
        -> Result<NonNull<[u8]>, AllocError> { Err(AllocError) }
    unsafe fn shrink(&self, _: NonNull<u8>, _: Layout, _: Layout)
        -> Result<NonNull<[u8]>, AllocError> { Err(AllocError) }
}
";

/// The attribute that makes the trait available where it is not stable.
const GATE: &str = "#![feature(allocator_api)]";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTC_BOOTSTRAP");
    println!("cargo:rustc-check-cfg=cfg(expert_alloc_allocator)");
    println!("cargo:rustc-check-cfg=cfg(expert_alloc_allocator_gate)");
    if compiles("").unwrap_or(false) {
        println!("cargo:rustc-cfg=expert_alloc_allocator");
    } else if compiles(GATE).unwrap_or(false) {
        println!("cargo:rustc-cfg=expert_alloc_allocator");
        println!("cargo:rustc-cfg=expert_alloc_allocator_gate");
    }
    // A thread that has allocated calls the shared object at its end, so the object
    // stays in memory when it is closed before.
    let set = |name: &str| env::var(name).unwrap_or_default();
    let is_elf =
        set("CARGO_CFG_TARGET_FAMILY") == "unix" && set("CARGO_CFG_TARGET_VENDOR") != "apple";
    if is_elf && env::var_os("CARGO_FEATURE_CAPI").is_some() {
        println!("cargo:rustc-link-arg=-Wl,-z,nodelete");
        name_shared_object(&set("CARGO_PKG_VERSION_MAJOR"));
        // The linker argument for a host in Rust whose plug-ins find the calls in the
        // host's program; its build script reads this. See docs/plugins.md.
        println!("cargo:export_arguments=-Wl,--export-dynamic-symbol=Expert*");
    }
}

/// Gives the shared object its SONAME, and makes the link of that name beside it, so
/// that what is linked with the one finds the other.
fn name_shared_object(major: &str) {
    let name = format!("libexpert_alloc.so.{major}");
    println!("cargo:rustc-link-arg=-Wl,-soname,{name}");
    // OUT_DIR is PROFILE/build/PACKAGE/out.
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    if let Some(profile) = out.ancestors().nth(3) {
        #[cfg(unix)]
        let _ = std::os::unix::fs::symlink("libexpert_alloc.so", profile.join(name));
        #[cfg(not(unix))]
        let _ = profile;
    }
}

/// Whether the probe compiles below this line, in the way in which the crate will be
/// compiled; `None` if that cannot be found out.
fn compiles(gate: &str) -> Option<bool> {
    // Tools like Clippy are wrappers, which get the compiler as an argument.
    let wrappers = ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let mut line: Vec<OsString> = wrappers.into_iter().filter_map(set).collect();
    line.push(env::var_os("RUSTC")?);
    let mut compiler = Command::new(&line[0]);
    compiler.args(&line[1..]);
    compiler.args(["--edition=2021", "--crate-name=expert_alloc", "--crate-type=lib"]);
    compiler.args(["--emit=metadata", "--cap-lints=allow", "-"]);
    compiler.arg("--out-dir").arg(PathBuf::from(env::var_os("OUT_DIR")?));
    compiler.arg("--target").arg(env::var_os("TARGET")?);
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    compiler.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    let quiet = compiler.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = quiet.spawn().ok()?;
    let source = format!("#![no_std]\n{gate}\n{PROBE}");
    let written = running.stdin.take()?.write_all(source.as_bytes());
    let status = running.wait().ok()?;
    Some(written.is_ok() && status.success())
}
