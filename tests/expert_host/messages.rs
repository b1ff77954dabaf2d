//! Protocol Coalesce, computed another way: every segment of a connection is kept, and
//! after each one all of them are searched for the next bytes.

use std::collections::BTreeMap;

use crate::packet::{FIN, Packet, RST};
use crate::streams::{self, Dialogue, Event};

/// The result for a capture's messages and datagrams.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Coalesced {
    pub fragments: u64,
    pub datagrams: u64,
    pub datagram_bytes: u64,
    pub incomplete_datagrams: u64,
    pub messages: u64,
    pub segments: u64,
    pub message_bytes: u64,
    pub largest_message: u64,
    pub lost_bytes: u64,
    pub stranded_bytes: u64,
    pub digest: u64,
}

/// A message that grows beyond this counts as complete.
const MAX_MESSAGE: usize = 1 << 20;

pub fn coalesce(packets: &[Packet]) -> Coalesced {
    let mut sum = Coalesced::default();
    datagrams(packets, &mut sum);
    for dialogue in streams::dialogues(packets) {
        messages(&dialogue, &mut sum);
    }
    sum
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 14_695_981_039_346_656_037_u64;
    for byte in bytes {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(1_099_511_628_211);
    }
    hash
}

fn datagrams(packets: &[Packet], sum: &mut Coalesced) {
    let mut open: BTreeMap<_, (Vec<Option<u8>>, Option<usize>)> = BTreeMap::new();
    for packet in packets.iter().filter(|packet| !packet.malformed) {
        let Some((identification, offset, more)) = packet.fragment else { continue };
        sum.fragments += 1;
        let key = (packet.ips, packet.protocol, identification);
        let (bytes, len) = open.entry(key).or_default();
        let end = offset + packet.payload.len();
        bytes.resize(bytes.len().max(end), None);
        for (byte, value) in bytes[offset..end].iter_mut().zip(&packet.payload) {
            *byte = Some(*value);
        }
        if !more {
            *len = Some(end);
        }
        let whole = len.and_then(|len| bytes[..len].iter().copied().collect::<Option<Vec<u8>>>());
        if let Some(whole) = whole {
            sum.datagrams += 1;
            sum.datagram_bytes += whole.len() as u64;
            sum.digest = sum.digest.wrapping_add(hash(&whole));
            open.remove(&key);
        }
    }
    sum.incomplete_datagrams += open.len() as u64;
}

/// One direction: the bytes that came, the bytes that were taken, and the unfinished
/// message.
#[derive(Default)]
struct Side<'a> {
    pile: Vec<&'a Event<'a>>,
    next: Option<i64>,
    fin: Option<i64>,
    message: Vec<u8>,
}

fn len(event: &Event<'_>) -> i64 {
    event.packet.payload.len() as i64
}

impl Side<'_> {
    /// Takes all bytes that can be taken, and returns whether there were any.
    fn take(&mut self, sum: &mut Coalesced) -> bool {
        let mut any = false;
        while let Some(next) = self.next {
            // A segment that begins earlier comes first; of equals, the older.
            let fits = self
                .pile
                .iter()
                .filter(|event| event.position <= next && event.position + len(event) > next);
            let Some(event) = fits.min_by_key(|event| event.position) else { break };
            self.message.extend(&event.packet.payload[(next - event.position) as usize..]);
            self.next = Some(event.position + len(event));
            sum.segments += 1;
            any = true;
            if self.message.len() >= MAX_MESSAGE {
                self.complete(sum);
            }
        }
        self.pile.retain(|event| Some(event.position + len(event)) > self.next);
        any
    }

    fn complete(&mut self, sum: &mut Coalesced) {
        let message = std::mem::take(&mut self.message);
        if !message.is_empty() {
            sum.messages += 1;
            sum.message_bytes += message.len() as u64;
            sum.largest_message = sum.largest_message.max(message.len() as u64);
            sum.digest = sum.digest.wrapping_add(hash(&message));
        }
    }

    fn finished(&self) -> bool {
        self.fin.is_some_and(|fin| self.next >= Some(fin))
    }

    fn close(&mut self, sum: &mut Coalesced) {
        self.complete(sum);
        sum.stranded_bytes += self.pile.drain(..).map(len).sum::<i64>() as u64;
    }
}

fn messages(dialogue: &Dialogue<'_>, sum: &mut Coalesced) {
    let mut sides = [Side::default(), Side::default()];
    for event in &dialogue.events {
        let (from, to) = (event.side, 1 - event.side);
        if event.tcp.flags & RST != 0 {
            sides.iter_mut().for_each(|side| side.close(sum));
            continue;
        }
        if let (Some(acknowledged), Some(next)) = (event.acknowledged, sides[to].next) {
            let acknowledged = sides[to].fin.map_or(acknowledged, |fin| acknowledged.min(fin));
            let mut next = next;
            let mut any = false;
            while next < acknowledged {
                // Everything up to the next segment that came is lost.
                let came = sides[to].pile.iter().map(|event| event.position).min();
                let reach = came.map_or(acknowledged, |came| came.min(acknowledged));
                sum.lost_bytes += (reach - next) as u64;
                sides[to].next = Some(reach);
                any |= sides[to].take(sum);
                next = sides[to].next.unwrap_or(reach);
            }
            if any {
                sides[from].complete(sum);
            }
        }
        sides[from].next.get_or_insert(event.position);
        if event.tcp.flags & FIN != 0 {
            sides[from].fin = Some(event.position + len(event));
        }
        // If two segments begin at the same place, the shorter one has no new bytes.
        let covered = sides[from]
            .pile
            .iter()
            .any(|other| other.position == event.position && len(other) >= len(event));
        if len(event) > 0 && !covered {
            sides[from].pile.push(event);
        }
        assert!(sides[from].pile.len() < 256, "the oracle knows no limit here");
        if sides[from].take(sum) {
            sides[to].complete(sum);
        }
        if sides[from].finished() {
            sides[from].complete(sum);
            if sides[to].finished() {
                sides.iter_mut().for_each(|side| side.close(sum));
            }
        }
    }
    sides.iter_mut().for_each(|side| side.close(sum));
}
