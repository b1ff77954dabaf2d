//! The host: reads the capture, feeds the experts, sees to those who leave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::batch::Batch;
use crate::capture::CaptureError;
use crate::expert::Name;
use crate::experts::Property;
use crate::report::Record;
use crate::seat::{Message, Seat};
use crate::source::Source;

/// A run shorter than this shows no progress bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// How an expert is made to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Panic,
    Overrun,
    Terminate,
}

/// What every expert is told about its work.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub quota: usize,
    pub top: usize,
    pub property: Property,
}

/// What came of a run.
pub struct Run {
    pub frames: u64,
    pub malformed: u64,
    pub experts: Vec<Record>,
    /// What kept the rest of the capture from being read.
    pub error: Option<CaptureError>,
}

/// An expert's place at the table: at work, or gone with a record.
enum Place {
    Taken(Seat),
    Left(Record),
}

/// Runs all experts over everything that `source` has.
///
/// # Errors
///
/// That an expert could not be set to work. An expert that goes wrong later,
/// or a capture that does, is no error: the run tells.
pub fn run(
    source: &mut dyn Source,
    settings: Settings,
    fault: impl Fn(Name) -> Option<Fault>,
) -> Result<Run, Box<dyn std::error::Error>> {
    let mut places = Vec::with_capacity(Name::ALL.len());
    for name in Name::ALL {
        places.push(Place::Taken(Seat::take(name, fault(name), settings)?));
    }
    let mut feeder = Feeder { places, fault, frames: 0, malformed: 0, half_way: false };
    let error = feeder.feed(source).err();
    let experts = feeder.places.into_iter().map(|place| match place {
        Place::Taken(seat) => seat.close(),
        Place::Left(record) => record,
    });
    Ok(Run {
        experts: experts.collect(),
        frames: feeder.frames,
        malformed: feeder.malformed,
        error,
    })
}

struct Feeder<F> {
    places: Vec<Place>,
    fault: F,
    frames: u64,
    malformed: u64,
    half_way: bool,
}

impl<F: Fn(Name) -> Option<Fault>> Feeder<F> {
    /// Passes all frames on to all experts; half-way, and at the latest at the
    /// end, sees to it that those go wrong who are to.
    fn feed(&mut self, source: &mut dyn Source) -> Result<(), CaptureError> {
        let mut bar = Bar::new();
        let end = loop {
            let mut batch = Batch::new();
            let more = self.fill(source, &mut batch);
            self.frames += batch.len();
            self.malformed += batch.malformed();
            if !batch.is_empty() {
                self.tell_all(&Message::Frames(Arc::new(batch)));
            }
            bar.show(source.progress());
            if !self.half_way && (is_past_half(source) || !matches!(more, Ok(true))) {
                self.go_wrong();
            }
            match more {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        bar.clear();
        end
    }

    /// Fills a batch, which ends half-way so that half is what the experts
    /// have seen by then. `false` at the end of the capture.
    fn fill(&self, source: &mut dyn Source, batch: &mut Batch) -> Result<bool, CaptureError> {
        while !batch.is_full() {
            if !source.next_into(batch)? {
                return Ok(false);
            }
            if !self.half_way && is_past_half(source) {
                break;
            }
        }
        Ok(true)
    }

    /// Half-way: tells the experts to stop that `--terminate` names, and the others that it
    /// is time to misbehave.
    fn go_wrong(&mut self) {
        self.half_way = true;
        for place in &mut self.places {
            if let Place::Taken(seat) = place {
                if (self.fault)(seat.name()) == Some(Fault::Terminate) {
                    seat.terminate();
                }
            }
        }
        self.tell_all(&Message::HalfWay);
    }

    /// Passes a message on; closes the seats of those who have left, so that
    /// their memory is back while the others go on.
    fn tell_all(&mut self, message: &Message) {
        self.places = std::mem::take(&mut self.places)
            .into_iter()
            .map(|place| match place {
                Place::Taken(seat) if seat.tell(message.clone()).is_err() => {
                    Place::Left(seat.close())
                }
                place => place,
            })
            .collect();
    }
}

fn is_past_half(source: &dyn Source) -> bool {
    let (done, total) = source.progress();
    total > 0 && done >= total.div_ceil(2)
}

/// A progress bar on standard error, if that is a terminal and the run takes
/// long enough to look at one.
struct Bar {
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl Bar {
    fn new() -> Self {
        Self { begun: Instant::now(), bar: None }
    }

    fn show(&mut self, (done, total): (u64, u64)) {
        if self.bar.is_none() && total > 0 && self.begun.elapsed() > PATIENCE {
            let style = ProgressStyle::with_template("{bar:40} {percent:>3} %, {eta} left");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            self.bar = Some(ProgressBar::new(total).with_style(style));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
