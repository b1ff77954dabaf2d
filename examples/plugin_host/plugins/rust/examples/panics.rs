//! Panics.

use expert_alloc_plugin::{Error, Plugin, Run, plugin};

plugin!(Panics);

struct Panics;

impl Plugin for Panics {
    const NAME: &str = "panics";

    fn run(run: &mut Run) -> Result<(), Error> {
        // The hook prints nothing, because this panic is expected.
        std::panic::set_hook(Box::new(|_| ()));
        std::mem::forget(vec![7_u8; 100_000]);
        let (data, place) = (run.data(), run.data().len());
        run.set_result(u64::from(data[place]));
        Ok(())
    }
}
