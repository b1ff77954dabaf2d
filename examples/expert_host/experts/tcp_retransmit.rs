//! TCP Retransmit: how often the same bytes were sent again.
//!
//! A segment is a retransmission iff it carries payload of which at least one byte was sent
//! before in that direction of that connection; the bytes sent before are its retransmitted
//! bytes. A keep-alive is no retransmission: it has at most one byte, the last one sent so
//! far, and no SYN, FIN or RST. Malformed frames and fragments of segments are left out. A
//! SYN with a new sequence number begins a new connection between the same ends; the list
//! has one row per pair of ends with retransmissions.
//!
//! Face: ambient. The tables are standard collections; the host enters the expert's scope.

use std::collections::HashMap;

use expert_alloc::Error;

use super::cut;
use crate::expert::{HOARD_BYTES, NetworkExpert};
use crate::findings::Findings;
use crate::frame::Frame;
use crate::tcp::{Opening, Pair, Positions, first_byte};

/// The bytes that one side of a connection has sent.
#[derive(Default)]
struct Sent {
    positions: Positions,
    /// The ranges that were sent, in order, disjoint and not touching.
    ranges: Vec<(i64, i64)>,
}

impl Sent {
    /// Whether `len` bytes from `start` are a keep-alive.
    fn is_keep_alive(&self, start: i64, len: i64) -> bool {
        len <= 1 && self.ranges.last().is_some_and(|&(_, end)| start == end - 1)
    }

    /// Adds `start..end`, and returns how many of its bytes were sent before.
    fn add(&mut self, start: i64, end: i64) -> u64 {
        // The ranges that the new one overlaps or touches become one with it.
        let first = self.ranges.partition_point(|&(_, to)| to < start);
        let behind = self.ranges.partition_point(|&(from, _)| from <= end);
        let joined = &self.ranges[first..behind];
        let known: i64 =
            joined.iter().map(|&(from, to)| (to.min(end) - from.max(start)).max(0)).sum();
        let from = joined.first().map_or(start, |&(from, _)| from.min(start));
        let to = joined.last().map_or(end, |&(_, to)| to.max(end));
        if behind == first + 1 {
            self.ranges[first] = (from, to);
        } else {
            self.ranges.splice(first..behind, [(from, to)]);
        }
        known as u64
    }
}

#[derive(Default)]
struct Connection {
    opening: Opening,
    sent: [Sent; 2],
    segments: u64,
    retransmitted: u64,
    retransmitted_bytes: u64,
}

#[derive(Default)]
pub struct TcpRetransmit {
    connections: HashMap<Pair, Connection>,
    opened: u64,
    keep_alives: u64,
    hoard: Vec<Vec<u8>>,
}

impl NetworkExpert for TcpRetransmit {
    const AMBIENT: bool = true;

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let Some(segment) = frame.segment() else {
            return Ok(());
        };
        let (pair, side) = Pair::of(&segment);
        let connection = self.connections.entry(pair).or_default();
        if connection.opening.begins(segment.tcp) {
            self.opened += 1;
            connection.sent = Default::default();
        }
        if segment.wire_payload == 0 {
            return Ok(());
        }
        let sent = &mut connection.sent[side as usize];
        let start = sent.positions.sent(first_byte(segment.tcp));
        let len = i64::from(segment.wire_payload);
        let flagged = segment.tcp.syn || segment.tcp.fin || segment.tcp.rst;
        if !flagged && sent.is_keep_alive(start, len) {
            self.keep_alives += 1;
            return Ok(());
        }
        let known = sent.add(start, start + len);
        connection.segments += 1;
        connection.retransmitted += u64::from(known > 0);
        connection.retransmitted_bytes += known;
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
        let sum = |part: fn(&Connection) -> u64| self.connections.values().map(part).sum::<u64>();
        let mut order: Vec<(&Pair, &Connection)> =
            self.connections.iter().filter(|(_, found)| found.retransmitted > 0).collect();
        order.sort_by_key(|(pair, found)| {
            (std::cmp::Reverse((found.retransmitted, found.retransmitted_bytes)), **pair)
        });
        let mut findings = Findings::new(
            "connections_with_retransmissions",
            &["connection", "segments", "retransmitted", "retransmitted_bytes"],
        );
        findings.figure("connections", self.opened);
        findings.figure("segments", sum(|found| found.segments));
        findings.figure("retransmitted", sum(|found| found.retransmitted));
        findings.figure("retransmitted_bytes", sum(|found| found.retransmitted_bytes));
        findings.figure("keep_alives", self.keep_alives);
        for (pair, found) in cut(&order, top) {
            findings.row(vec![
                pair.to_string().into(),
                found.segments.into(),
                found.retransmitted.into(),
                found.retransmitted_bytes.into(),
            ]);
        }
        findings
    }
}
