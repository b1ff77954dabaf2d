//! Protocol Coalesce: joins transactions that the network cut into pieces.
//!
//! IP fragments become datagrams (see `datagram`). TCP segments become messages: a message
//! is what one side sends until the other side sends something new, until FIN or RST, until
//! 1 MiB, or until the capture ends. Each byte counts once, in order of sequence numbers;
//! segments that come early are held. Missing bytes are lost and skipped in two cases: the
//! other side acknowledges them, or 256 segments have been held for them. Bytes that were
//! sent but not captured are zero in the message. The digest is the sum of all contents'
//! FNV-1a hashes.
//!
//! All content is allocated by raw calls, as by an expert of Network Monitor; the tables
//! are in the expert's memory by its handle.

use expert_alloc::{Error, Expert, ExpertHandle};
use hashbrown::{DefaultHashBuilder, HashMap};

use super::cut;
use super::datagram::{Datagram, DatagramId, Joined};
use super::flow::{Flow, Tally, digest};
use crate::expert::{HOARD_BYTES, NetworkExpert, reserve};
use crate::findings::Findings;
use crate::frame::{Frame, Segment};
use crate::tcp::{Opening, Pair};

type Map<'e, K, V> = HashMap<K, V, DefaultHashBuilder, ExpertHandle<'e>>;

/// Both directions of a connection.
struct Dialogue<'e> {
    opening: Opening,
    flows: [Flow<'e>; 2],
}

impl Dialogue<'_> {
    fn segment(
        &mut self,
        segment: &Segment<'_>,
        side: usize,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let [low, high] = &mut self.flows;
        let (from, to) = if side == 0 { (low, high) } else { (high, low) };
        if segment.tcp.rst {
            return from.close(tally).and_then(|()| to.close(tally));
        }
        if segment.tcp.ack && to.acknowledged(segment.tcp.acknowledgment, tally)? {
            from.complete(tally)?;
        }
        if from.segment(segment, tally)? {
            to.complete(tally)?;
        }
        if from.is_finished() {
            from.complete(tally)?;
            if to.is_finished() {
                from.close(tally)?;
                to.close(tally)?;
            }
        }
        Ok(())
    }
}

/// The results of the fragments.
#[derive(Default)]
struct Fragments {
    seen: u64,
    discarded: u64,
    datagrams: u64,
    bytes: u64,
    digest: u64,
}

pub struct ProtocolCoalesce<'e> {
    expert: &'e Expert,
    dialogues: Map<'e, Pair, Dialogue<'e>>,
    datagrams: Map<'e, DatagramId, Datagram<'e>>,
    /// The protocol by the lower port of the connection.
    tallies: Map<'e, u16, Tally>,
    fragments: Fragments,
}

impl<'e> ProtocolCoalesce<'e> {
    pub fn new(expert: &'e Expert) -> Self {
        Self {
            expert,
            dialogues: HashMap::new_in(expert.allocator()),
            datagrams: HashMap::new_in(expert.allocator()),
            tallies: HashMap::new_in(expert.allocator()),
            fragments: Fragments::default(),
        }
    }

    fn segment(&mut self, segment: &Segment<'_>) -> Result<(), Error> {
        let (pair, side) = Pair::of(segment);
        reserve(self.expert, &mut self.tallies)?;
        let tally = self.tallies.entry(pair.low.port.min(pair.high.port)).or_default();
        reserve(self.expert, &mut self.dialogues)?;
        let dialogue = self.dialogues.entry(pair).or_insert_with(|| Dialogue {
            opening: Opening::default(),
            flows: [Flow::new(self.expert), Flow::new(self.expert)],
        });
        if dialogue.opening.begins(segment.tcp) {
            for flow in &mut dialogue.flows {
                flow.close(tally)?;
                *flow = Flow::new(self.expert);
            }
        }
        dialogue.segment(segment, side as usize, tally)
    }

    fn fragment(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let Some(ip) = frame.ip() else { return Ok(()) };
        let Some(fragment) = &ip.fragment else {
            return Ok(());
        };
        self.fragments.seen += 1;
        let id = DatagramId::of(ip, fragment);
        reserve(self.expert, &mut self.datagrams)?;
        let datagram = self.datagrams.entry(id).or_insert_with(|| Datagram::new(self.expert));
        match datagram.add(fragment, frame.payload(), frame.layers.wire_payload)? {
            Joined::Waiting => Ok(()),
            Joined::Discarded => {
                self.fragments.discarded += 1;
                Ok(())
            }
            Joined::Complete => {
                let payload = datagram.payload();
                self.fragments.datagrams += 1;
                self.fragments.bytes += payload.len() as u64;
                self.fragments.digest = self.fragments.digest.wrapping_add(digest(payload));
                self.datagrams.remove(&id).map_or(Ok(()), Datagram::free)
            }
        }
    }
}

impl NetworkExpert for ProtocolCoalesce<'_> {
    const AMBIENT: bool = false;

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        if frame.layers.malformed {
            return Ok(());
        }
        match frame.segment() {
            Some(segment) => self.segment(&segment),
            None => self.fragment(frame),
        }
    }

    /// Completes all unfinished messages.
    fn end(&mut self) -> Result<(), Error> {
        for (pair, dialogue) in &mut self.dialogues {
            let port = pair.low.port.min(pair.high.port);
            // Every dialogue has had a tally since its first segment.
            if let Some(tally) = self.tallies.get_mut(&port) {
                dialogue.flows.iter_mut().try_for_each(|flow| flow.close(tally))?;
            }
        }
        Ok(())
    }

    fn hoard(&mut self) -> Result<(), Error> {
        // It is never freed, as in the sample experts of Network Monitor.
        self.expert.alloc(HOARD_BYTES).map(drop)
    }

    fn findings(&self, top: usize) -> Findings {
        let mut all = Tally::default();
        for tally in self.tallies.values() {
            all.messages += tally.messages;
            all.segments += tally.segments;
            all.bytes += tally.bytes;
            all.largest = all.largest.max(tally.largest);
            all.lost += tally.lost;
            all.stranded += tally.stranded;
            all.digest = all.digest.wrapping_add(tally.digest);
        }
        let mut order: Vec<(u16, Tally)> = self.tallies.iter().map(|(p, t)| (*p, *t)).collect();
        order.sort_by_key(|(port, tally)| (std::cmp::Reverse(tally.messages), *port));
        let mut findings =
            Findings::new("ports", &["port", "messages", "segments", "bytes", "largest"]);
        findings.figure("fragments", self.fragments.seen);
        findings.figure("discarded_fragments", self.fragments.discarded);
        findings.figure("datagrams", self.fragments.datagrams);
        findings.figure("datagram_bytes", self.fragments.bytes);
        findings.figure("incomplete_datagrams", self.datagrams.len() as u64);
        findings.figure("messages", all.messages);
        findings.figure("segments", all.segments);
        findings.figure("message_bytes", all.bytes);
        findings.figure("largest_message", all.largest);
        findings.figure("lost_bytes", all.lost);
        findings.figure("stranded_bytes", all.stranded);
        let digest = all.digest.wrapping_add(self.fragments.digest);
        findings.figure("digest", format!("{digest:016x}"));
        for (port, tally) in cut(&order, top).iter().filter(|(_, tally)| tally.messages > 0) {
            findings.row(vec![
                u64::from(*port).into(),
                tally.messages.into(),
                tally.segments.into(),
                tally.bytes.into(),
                tally.largest.into(),
            ]);
        }
        findings
    }
}
