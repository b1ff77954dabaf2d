//! An expert host: reads a capture and runs the six experts that Microsoft Network Monitor
//! shipped, each on a thread and in memory of its own. When one fails, exceeds its quota or
//! is told to stop, all of its memory comes back, and the others finish as if nothing had
//! happened.
//!
//! Together the experts use every way to allocate: handles (`protocol_distribution`,
//! `property_distribution`, `top_users`), raw calls (`protocol_coalesce`) and the global
//! allocator in a scope (`tcp_retransmit`, `average_server_response_time`).
//!
//! ```text
//!  source ──> batches of frames (host memory) ──> seats, one thread each
//!  capture or       dissected once,                 expert ──> findings
//!  made-up          shared by all                     │
//!  traffic                                      its own memory ──> reclaimed
//! ```

mod batch;
mod capture;
mod conversation;
mod dissect;
mod expert;
mod experts;
mod findings;
mod frame;
mod host;
mod options;
mod protocol;
mod raw_buffer;
mod report;
mod seat;
mod source;
mod tcp;
mod traffic;

use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use clap::Parser;
use expert_alloc::ExpertAlloc;

use crate::capture::CaptureFile;
use crate::expert::Name;
use crate::host::Settings;
use crate::options::Options;
use crate::report::Report;
use crate::source::{Generated, Source};

#[global_allocator]
static ALLOC: ExpertAlloc = ExpertAlloc::new();

fn main() -> ExitCode {
    let options = Options::parse().checked().unwrap_or_else(|error| error.exit());
    announce_experts_panics();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("expert_host: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command line. A capture that cannot be read to its end is an error, but the
/// results up to there are reported first.
fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let (name, mut source): (String, Box<dyn Source>) = match &options.capture {
        Some(path) => {
            let name = path.display().to_string();
            let file = CaptureFile::open(path).map_err(|error| format!("{name}: {error}"))?;
            (name, Box::new(file))
        }
        None => ("made-up traffic".into(), Box::new(Generated::new(options.frames))),
    };
    let settings = Settings {
        quota: (options.quota as usize) << 20,
        top: options.top,
        property: options.property,
    };
    let run = host::run(&mut *source, settings, |name| options.fault(name))?;
    let error = run.error.as_ref().map(|error| {
        let read = format!("{} whole frames were read", run.frames);
        format!("{name}: {error}; {read}")
    });
    if run.error.is_none() || run.frames > 0 {
        print(&Report::new(name, run), options.json)?;
    }
    error.map_or(Ok(()), |error| Err(error.into()))
}

fn print(report: &Report, json: bool) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = if json { report.write_json(&mut out) } else { report.write_text(&mut out) };
    match written.and_then(|()| out.flush()) {
        // The reader of the pipe has closed it, so there is nothing left to do.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Announces a panic on an expert's thread in one line, and other panics as usual.
fn announce_experts_panics() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        let thread = std::thread::current();
        match thread.name().filter(|name| Name::ALL.iter().any(|expert| expert.as_str() == *name)) {
            Some(name) => {
                let payload = info.payload();
                let text = payload.downcast_ref::<&str>().copied();
                let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                eprintln!("expert_host: expert {name} panicked: {}", text.unwrap_or("no message"));
            }
            None => otherwise(info),
        }
    }));
}
