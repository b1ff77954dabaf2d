// This is a host for the examples of the documentation, in the same process. The block
// attaches this crate to the library, and is the key of a run.
{
    use expert_alloc::{Expert, ExpertAlloc, capi};
    use expert_alloc_plugin::{Key, attach};

    let expert = |name| -> &'static Expert {
        Box::leak(Box::new(ExpertAlloc::new().expert(name).quota(1 << 20).register().unwrap()))
    };
    // SAFETY: the expert is leaked, and never ends.
    let key = capi::handle(unsafe { expert("library").lend() });
    // SAFETY: the table stays for ever, the key was just lent, and the example has one thread.
    unsafe { attach(capi::ExpertHostTable().cast(), key) }.unwrap();
    Key::from_raw(capi::handle(expert("run").key()))
}
