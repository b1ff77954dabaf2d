//! Keeps data for each thread, which is dropped when the thread ends. As long as such a
//! thread lives, the library stays in memory, closed or not.

use expert_alloc_plugin::{Error, Plugin, Run, plugin};
use std::cell::RefCell;

plugin!(Lingers);

struct Lingers;

thread_local! {
    static SEEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Plugin for Lingers {
    const NAME: &str = "lingers";

    fn run(run: &mut Run) -> Result<(), Error> {
        let seen = SEEN.with_borrow_mut(|seen| {
            seen.extend_from_slice(run.data());
            seen.len()
        });
        run.set_result(seen as u64);
        Ok(())
    }
}
