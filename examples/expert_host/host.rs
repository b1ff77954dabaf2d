//! The host: it reads the capture, feeds the experts, and takes back the memory of those
//! that end.

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

/// A fault that an expert is made to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Panic,
    Overrun,
    Terminate,
}

/// The settings of every expert.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub quota: usize,
    pub top: usize,
    pub property: Property,
}

/// The result of a run.
pub struct Run {
    pub frames: u64,
    pub malformed: u64,
    pub experts: Vec<Record>,
    /// The reason why the rest of the capture was not read.
    pub error: Option<CaptureError>,
}

/// An expert's seat: it is at work, or it has left and there is a record.
enum Place {
    Taken(Seat),
    Left(Record),
}

/// Runs all experts over all frames of `source`.
///
/// # Errors
///
/// The reason why an expert could not be started. A later failure of an expert or of the
/// capture is no error here; the result of the run says so.
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
    /// Passes all frames on to all experts. Half-way, and at the latest at the end, it
    /// makes the chosen experts fail.
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

    /// Fills a batch. One batch ends exactly half-way, so that the experts have then seen
    /// half of the frames. `false` at the end of the capture.
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

    /// Half-way, tells the experts named by `--terminate` to stop, and the others with a
    /// fault to begin it.
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

    /// Passes a message on, and closes the seats of experts that have left, so their memory
    /// comes back while the others go on.
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

/// A progress bar on standard error, if that is a terminal and the run is long enough.
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
