//! A plug-in in Rust with a standard library of its own, which panics.

#[unsafe(no_mangle)]
extern "C-unwind" fn panics() {
    std::panic::set_hook(Box::new(|_| ()));
    panic!("out of another runtime");
}
