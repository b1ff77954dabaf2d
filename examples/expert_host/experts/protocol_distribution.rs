//! Protocol Distribution: how many frames and bytes there are of each protocol.
//!
//! A frame counts once under every protocol whose header is in it, with its whole length on
//! the wire: an HTTP request counts as Ethernet, IPv4, TCP and HTTP. Protocols above TCP
//! and UDP are recognised by well-known ports, the lower of the two first. A malformed
//! frame counts in the totals, as malformed, and under the headers that could be read. Only
//! the first fragment of a datagram has the transport header; all of them count as IP
//! fragments.
//!
//! Face: explicit. The counters are a vector in the expert's own memory.

use allocator_api2::vec::Vec as ExpertVec;
use expert_alloc::{Error, Expert, ExpertHandle};

use super::cut;
use crate::expert::{Hoard, NetworkExpert, push};
use crate::findings::Findings;
use crate::frame::Frame;
use crate::protocol::Protocol;

#[derive(Clone, Copy)]
struct Counter {
    protocol: Protocol,
    frames: u64,
    bytes: u64,
}

pub struct ProtocolDistribution<'e> {
    expert: &'e Expert,
    counters: ExpertVec<Counter, ExpertHandle<'e>>,
    frames: u64,
    bytes: u64,
    malformed: u64,
    hoard: Hoard<'e>,
}

impl<'e> ProtocolDistribution<'e> {
    pub fn new(expert: &'e Expert) -> Self {
        Self {
            expert,
            counters: ExpertVec::new_in(expert.allocator()),
            frames: 0,
            bytes: 0,
            malformed: 0,
            hoard: Hoard::new(expert),
        }
    }

    fn count(&mut self, protocol: Protocol, bytes: u64) -> Result<(), Error> {
        match self.counters.iter_mut().find(|counter| counter.protocol == protocol) {
            Some(counter) => {
                counter.frames += 1;
                counter.bytes += bytes;
                Ok(())
            }
            None => {
                let first = Counter { protocol, frames: 1, bytes };
                push(self.expert, &mut self.counters, first)
            }
        }
    }
}

impl NetworkExpert for ProtocolDistribution<'_> {
    const AMBIENT: bool = false;

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let bytes = u64::from(frame.wire_len);
        self.frames += 1;
        self.bytes += bytes;
        self.malformed += u64::from(frame.layers.malformed);
        frame.protocols().try_for_each(|protocol| self.count(protocol, bytes))
    }

    fn hoard(&mut self) -> Result<(), Error> {
        self.hoard.more()
    }

    fn findings(&self, top: usize) -> Findings {
        let mut order: Vec<Counter> = self.counters.to_vec();
        order.sort_by_key(|counter| (std::cmp::Reverse(counter.frames), counter.protocol));
        let mut findings = Findings::new("protocols", &["protocol", "frames", "bytes"]);
        findings.figure("frames", self.frames);
        findings.figure("bytes", self.bytes);
        findings.figure("malformed", self.malformed);
        for Counter { protocol, frames, bytes } in cut(&order, top) {
            findings.row(vec![protocol.name().into(), (*frames).into(), (*bytes).into()]);
        }
        findings
    }
}
