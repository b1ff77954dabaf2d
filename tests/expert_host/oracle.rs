//! The results that the experts must find, computed in the simplest way: sorted maps of
//! plain counts, and a flag for every byte of a stream.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::packet::{ACK, FIN, Packet, RST, SYN};
use crate::streams::{self, Dialogue};

/// Protocol Distribution.
pub fn protocols(packets: &[Packet]) -> BTreeMap<String, (u64, u64)> {
    let mut counts = BTreeMap::new();
    for packet in packets {
        for protocol in &packet.protocols {
            let (frames, bytes) = counts.entry(String::from(*protocol)).or_insert((0, 0));
            *frames += 1;
            *bytes += packet.wire_len;
        }
    }
    counts
}

/// Property Distribution of the results of `property`, in the report's order.
pub fn property(packets: &[Packet], property: impl Fn(&Packet) -> Option<u64>) -> Value {
    let mut counts: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for packet in packets {
        if let Some(value) = property(packet) {
            let (frames, bytes) = counts.entry(value).or_default();
            *frames += 1;
            *bytes += packet.wire_len;
        }
    }
    let mut order: Vec<(u64, (u64, u64))> = counts.into_iter().collect();
    order.sort_by_key(|&(_, (frames, _))| Reverse(frames));
    let row =
        |(value, (frames, bytes))| json!({ "value": value, "frames": frames, "bytes": bytes });
    order.into_iter().map(row).collect()
}

/// Top Users: frames and bytes sent, frames and bytes received.
pub fn users(packets: &[Packet]) -> BTreeMap<String, [u64; 4]> {
    let mac = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
    let mut users: BTreeMap<String, [u64; 4]> = BTreeMap::new();
    for packet in packets {
        let (from, to) = match (packet.ips, packet.macs) {
            (Some((from, to)), _) => (from.to_string(), to.to_string()),
            (None, Some((from, to))) => (mac(from), mac(to)),
            (None, None) => continue,
        };
        let from = users.entry(from).or_default();
        from[0] += 1;
        from[1] += packet.wire_len;
        let to = users.entry(to).or_default();
        to[2] += 1;
        to[3] += packet.wire_len;
    }
    users
}

/// TCP Retransmit: connections, segments, retransmissions and their bytes,
/// keep-alives; then the retransmissions per pair of ends.
pub fn retransmissions(packets: &[Packet]) -> ([u64; 5], BTreeMap<String, (u64, u64)>) {
    let mut sums = [0; 5];
    let mut pairs: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for dialogue in streams::dialogues(packets) {
        sums[0] += 1;
        for side in 0..2 {
            let mut sent: Vec<bool> = Vec::new();
            let base = dialogue.lowest(side);
            for event in dialogue.events.iter().filter(|event| event.side == side) {
                let len = event.packet.payload.len();
                if len == 0 {
                    continue;
                }
                let start = (event.position - base) as usize;
                let plain = event.tcp.flags & (SYN | FIN | RST) == 0;
                if plain && len == 1 && start + 1 == sent.len() {
                    sums[4] += 1;
                    continue;
                }
                sent.resize(sent.len().max(start + len), false);
                let part = &mut sent[start..start + len];
                let known = part.iter().filter(|byte| **byte).count() as u64;
                part.fill(true);
                sums[1] += 1;
                if known > 0 {
                    sums[2] += 1;
                    sums[3] += known;
                    let (segments, bytes) = pairs.entry(dialogue.name()).or_default();
                    *segments += 1;
                    *bytes += known;
                }
            }
        }
    }
    (sums, pairs)
}

/// Average Server Response Time: all responses of each server, in nanoseconds.
pub fn responses(packets: &[Packet]) -> BTreeMap<String, Vec<u64>> {
    let mut servers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for dialogue in streams::dialogues(packets) {
        let server = server(&dialogue);
        let mut ends: [Option<i64>; 2] = [None; 2];
        let mut asked = None;
        for event in dialogue.events.iter().filter(|event| event.tcp.flags & RST == 0) {
            let len = event.packet.payload.len() as i64;
            let end = event.position + len;
            let new = len > 0 && ends[event.side].is_none_or(|before| end > before);
            ends[event.side] = ends[event.side].max(Some(end));
            if new && event.side != server {
                asked = Some(event.packet.time);
            } else if new {
                if let Some(asked) = asked.take() {
                    let time = event.packet.time.saturating_sub(asked);
                    servers.entry(dialogue.end(server)).or_default().push(time);
                }
            }
        }
    }
    servers
}

fn server(dialogue: &Dialogue<'_>) -> usize {
    let first = dialogue.events.iter().find(|event| event.tcp.flags & RST == 0);
    let first = first.unwrap_or(&dialogue.events[0]);
    let (low, high) = (dialogue.ends[0].1, dialogue.ends[1].1);
    match first.tcp.flags & (SYN | ACK) {
        SYN => 1 - first.side,
        flags if flags == SYN | ACK => first.side,
        _ if low == high => 1 - first.side,
        _ => usize::from(high < low),
    }
}
