//! Average Server Response Time: how long each server's clients wait for an answer.
//!
//! On each TCP connection, the time from the last segment with new request bytes to the
//! first segment with new bytes of the answer is one response; the list has the responses
//! of each server (address and port). Bytes are new iff they reach beyond all that this
//! side sent before, so retransmissions and keep-alives neither ask nor answer. The server
//! is the end that receives a SYN or sends a SYN with ACK. If the capture shows neither,
//! the server is the end with the lower port, and if both ports are equal, the receiver of
//! the first segment. Times are whole nanoseconds, rounded down; a clock that goes
//! backwards makes a response of 0. Malformed frames, fragments of segments and segments
//! with RST are left out.
//!
//! Face: ambient. The tables are standard collections; the host enters the expert's scope.

use std::collections::{BTreeMap, HashMap};

use expert_alloc::Error;

use super::cut;
use crate::expert::{HOARD_BYTES, NetworkExpert};
use crate::findings::Findings;
use crate::frame::{Frame, Segment};
use crate::tcp::{Endpoint, Opening, Pair, Positions, Side, first_byte};

/// One side's stream: how far it has come.
#[derive(Clone, Copy, Default)]
struct Stream {
    positions: Positions,
    end: Option<i64>,
}

impl Stream {
    /// Whether a segment brings bytes that were not sent before.
    fn is_new(&mut self, segment: &Segment<'_>) -> bool {
        let start = self.positions.sent(first_byte(segment.tcp));
        let end = start + i64::from(segment.wire_payload);
        let new = segment.wire_payload > 0 && self.end.is_none_or(|before| end > before);
        self.end = Some(self.end.map_or(end, |before| before.max(end)));
        new
    }
}

struct Dialogue {
    opening: Opening,
    server: Side,
    streams: [Stream; 2],
    /// The time of the last bytes of a request that has not been answered.
    asked: Option<u64>,
}

/// The response times of one server, in nanoseconds.
#[derive(Clone, Copy)]
struct Times {
    responses: u64,
    total: u128,
    shortest: u64,
    longest: u64,
}

impl Times {
    const NONE: Self = Self { responses: 0, total: 0, shortest: u64::MAX, longest: 0 };

    fn add(&mut self, time: u64) {
        self.responses += 1;
        self.total += u128::from(time);
        self.shortest = self.shortest.min(time);
        self.longest = self.longest.max(time);
    }

    fn mean(&self) -> u64 {
        (self.total / u128::from(self.responses.max(1))) as u64
    }
}

#[derive(Default)]
pub struct AverageServerResponseTime {
    dialogues: HashMap<Pair, Dialogue>,
    servers: BTreeMap<Endpoint, Times>,
    hoard: Vec<Vec<u8>>,
}

/// The server, according to one segment alone.
fn server(pair: &Pair, sender: Side, segment: &Segment<'_>) -> Side {
    let tcp = segment.tcp;
    match (tcp.syn, tcp.ack) {
        (true, false) => sender.other(),
        (true, true) => sender,
        _ if pair.low.port < pair.high.port => Side::Low,
        _ if pair.low.port > pair.high.port => Side::High,
        _ => sender.other(),
    }
}

impl NetworkExpert for AverageServerResponseTime {
    const AMBIENT: bool = true;

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let Some(segment) = frame.segment().filter(|segment| !segment.tcp.rst) else {
            return Ok(());
        };
        let (pair, sender) = Pair::of(&segment);
        let dialogue = self.dialogues.entry(pair).or_insert_with(|| Dialogue {
            opening: Opening::default(),
            server: sender.other(),
            streams: Default::default(),
            asked: None,
        });
        if dialogue.opening.begins(segment.tcp) {
            dialogue.server = server(&pair, sender, &segment);
            dialogue.streams = Default::default();
            dialogue.asked = None;
        }
        if !dialogue.streams[sender as usize].is_new(&segment) {
            return Ok(());
        }
        if sender != dialogue.server {
            dialogue.asked = Some(frame.time);
        } else if let Some(asked) = dialogue.asked.take() {
            let times = self.servers.entry(pair.end(sender)).or_insert(Times::NONE);
            times.add(frame.time.saturating_sub(asked));
        }
        Ok(())
    }

    fn hoard(&mut self) -> Result<(), Error> {
        let mut piece = Vec::new();
        piece.try_reserve_exact(HOARD_BYTES).map_err(|_| Error::QuotaExceeded)?;
        piece.resize(HOARD_BYTES, 0xee);
        self.hoard.push(piece);
        Ok(())
    }

    fn findings(&self, top: usize) -> Findings {
        let mut all = Times::NONE;
        for times in self.servers.values() {
            all.responses += times.responses;
            all.total += times.total;
        }
        let mut order: Vec<(&Endpoint, &Times)> = self.servers.iter().collect();
        order.sort_by_key(|(server, times)| (std::cmp::Reverse(times.responses), **server));
        let mut findings = Findings::new(
            "servers",
            &["server", "responses", "mean_ns", "shortest_ns", "longest_ns"],
        );
        findings.figure("responses", all.responses);
        findings.figure("answering_servers", order.len() as u64);
        findings.figure("mean_ns", all.mean());
        for (server, times) in cut(&order, top) {
            findings.row(vec![
                server.to_string().into(),
                times.responses.into(),
                times.mean().into(),
                times.shortest.into(),
                times.longest.into(),
            ]);
        }
        findings
    }
}
