//! Tests of the C calls from outside: the header agrees with the code, and a C program that
//! is compiled with the header and linked with the shared object runs the whole contract.
#![cfg(unix)]

mod c_tools;

use std::fmt::Write;
use std::mem::offset_of;
use std::process::Command;
use std::{env, fs};

use c_tools::{cc, cpp, link, root, run, shared_object, work_folder};
use expert_alloc::capi::{
    EXPERTEVENT, EXPERTHOLDING, EXPERTHOST, EXPERTINFO, EXPERTLARGEST, EXPERTMEMORYSTATS,
    EXPERTRECLAIMED, EXPERTREQUEST,
};
use expert_alloc::{Error, ExpertAlloc};

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

const HEADERS: [&str; 2] =
    [include_str!("../include/expert_alloc.h"), include_str!("../include/expert_plugin.h")];

/// The files that export calls.
const CODE: &[&str] = &[
    include_str!("../src/api/capi/experts.rs"),
    include_str!("../src/api/capi/figures.rs"),
    include_str!("../src/api/capi/holders.rs"),
    include_str!("../src/api/capi/host.rs"),
    include_str!("../src/api/capi/limits.rs"),
    include_str!("../src/api/capi/observe.rs"),
    include_str!("../src/api/capi/plugins.rs"),
    include_str!("../src/api/capi/scopes.rs"),
    include_str!("../src/api/identity.rs"),
];

/// A call: its name, then the types of its result and its arguments.
type Call = (String, Vec<String>);

/// The calls that the header declares.
fn declared() -> Vec<Call> {
    let text = HEADERS.map(c_tools::without_comments).concat();
    let call = |part: &str| {
        let (before, after) = part.split_once("WINAPI Expert")?;
        let (name, arguments) = after.split_once('(')?;
        let name = format!("Expert{name}");
        // Functions that a plug-in defines are not the library's.
        if before.contains("EXPERT_EXPORT") {
            return None;
        }
        let result = before.rsplit(['\n', '{', '}', '"']).next()?.trim();
        let arguments = arguments.trim_end().strip_suffix(')')?;
        let arguments = split_outside_brackets(arguments).into_iter().map(|it| declared_type(&it));
        let arguments = arguments.filter(|argument| argument != "void");
        Some((name, [result.to_string()].into_iter().chain(arguments).collect()))
    };
    sorted(text.split(';').filter_map(call).collect())
}

/// The parts between commas that are outside of brackets.
fn split_outside_brackets(list: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            _ => {
                depth += i32::from("(<".contains(c)) - i32::from(")>".contains(c));
                parts.last_mut().unwrap().push(c);
            }
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// The type of an argument such as `SIZE_T nBytes`.
fn declared_type(argument: &str) -> String {
    let argument = argument.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((_, arguments)) = argument.split_once(")(") {
        // The result type of a function that is an argument is not compared.
        return format!("void (*)({arguments}");
    }
    if argument == "void" {
        return argument;
    }
    let name = argument.rfind(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(0);
    let declared = argument[..=name].trim();
    if declared == "DWORD *" { "LPDWORD".into() } else { declared.into() }
}

/// The calls that the code exports, in the header's types.
fn exported() -> Vec<Call> {
    let call = |part: &str| {
        let (name, rest) = part.split_once('(').filter(|(name, _)| name.starts_with("Expert"))?;
        let (signature, _) = rest.split_once(" {")?;
        let (arguments, result) = match signature.rsplit_once(") -> ") {
            // The type of a function among the arguments does not count.
            Some((arguments, result)) if !result.contains('(') => (arguments, result),
            _ => (signature.strip_suffix(')')?, "()"),
        };
        let typed = |argument: &String| Some(c_type(argument.split_once(": ")?.1.trim()));
        let arguments = split_outside_brackets(arguments);
        let arguments = arguments.iter().filter_map(typed);
        Some((name.into(), [c_type(result.trim())].into_iter().chain(arguments).collect()))
    };
    let calls = CODE.iter().flat_map(|code| {
        code.split("extern \"system").skip(1).filter_map(|part| part.split_once("\" fn "))
    });
    sorted(calls.filter_map(|(_, part)| call(part)).collect())
}

fn c_type(rust: &str) -> String {
    let known = [
        ("HEXPERTKEY", "HEXPERTKEY"),
        ("usize", "SIZE_T"),
        ("u32", "DWORD"),
        ("*mut u32", "LPDWORD"),
        ("*mut c_void", "LPVOID"),
        ("*const c_void", "const void *"),
        ("*const c_char", "const char *"),
        ("()", "void"),
        ("c_int", "int"),
        ("*mut EXPERTINFO", "EXPERTINFO *"),
        ("*mut EXPERTRECLAIMED", "EXPERTRECLAIMED *"),
        ("*mut EXPERTMEMORYSTATS", "EXPERTMEMORYSTATS *"),
        ("*const EXPERTHOST", "const EXPERTHOST *"),
        ("*const EXPERTREQUEST", "const EXPERTREQUEST *"),
        ("*mut EXPERTLARGEST", "EXPERTLARGEST *"),
        ("*mut c_char", "char *"),
        ("Option<Lookup>", "void (*)(LPVOID, const char *)"),
        ("Option<unsafe extern \"C-unwind\" fn(*mut c_void)>", "void (*)(LPVOID)"),
        (
            "Option<unsafe extern \"C-unwind\" fn(HEXPERTKEY, *mut c_void)>",
            "void (*)(HEXPERTKEY, LPVOID)",
        ),
        (
            "Option<unsafe extern \"C-unwind\" fn(*mut EXPERTEVENT, *mut c_void)>",
            "void (*)(EXPERTEVENT *, LPVOID)",
        ),
    ];
    let found = known.iter().find(|(name, _)| *name == rust.trim_end_matches(','));
    found.map_or_else(|| panic!("{rust} has no type in C"), |(_, c)| (*c).to_string())
}

fn sorted(mut calls: Vec<Call>) -> Vec<Call> {
    calls.sort();
    calls
}

#[test]
fn the_header_declares_what_the_code_exports() {
    let (declared, exported) = (declared(), exported());
    assert_eq!(exported.len(), 39, "{exported:#?}");
    assert_eq!(declared, exported);
}

/// C code that does not compile when a number differs.
fn layout_assertions() -> String {
    let mut code = String::from("#include \"expert_plugin.h\"\n");
    let mut same = |c: &str, rust: usize| {
        writeln!(code, "_Static_assert(({c}) == {rust}u, \"{c} is not {rust}\");").unwrap();
    };
    macro_rules! layout {
        ($name:ident: $($field:ident)*) => {
            same(concat!("sizeof(", stringify!($name), ")"), size_of::<$name>());
            $(same(
                concat!("offsetof(", stringify!($name), ", ", stringify!($field), ")"),
                offset_of!($name, $field),
            );)*
        };
    }
    layout!(EXPERTMEMORYSTATS: live_bytes live_blocks peak_bytes charged_bytes quota
        allocations frees refusals);
    layout!(EXPERTHOST: size identity allocate allocate_zeroed release resize alloc_memory
        realloc_memory free_memory memory_size alloc_aligned on_reclaim memory_stats check);
    layout!(EXPERTINFO: name parent soft_quota state);
    layout!(EXPERTHOLDING: key charged_bytes name);
    layout!(EXPERTLARGEST: count holdings);
    layout!(EXPERTREQUEST: size name parent quota soft_quota guarantee flags);
    layout!(EXPERTEVENT: size kind retry key parent by bytes refusals name largest reclaimed);
    layout!(EXPERTRECLAIMED: blocks bytes adopted_blocks adopted_bytes cleanups_run
        cleanups_failed elapsed_ns);
    let codes = [
        ("NMERR_OUT_OF_MEMORY", Error::OutOfMemory),
        ("NMERR_INTERNAL_EXCEPTION", Error::CleanupFailed),
        ("NMERR_ACCESS_DENIED", Error::AccessDenied),
        ("NMERR_INVALID_PARAMETER", Error::InvalidPointer),
        ("NMERR_EXPERT_TERMINATE", Error::Terminated),
        ("NMERR_INVALID_EXPERT_HANDLE", Error::InvalidKey),
    ];
    codes.into_iter().for_each(|(name, error)| same(name, error.nmerr() as usize));
    same("NMERR_SUCCESS", 0);
    same("sizeof(DWORD)", 4);
    same("sizeof(HEXPERTKEY)", size_of::<usize>());
    same("sizeof(SIZE_T)", size_of::<usize>());
    code
}

/// Checks `EXPERT_HOST_KEY`, which is no constant expression for the C compiler.
fn host_key_check() -> String {
    let key = ALLOC.host().key().into_raw();
    format!("int is_host(void) {{ return (uintptr_t)EXPERT_HOST_KEY == (uintptr_t){key}u; }}\n")
}

#[test]
fn structs_and_constants_of_the_header_are_those_of_the_code() {
    let folder = work_folder();
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("layout.c");
    fs::write(&file, layout_assertions() + &host_key_check()).unwrap();
    run(cc().arg("-c").arg(&file).arg("-o").arg(folder.join("layout.o")));
}

/// Runs only if there is a C++ compiler; the C program throws in its own way.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn a_clean_up_may_throw_as_cpp_does() {
    let Some(mut build) = cpp("c++11") else { return };
    let program = work_folder().join("throws");
    build.arg(root().join("tests/c/throws.cpp")).arg("-o").arg(&program);
    link(&mut build);
    run(&mut build);
    assert_eq!(run(&mut c_tools::program(&program)).trim(), "the host's own");
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_clean_up_may_panic_as_another_rust_does() {
    let program = work_folder().join("panics");
    let mut build = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    build.args(["--edition", "2024"]).arg(root().join("tests/c/panics.rs"));
    build.arg("-o").arg(&program);
    let folder = shared_object();
    build.arg("-L").arg(folder).args(["-l", "dylib=expert_alloc"]);
    build.arg(format!("-Clink-arg=-Wl,-rpath,{}", folder.display()));
    run(&mut build);
    assert_eq!(run(&mut c_tools::program(&program)).trim(), "its own");
}

#[test]
fn a_c_program_runs_the_contract() {
    let folder = work_folder();
    let c = root().join("tests/c");
    let plugin = folder.join("plugin.so");
    let mut build = cc();
    build.args(["-shared", "-fPIC"]).arg(c.join("plugin.c")).arg("-o").arg(&plugin);
    link(&mut build);
    run(&mut build);
    let program = folder.join("contract");
    let mut build = cc();
    build.arg(c.join("contract.c")).arg("-o").arg(&program);
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        build.arg("-DFOREIGN_EXCEPTIONS");
    }
    link(&mut build);
    build.args(["-lpthread", "-ldl"]);
    run(&mut build);
    let said = run(c_tools::program(&program).arg(&plugin));
    assert_eq!(said.trim(), "the contract holds");
}

#[cfg(target_os = "linux")]
#[test]
fn a_thread_may_end_after_the_library_was_closed() {
    let program = work_folder().join("closes");
    let library = shared_object().join("libexpert_alloc.so");
    let mut build = cc();
    build.arg(root().join("tests/c/closes.c")).arg("-o").arg(&program);
    build.args(["-lpthread", "-ldl"]);
    run(&mut build);
    assert_eq!(run(c_tools::program(&program).arg(library)).trim(), "ended");
}
