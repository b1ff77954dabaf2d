//! TCP connections, as the oracle sees them: all segments between two ends,
//! with positions instead of sequence numbers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::packet::{ACK, Packet, SYN, Tcp};

type End = (IpAddr, u16);

/// A segment in its connection.
pub struct Event<'a> {
    /// 0 for the lower end, 1 for the higher.
    pub side: usize,
    pub tcp: Tcp,
    pub packet: &'a Packet,
    /// The position of its payload in its direction's stream.
    pub position: i64,
    /// The acknowledged position in the other direction's bytes, if that has sent.
    pub acknowledged: Option<i64>,
}

/// One connection.
pub struct Dialogue<'a> {
    pub ends: [End; 2],
    pub events: Vec<Event<'a>>,
}

impl Dialogue<'_> {
    pub fn end(&self, side: usize) -> String {
        let (address, port) = self.ends[side];
        SocketAddr::new(address, port).to_string()
    }

    pub fn name(&self) -> String {
        format!("{} - {}", self.end(0), self.end(1))
    }

    /// The lowest position that `side` has sent from.
    pub fn lowest(&self, side: usize) -> i64 {
        let positions = self.events.iter().filter(|event| event.side == side);
        positions.map(|event| event.position).min().unwrap_or(0)
    }
}

/// All connections. Connections between the same ends are told apart by a new SYN without
/// ACK.
pub fn dialogues(packets: &[Packet]) -> Vec<Dialogue<'_>> {
    let mut by_ends: BTreeMap<[End; 2], Vec<(usize, Tcp, &Packet)>> = BTreeMap::new();
    for packet in packets {
        let (Some(tcp), Some(ips), Some(ports)) = (packet.segment(), packet.ips, packet.ports)
        else {
            continue;
        };
        let (from, to) = ((ips.0, ports.0), (ips.1, ports.1));
        let side = usize::from(from > to);
        let ends = if side == 0 { [from, to] } else { [to, from] };
        by_ends.entry(ends).or_default().push((side, tcp, packet));
    }
    let mut all = Vec::new();
    for (ends, segments) in by_ends {
        let mut begun: Vec<Vec<(usize, Tcp, &Packet)>> = Vec::new();
        let mut syn = None;
        for segment in segments {
            let is_syn = segment.1.flags & (SYN | ACK) == SYN;
            let this = (segment.0, segment.1.sequence);
            if begun.is_empty() || (is_syn && syn != Some(this)) {
                begun.push(Vec::new());
            }
            if is_syn {
                syn = Some(this);
            }
            begun.last_mut().expect("one was pushed").push(segment);
        }
        all.extend(begun.into_iter().map(|segments| Dialogue { ends, events: events(segments) }));
    }
    all
}

/// Turns sequence numbers into positions: distances from the direction's first number, each
/// computed from the one before.
fn events<'a>(segments: Vec<(usize, Tcp, &'a Packet)>) -> Vec<Event<'a>> {
    let mut last: [Option<(u32, i64)>; 2] = [None; 2];
    let reckon =
        |from: (u32, i64), number: u32| from.1 + i64::from(number.wrapping_sub(from.0) as i32);
    let mut events = Vec::new();
    for (side, tcp, packet) in segments {
        let number = tcp.sequence.wrapping_add(u32::from(tcp.flags & SYN != 0));
        let position = last[side].map_or(0, |from| reckon(from, number));
        let acknowledged = last[1 - side].map(|from| reckon(from, tcp.acknowledgment));
        let acknowledged = acknowledged.filter(|_| tcp.flags & ACK != 0);
        last[side] = Some((number, position));
        events.push(Event { side, tcp, packet, position, acknowledged });
    }
    events
}
