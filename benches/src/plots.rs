//! The plots of the README.

use std::path::Path;

use crate::results::Results;

pub fn draw(_results: &Results, _directory: &Path) -> Result<(), String> {
    Ok(())
}
