//! The same packets behind every link header that the host knows.

use std::borrow::Cow;

use pcap_file::pcap::PcapHeader;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use pcap_file::pcapng::blocks::simple_packet::SimplePacketBlock;
use pcap_file::{DataLink, Endianness};
use serde_json::Value;

use crate::captures::{self, Captured, TempFile};
use crate::packet;
use crate::program::{self, expert};

/// IP packets, without link headers.
fn packets() -> Vec<Captured> {
    let frames = captures::made_up(2_000).into_iter();
    let packets = frames.filter_map(|frame| {
        let parsed = packet::parse(&frame);
        let plain =
            !parsed.malformed && parsed.ips.is_some() && !parsed.protocols.contains(&"vlan");
        plain.then(|| Captured::whole(frame.time, frame.bytes[14..].to_vec()))
    });
    packets.collect()
}

fn is_ipv4(packet: &Captured) -> bool {
    packet.bytes[0] >> 4 == 4
}

fn ether_type(packet: &Captured) -> [u8; 2] {
    if is_ipv4(packet) { [0x08, 0x00] } else { [0x86, 0xdd] }
}

/// Linux cooked, version 1: an outgoing packet of an Ethernet card.
fn cooked(packet: &Captured) -> Vec<u8> {
    let mut header = vec![0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    header.extend(ether_type(packet));
    header
}

/// Linux cooked, version 2.
fn cooked2(packet: &Captured) -> Vec<u8> {
    let mut header = ether_type(packet).to_vec();
    header.extend([0, 0, 0, 0, 0, 2, 0, 1, 4, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
    header
}

/// BSD loopback, in the order of a little-endian machine.
fn null(packet: &Captured) -> Vec<u8> {
    vec![if is_ipv4(packet) { 2 } else { 30 }, 0, 0, 0]
}

fn behind(header: impl Fn(&Captured) -> Vec<u8>, packets: &[Captured]) -> Vec<Captured> {
    let frame = |packet: &Captured| {
        let mut bytes = header(packet);
        bytes.extend(&packet.bytes);
        Captured::whole(packet.time, bytes)
    };
    packets.iter().map(frame).collect()
}

fn analyse(link_type: u32, frames: &[Captured]) -> Value {
    let header = PcapHeader { datalink: DataLink::from(link_type), ..Default::default() };
    let file = TempFile::new(&captures::pcap_with(header, frames));
    let report = program::json(&["--top", "0", file.path()]);
    assert_eq!((&report["frames"], &report["malformed"]), (&frames.len().into(), &0.into()));
    report
}

/// Frames per protocol, without that of the link.
fn protocols(report: &Value, link: &str) -> Vec<(String, u64)> {
    let rows = &expert(report, "protocol-distribution")["result"]["protocols"];
    let rows = rows.as_array().expect("a list").iter();
    let mut counts: Vec<(String, u64)> = rows
        .map(|row| (row["protocol"].as_str().unwrap().into(), row["frames"].as_u64().unwrap()))
        .collect();
    let before = counts.len();
    counts.retain(|(name, _)| name != link);
    assert_eq!(counts.len() + 1, before, "{link} counts: {counts:?}");
    counts
}

#[test]
fn what_is_behind_the_link_header_is_the_same() {
    let packets = packets();
    assert!(packets.iter().any(is_ipv4) && !packets.iter().all(is_ipv4));
    let ethernet = |packet: &Captured| {
        let mut header = vec![2; 12];
        header.extend(ether_type(packet));
        header
    };
    let expected = analyse(1, &behind(ethernet, &packets));
    for (link_type, link, frames) in [
        (0, "loopback", behind(null, &packets)),
        (101, "raw-ip", packets.clone()),
        (12, "raw-ip", packets.clone()),
        (113, "linux-cooked", behind(cooked, &packets)),
        (276, "linux-cooked", behind(cooked2, &packets)),
    ] {
        let report = analyse(link_type, &frames);
        assert_eq!(protocols(&report, link), protocols(&expected, "ethernet"), "{link_type}");
        for name in ["protocol-coalesce", "tcp-retransmit", "average-server-response-time"] {
            let (found, expected) = (expert(&report, name), expert(&expected, name));
            // pcap without nanoseconds rounds times, and both sides did so.
            assert_eq!(found["result"], expected["result"], "{link_type}: {name}");
        }
    }
}

/// pcapng may hold frames of several interfaces, each of a link type its own.
#[test]
#[cfg_attr(target_endian = "big", ignore = "pcap-parser 0.17 reads no pcapng there")]
fn interfaces_of_different_link_types_in_one_capture() {
    let packets = packets();
    let cooked_frames = behind(cooked, &packets);
    let frames: Vec<(u32, Captured)> = packets
        .iter()
        .zip(&cooked_frames)
        .enumerate()
        .map(|(n, (raw, cooked))| if n % 2 == 0 { (0, raw.clone()) } else { (1, cooked.clone()) })
        .collect();
    for endianness in [Endianness::Little, Endianness::Big] {
        let interfaces = [DataLink::RAW, DataLink::LINUX_SLL];
        let bytes = captures::pcapng_with(endianness, &interfaces, &frames);
        let file = TempFile::new(&bytes);
        let report = program::json(&["--top", "0", file.path()]);
        assert_eq!((&report["frames"], &report["malformed"]), (&frames.len().into(), &0.into()));
        let rows = &expert(&report, "protocol-distribution")["result"]["protocols"];
        let count = |name: &str| {
            let row = rows.as_array().unwrap().iter().find(|row| row["protocol"] == name);
            row.and_then(|row| row["frames"].as_u64()).unwrap_or(0)
        };
        assert_eq!(count("raw-ip") + count("linux-cooked"), frames.len() as u64);
        assert_eq!(count("linux-cooked"), frames.len() as u64 / 2);
    }
}

/// Simple packet blocks have no time and no length of their own.
#[test]
#[cfg_attr(target_endian = "big", ignore = "pcap-parser 0.17 reads no pcapng there")]
fn simple_packet_blocks() {
    let frames = captures::made_up(100);
    let mut writer = PcapNgWriter::new(Vec::new()).expect("a section");
    // Longer frames are cut.
    let interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 600);
    writer.write_pcapng_block(interface).expect("an interface");
    for frame in &frames {
        let data = Cow::Borrowed(&frame.bytes[..frame.bytes.len().min(600)]);
        let block = SimplePacketBlock { original_len: frame.wire_len, data };
        writer.write_pcapng_block(block).expect("a frame");
    }
    let file = TempFile::new(&writer.into_inner());
    let report = program::json(&["--top", "0", file.path()]);
    let expected = program::json(&["--top", "0", "--frames", "100"]);
    for name in ["property-distribution", "top-users", "tcp-retransmit"] {
        let (found, expected) = (expert(&report, name), expert(&expected, name));
        assert_eq!(found["result"], expected["result"], "{name}");
    }
}
