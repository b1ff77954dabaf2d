//! The command line.

use std::path::PathBuf;

use clap::Parser;
use clap::error::{Error, ErrorKind};

use crate::expert::Name;
use crate::experts::Property;
use crate::host::Fault;

/// Runs the six experts that Network Monitor shipped over a capture, each on a
/// thread and in memory of its own.
///
/// Exit code 0 when the whole capture was read, whatever became of the experts;
/// 1 when it could not be read, or not to its end; 2 for a wrong command line.
#[derive(Debug, Parser)]
#[command(name = "expert_host", max_term_width = 100)]
pub struct Options {
    /// Capture to read, pcap or pcapng; without one, the host makes up traffic, which is
    /// always the same
    pub capture: Option<PathBuf>,

    /// Lets this expert panic half-way
    #[arg(long, value_name = "EXPERT", value_delimiter = ',')]
    pub fail: Vec<Name>,

    /// Lets this expert take memory half-way until its quota refuses more
    #[arg(long, value_name = "EXPERT", value_delimiter = ',')]
    pub overrun: Vec<Name>,

    /// Tells this expert half-way to stop
    #[arg(long, value_name = "EXPERT", value_delimiter = ',')]
    pub terminate: Vec<Name>,

    /// Prints one JSON object instead of text
    #[arg(long)]
    pub json: bool,

    /// Rows to show of each list; 0 for all
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,

    /// Property whose values Property Distribution counts
    #[arg(long, value_name = "PROPERTY", default_value = "frame-length")]
    pub property: Property,

    /// The most memory each expert may be charged, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub quota: u32,

    /// Frames to make up when there is no capture
    #[arg(long, value_name = "N", default_value_t = 100_000, conflicts_with = "capture")]
    pub frames: u64,
}

impl Options {
    /// The fault of an expert, half-way through the run.
    pub fn fault(&self, name: Name) -> Option<Fault> {
        let lists = [
            (&self.fail, Fault::Panic),
            (&self.overrun, Fault::Overrun),
            (&self.terminate, Fault::Terminate),
        ];
        lists.into_iter().find(|(names, _)| names.contains(&name)).map(|(_, fault)| fault)
    }

    /// Refuses two faults for one expert, which the parser alone cannot.
    ///
    /// # Errors
    ///
    /// A message in the parser's style.
    pub fn checked(self) -> Result<Self, Error> {
        let all = [&self.fail, &self.overrun, &self.terminate];
        match Name::ALL.iter().find(|name| {
            all.iter().map(|names| usize::from(names.contains(name))).sum::<usize>() > 1
        }) {
            None => Ok(self),
            Some(name) => {
                let message = format!("{} cannot go wrong in two ways at once\n", name.as_str());
                Err(Error::raw(ErrorKind::ArgumentConflict, message))
            }
        }
    }
}
