//! The conversations of made-up traffic: frames in the order in which they are sent, built
//! by etherparse.

use std::collections::VecDeque;

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, IpFragOffset, IpHeaders, IpNumber,
    Ipv4Extensions, Ipv4Header, PacketBuilder, SingleVlanHeader, TcpHeader, UdpHeader, VlanHeader,
    VlanId, VlanPcp,
};

use crate::traffic::SplitMix;

/// Payload bytes of a full segment.
const SEGMENT: usize = 1448;

/// Payload bytes of a full fragment: a multiple of 8.
const FRAGMENT: usize = 1480;

/// The frames of one conversation.
pub type Frames = VecDeque<Vec<u8>>;

/// A conversation of a kind and a length drawn from `numbers`.
pub fn any(numbers: &mut SplitMix) -> Frames {
    match numbers.below(100) {
        0..14 => tcp(numbers, 80, Network::V4),
        14..21 => tcp(numbers, 443, Network::V6),
        21..26 => tcp(numbers, 445, Network::Vlan),
        26..30 => tcp(numbers, 22, Network::V4),
        30..58 => udp(numbers, 53),
        58..70 => udp(numbers, 443),
        70..82 => fragmented(numbers),
        82..90 => arp(numbers),
        90..97 => echo(numbers),
        _ => malformed(numbers),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    V4,
    V6,
    Vlan,
}

/// A machine of the made-up network, by number: clients from 1, servers from
/// 200.
fn v4(host: u8) -> [u8; 4] {
    [10, 0, 0, host]
}

fn v6(host: u8) -> [u8; 16] {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&[0xfd, 0x00]);
    address[15] = host;
    address
}

fn mac(host: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, host]
}

fn client(numbers: &mut SplitMix) -> u8 {
    // Skewed, so that there are top users.
    let (one, other) = (numbers.below(60), numbers.below(60));
    1 + one.min(other) as u8
}

fn server(numbers: &mut SplitMix) -> u8 {
    200 + numbers.below(12) as u8
}

/// One side of a TCP connection.
struct Side {
    host: u8,
    port: u16,
    sequence: u32,
}

/// A TCP connection being written down.
struct Connection {
    network: Network,
    sides: [Side; 2],
    frames: Frames,
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

impl Connection {
    /// Sends a segment without counting its payload as sent.
    fn put(&mut self, from: usize, sequence: u32, payload: &[u8], flags: impl Fn(&mut TcpHeader)) {
        let (sender, receiver) = (&self.sides[from], &self.sides[1 - from]);
        let mut header = TcpHeader::new(sender.port, receiver.port, sequence, 64_240);
        header.ack = true;
        header.acknowledgment_number = receiver.sequence;
        flags(&mut header);
        if !header.ack {
            header.acknowledgment_number = 0;
        }
        let ethernet = PacketBuilder::ethernet2(mac(sender.host), mac(receiver.host));
        let step = match self.network {
            Network::V4 => ethernet.ipv4(v4(sender.host), v4(receiver.host), 64),
            Network::V6 => ethernet.ipv6(v6(sender.host), v6(receiver.host), 60),
            Network::Vlan => ethernet
                .vlan(VlanHeader::Single(SingleVlanHeader {
                    pcp: VlanPcp::ZERO,
                    drop_eligible_indicator: false,
                    vlan_id: VlanId::try_new(7).expect("7 is a VLAN identifier"),
                    ether_type: EtherType(0),
                }))
                .ipv4(v4(sender.host), v4(receiver.host), 128),
        };
        let mut frame = Vec::with_capacity(96 + payload.len());
        step.tcp_header(header).write_to_vec(&mut frame, payload).expect("a frame of legal size");
        self.frames.push_back(frame);
    }

    /// Sends new payload.
    fn send(&mut self, from: usize, payload: &[u8]) {
        let sequence = self.sides[from].sequence;
        self.put(from, sequence, payload, |header| header.psh = payload.len() < SEGMENT);
        self.sides[from].sequence = sequence.wrapping_add(payload.len() as u32);
    }

    fn acknowledge(&mut self, from: usize) {
        self.put(from, self.sides[from].sequence, &[], |_| {});
    }

    /// Sends a message in as many segments as it needs. Some segments are sent twice, and
    /// some arrive in the wrong order.
    fn message(&mut self, from: usize, len: usize, numbers: &mut SplitMix) {
        let bytes = numbers.bytes(len);
        for (index, part) in bytes.chunks(SEGMENT).enumerate() {
            let sequence = self.sides[from].sequence;
            self.send(from, part);
            if numbers.one_in(40) {
                self.put(from, sequence, part, |_| {});
            }
            if index > 0 && numbers.one_in(50) {
                let last = self.frames.len() - 1;
                self.frames.swap(last, last - 1);
            }
            if index % 2 == 1 {
                self.acknowledge(1 - from);
            }
        }
        self.acknowledge(1 - from);
    }
}

/// A TCP connection: opened, some requests and answers, closed.
fn tcp(numbers: &mut SplitMix, port: u16, network: Network) -> Frames {
    let client_port = 49_152 + numbers.below(16_000) as u16;
    let sides = [
        Side { host: client(numbers), port: client_port, sequence: numbers.next() as u32 },
        Side { host: server(numbers), port, sequence: numbers.next() as u32 },
    ];
    let mut connection = Connection { network, sides, frames: Frames::new() };
    for side in [CLIENT, SERVER] {
        let sequence = connection.sides[side].sequence;
        connection.put(side, sequence, &[], |header| {
            header.syn = true;
            header.ack = side == SERVER;
        });
        connection.sides[side].sequence = sequence.wrapping_add(1);
    }
    connection.acknowledge(CLIENT);
    for _ in 0..1 + numbers.below(6) {
        let (request, answer) = match port {
            22 => (36 + numbers.below(64), 36 + numbers.below(400)),
            445 => (100 + numbers.below(3_000), 100 + numbers.below(60_000)),
            _ => (150 + numbers.below(1_000), 200 + numbers.below(16_000)),
        };
        connection.message(CLIENT, request as usize, numbers);
        connection.message(SERVER, answer as usize, numbers);
        if numbers.one_in(8) {
            // A keep-alive: one byte that was sent long ago.
            let sequence = connection.sides[CLIENT].sequence.wrapping_sub(1);
            connection.put(CLIENT, sequence, &[0], |_| {});
            connection.acknowledge(SERVER);
        }
    }
    for side in [CLIENT, SERVER] {
        let sequence = connection.sides[side].sequence;
        connection.put(side, sequence, &[], |header| header.fin = true);
        connection.sides[side].sequence = sequence.wrapping_add(1);
    }
    connection.acknowledge(CLIENT);
    connection.frames
}

/// A question and its answer, over UDP.
fn udp(numbers: &mut SplitMix, port: u16) -> Frames {
    let (asking, answering) = (client(numbers), server(numbers));
    let client_port = 49_152 + numbers.below(16_000) as u16;
    let mut frames = Frames::new();
    let turns = if port == 53 { 1 } else { 2 + numbers.below(8) };
    for _ in 0..turns {
        let (question, answer) = (30 + numbers.below(40), 60 + numbers.below(1_100));
        for (from, to, ports, len) in [
            (asking, answering, (client_port, port), question),
            (answering, asking, (port, client_port), answer),
        ] {
            let mut frame = Vec::new();
            PacketBuilder::ethernet2(mac(from), mac(to))
                .ipv4(v4(from), v4(to), 64)
                .udp(ports.0, ports.1)
                .write_to_vec(&mut frame, &numbers.bytes(len as usize))
                .expect("a frame of legal size");
            frames.push_back(frame);
        }
    }
    frames
}

/// A file server's answer in one UDP datagram too long for one frame; now and
/// then its fragments arrive in reverse, or the last one not at all.
fn fragmented(numbers: &mut SplitMix) -> Frames {
    let (from, to) = (server(numbers), client(numbers));
    let len = 2_000 + numbers.below(6_000);
    let payload = numbers.bytes(len as usize);
    let (source, destination) = (v4(from), v4(to));
    let header = UdpHeader::without_ipv4_checksum(7_000, 7_001, payload.len())
        .expect("a datagram of legal size");
    let mut datagram = header.to_bytes().to_vec();
    datagram.extend_from_slice(&payload);
    let identification = numbers.next() as u16;
    let count = datagram.len().div_ceil(FRAGMENT);
    let mut frames = Frames::new();
    for (index, part) in datagram.chunks(FRAGMENT).enumerate() {
        let mut ip = Ipv4Header::new(part.len() as u16, 63, IpNumber::UDP, source, destination)
            .expect("a fragment of legal size");
        ip.identification = identification;
        ip.dont_fragment = false;
        ip.more_fragments = index + 1 < count;
        ip.fragment_offset =
            IpFragOffset::try_new((index * FRAGMENT / 8) as u16).expect("an offset of legal size");
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(mac(from), mac(to))
            .ip(IpHeaders::Ipv4(ip, Ipv4Extensions::default()))
            .write_to_vec(&mut frame, IpNumber::UDP, part)
            .expect("a frame of legal size");
        frames.push_back(frame);
    }
    if numbers.one_in(4) {
        frames.make_contiguous().reverse();
    }
    if numbers.one_in(10) {
        frames.pop_back();
    }
    frames
}

fn arp(numbers: &mut SplitMix) -> Frames {
    let (asking, answering) = (client(numbers), server(numbers));
    let packet = |operation, from: u8, to: u8| {
        let (sender, target) = (mac(from), mac(to));
        let packet = ArpPacket::new(
            ArpHardwareId::ETHERNET,
            EtherType::IPV4,
            operation,
            &sender,
            &v4(from),
            &target,
            &v4(to),
        );
        let destination = if operation == ArpOperation::REQUEST { [0xff; 6] } else { target };
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(sender, destination)
            .arp(packet.expect("addresses of legal size"))
            .write_to_vec(&mut frame)
            .expect("a frame of legal size");
        // Ethernet pads to 60 bytes.
        frame.resize(60, 0);
        frame
    };
    Frames::from([
        packet(ArpOperation::REQUEST, asking, answering),
        packet(ArpOperation::REPLY, answering, asking),
    ])
}

/// A ping and its answer, over IPv4 or IPv6.
fn echo(numbers: &mut SplitMix) -> Frames {
    let (asking, answering) = (client(numbers), server(numbers));
    let payload = numbers.bytes(56);
    let identifier = numbers.next() as u16;
    let mut frames = [Vec::new(), Vec::new()];
    let [ask, answer] = &mut frames;
    let to = PacketBuilder::ethernet2(mac(asking), mac(answering));
    let back = PacketBuilder::ethernet2(mac(answering), mac(asking));
    let written = if numbers.one_in(2) {
        let to = to.ipv4(v4(asking), v4(answering), 64).icmpv4_echo_request(identifier, 1);
        let back = back.ipv4(v4(answering), v4(asking), 64).icmpv4_echo_reply(identifier, 1);
        to.write_to_vec(ask, &payload).and(back.write_to_vec(answer, &payload))
    } else {
        let to = to.ipv6(v6(asking), v6(answering), 64).icmpv6_echo_request(identifier, 1);
        let back = back.ipv6(v6(answering), v6(asking), 64).icmpv6_echo_reply(identifier, 1);
        to.write_to_vec(ask, &payload).and(back.write_to_vec(answer, &payload))
    };
    written.expect("frames of legal size");
    Frames::from(frames)
}

/// A frame that some broken machine sent: cut off inside its headers, or with
/// a header that contradicts itself.
fn malformed(numbers: &mut SplitMix) -> Frames {
    let mut frame = udp(numbers, 53).pop_front().unwrap_or_default();
    match numbers.below(5) {
        // The frame is shorter than its headers.
        0 => frame.truncate(14 + numbers.below(26) as usize),
        // An IP header of less than 20 bytes.
        1 => frame[14] = 0x41,
        // More bytes announced than there are.
        2 => frame[16] = 0xff,
        // The same in the UDP header alone.
        3 => frame[38] = 0xff,
        // Shorter than an Ethernet header.
        _ => frame.truncate(9),
    }
    Frames::from([frame])
}
