//! Counts the different words, in collections of the standard library.

use expert_alloc_plugin::{Error, Plugin, Run, plugin};
use std::collections::HashSet;

plugin!(Distinct);

struct Distinct;

impl Plugin for Distinct {
    const NAME: &str = "words in Rust";

    fn run(run: &mut Run) -> Result<(), Error> {
        let words = run.data().split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        let words: HashSet<Vec<u8>> = words.map(<[u8]>::to_vec).collect();
        run.set_result(words.len() as u64);
        Ok(())
    }
}
