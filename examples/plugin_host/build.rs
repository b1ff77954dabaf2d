//! Lets plug-ins find the calls of the library in this program.

fn main() {
    let arguments = std::env::var("DEP_EXPERT_ALLOC_EXPORT_ARGUMENTS").unwrap_or_default();
    println!("cargo:rustc-link-arg-bins={arguments}");
}
