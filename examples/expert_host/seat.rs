//! A seat: one expert at work, with its thread, its memory and its feed.
//!
//! These are the steps when it is closed, in this order:
//!
//! 1. The feed ends and the thread is joined: nothing allocates for the expert
//!    any more, and its thread caches have been handed over.
//! 2. Its statistics are taken.
//! 3. `finish` reclaims what explicit handles and raw calls hold. Ambient blocks are
//!    adopted by the host, because any value may refer to them. Here the expert's state
//!    does, which the thread handed over.
//! 4. That state is dropped, and the adopted blocks with it.
//!
//! So the blocks that are reclaimed and adopted are together the blocks that were live in
//! step 2.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use expert_alloc::{Error, Expert, Failure};

use crate::ALLOC;
use crate::batch::Batch;
use crate::expert::{Name, NetworkExpert, checkpoint};
use crate::experts::{
    AverageServerResponseTime, PropertyDistribution, ProtocolCoalesce, ProtocolDistribution,
    TcpRetransmit, TopUsers,
};
use crate::findings::Findings;
use crate::host::{Fault, Settings};
use crate::report::{Outcome, Record};

/// Batches that may wait for a slow expert.
const WAITING: usize = 4;

/// A message of the host to its experts.
#[derive(Clone)]
pub enum Message {
    Frames(Arc<Batch>),
    /// Half of the capture was read: an expert with a fault begins it now.
    HalfWay,
}

/// The reason why an expert did not finish.
enum Ended {
    Refused(Error),
    Panicked(String),
}

/// The values that an expert's thread hands over at its end; they are in host memory,
/// except for the state of an ambient expert.
struct Verdict {
    end: Result<Findings, Ended>,
    state: Option<Box<dyn Any + Send>>,
}

/// One expert at work.
pub struct Seat {
    name: Name,
    expert: Arc<Expert>,
    feed: SyncSender<Message>,
    thread: JoinHandle<Verdict>,
    told_to_stop: bool,
}

/// The error that an expert's thread has ended before its feed.
pub struct Left;

impl Seat {
    /// Registers an expert and sets it to work.
    ///
    /// # Errors
    ///
    /// The reason why it cannot be registered, or why its thread cannot be started.
    pub fn take(
        name: Name,
        fault: Option<Fault>,
        settings: Settings,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let expert = Arc::new(ALLOC.expert(name.as_str()).quota(settings.quota).register()?);
        let (feed, messages) = sync_channel(WAITING);
        let thread = thread::Builder::new().name(name.as_str().into()).spawn({
            let expert = Arc::clone(&expert);
            move || work(name, &expert, &messages, fault, settings)
        })?;
        Ok(Self { name, expert, feed, thread, told_to_stop: false })
    }

    pub fn name(&self) -> Name {
        self.name
    }

    /// Passes a message on.
    ///
    /// # Errors
    ///
    /// [`Left`]: time to close the seat.
    pub fn tell(&self, message: Message) -> Result<(), Left> {
        self.feed.send(message).map_err(|_| Left)
    }

    /// Tells the expert to stop.
    pub fn terminate(&mut self) {
        self.told_to_stop = true;
        self.expert.terminate();
    }

    /// Waits for the expert and takes back all of its memory.
    pub fn close(self) -> Record {
        let Self { name, expert, feed, thread, told_to_stop } = self;
        drop(feed);
        let Verdict { end, state } = thread.join().unwrap_or_else(|payload| Verdict {
            end: Err(Ended::Panicked(text(payload))),
            state: None,
        });
        // The thread's reference went with the thread.
        let expert = Arc::into_inner(expert).expect("an expert whose thread has ended");
        let (outcome, result, message) = match end {
            Ok(findings) => (Outcome::Finished, Some(findings), None),
            Err(Ended::Panicked(message)) => (Outcome::Failed, None, Some(message)),
            Err(Ended::Refused(error)) => {
                let (outcome, error) = match error {
                    Error::Terminated if told_to_stop => (Outcome::Terminated, error),
                    Error::QuotaExceeded | Error::Overdrawn => (Outcome::OverQuota, error),
                    _ => (Outcome::Failed, error),
                };
                (outcome, None, Some(error.to_string()))
            }
        };
        let stats = expert.stats();
        let reclaimed = expert.finish();
        drop(state);
        Record::new(name, outcome, result, message, &stats, &reclaimed)
    }
}

/// An expert's thread.
fn work(
    name: Name,
    expert: &Expert,
    messages: &Receiver<Message>,
    fault: Option<Fault>,
    settings: Settings,
) -> Verdict {
    let Settings { top, property, .. } = settings;
    let job = Job { expert, messages, fault, top };
    match name {
        Name::ProtocolDistribution => job.explicit(ProtocolDistribution::new(expert)),
        Name::PropertyDistribution => job.explicit(PropertyDistribution::new(expert, property)),
        Name::ProtocolCoalesce => job.explicit(ProtocolCoalesce::new(expert)),
        Name::TcpRetransmit => job.ambient(TcpRetransmit::default()),
        Name::TopUsers => job.explicit(TopUsers::new(expert)),
        Name::AverageServerResponseTime => job.ambient(AverageServerResponseTime::default()),
    }
}

struct Job<'e> {
    expert: &'e Expert,
    messages: &'e Receiver<Message>,
    fault: Option<Fault>,
    top: usize,
}

impl Job<'_> {
    /// Runs an expert that holds its memory through handles and raw calls. Its state is
    /// always forgotten, not dropped: the reclaim takes all of it at once, even if a failed
    /// expert left it inconsistent.
    fn explicit<E: NetworkExpert>(&self, mut state: E) -> Verdict {
        let end = self.run(&mut state);
        std::mem::forget(state);
        Verdict { end, state: None }
    }

    /// Runs an expert whose memory comes from the global allocator. Its state
    /// is handed over to the host.
    fn ambient<E: NetworkExpert + Send + 'static>(&self, mut state: E) -> Verdict {
        let end = self.run(&mut state);
        Verdict { end, state: Some(Box::new(state)) }
    }

    fn run<E: NetworkExpert>(&self, state: &mut E) -> Result<Findings, Ended> {
        for message in self.messages {
            self.guard::<E>(|| match message {
                Message::Frames(batch) => batch.frames().try_for_each(|frame| state.frame(&frame)),
                Message::HalfWay => self.misbehave(state),
            })?;
            self.checkpoint()?;
        }
        self.guard::<E>(|| state.end())?;
        self.checkpoint()?;
        Ok(state.findings(self.top))
    }

    /// Calls into an expert, in its scope if it wants that, and catches its panics.
    fn guard<E: NetworkExpert>(
        &self,
        call: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Ended> {
        let called = if E::AMBIENT {
            self.expert.run(call).map_err(Failure::into_payload)
        } else {
            catch_unwind(AssertUnwindSafe(call))
        };
        // The payload of a panic in the scope is the expert's, too, and is
        // freed here.
        let result = called.map_err(|payload| Ended::Panicked(text(payload)))?;
        result.map_err(|error| Ended::Refused(self.reason(error)))
    }

    fn checkpoint(&self) -> Result<(), Ended> {
        checkpoint(self.expert).map_err(|error| Ended::Refused(self.reason(error)))
    }

    /// The reason behind a refusal. If the expert is told to stop in the middle of a call,
    /// the call may report a full quota, so the expert asks again.
    fn reason(&self, error: Error) -> Error {
        match error {
            Error::QuotaExceeded => checkpoint(self.expert).err().unwrap_or(error),
            _ => error,
        }
    }

    fn misbehave<E: NetworkExpert>(&self, state: &mut E) -> Result<(), Error> {
        match self.fault {
            Some(Fault::Panic) => panic!("asked to fail half-way"),
            Some(Fault::Overrun) => loop {
                state.hoard()?;
                checkpoint(self.expert)?;
            },
            Some(Fault::Terminate) | None => Ok(()),
        }
    }
}

/// A panic's message.
fn text(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panicked").into()
}
