//! Captures for the tests, written by pcap-file; the example reads with another library.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use etherparse::{PacketBuilder, TcpHeader};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgReader, PcapNgWriter};
use pcap_file::{DataLink, Endianness, TsResolution};

use crate::traffic::Traffic;

/// A frame of a capture.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Nanoseconds since the epoch.
    pub time: u64,
    pub wire_len: u32,
    pub bytes: Vec<u8>,
}

impl Captured {
    /// A frame of which all was captured.
    pub fn whole(time: u64, bytes: Vec<u8>) -> Self {
        Self { time, wire_len: bytes.len() as u32, bytes }
    }
}

/// The first frames of the traffic that the example makes up.
pub fn made_up(frames: usize) -> Vec<Captured> {
    let mut traffic = Traffic::new();
    let next = || {
        let (time, bytes) = traffic.next_frame();
        Captured::whole(time, bytes)
    };
    std::iter::repeat_with(next).take(frames).collect()
}

/// A TCP segment over Ethernet and IPv4 between two machines of 10.0.0.0/24,
/// each a number and a port; `flags` may hold S and F.
pub fn segment(
    from: (u8, u16),
    to: (u8, u16),
    sequence: u32,
    acknowledgment: Option<u32>,
    flags: &str,
    payload: &[u8],
) -> Vec<u8> {
    let mut header = TcpHeader::new(from.1, to.1, sequence, 1_000);
    header.syn = flags.contains('S');
    header.fin = flags.contains('F');
    header.ack = acknowledgment.is_some();
    header.acknowledgment_number = acknowledgment.unwrap_or(0);
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, from.0], [2, 0, 0, 0, 0, to.0])
        .ipv4([10, 0, 0, from.0], [10, 0, 0, to.0], 64)
        .tcp_header(header)
        .write_to_vec(&mut frame, payload)
        .expect("a frame of legal size");
    frame
}

/// A file that is deleted at the end of the test.
pub struct TempFile(PathBuf);

impl TempFile {
    pub fn new(bytes: &[u8]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Relaxed);
        let name = format!("expert-host-{}-{number}.cap", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, bytes).expect("a temporary file");
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Nothing depends on the result.
        let _ = fs::remove_file(&self.0);
    }
}

/// A pcap file with the given header.
pub fn pcap_with(header: PcapHeader, frames: &[Captured]) -> Vec<u8> {
    let mut writer = PcapWriter::with_header(Vec::new(), header).expect("a header");
    for frame in frames {
        let time = Duration::from_nanos(frame.time);
        let packet = PcapPacket::new(time, frame.wire_len, &frame.bytes);
        writer.write_packet(&packet).expect("a record");
    }
    writer.into_writer()
}

/// A pcap file: Ethernet, little-endian, nanoseconds.
pub fn pcap(frames: &[Captured]) -> Vec<u8> {
    let header = PcapHeader {
        snaplen: 65_535,
        datalink: DataLink::ETHERNET,
        ts_resolution: TsResolution::NanoSecond,
        endianness: Endianness::Little,
        ..PcapHeader::default()
    };
    pcap_with(header, frames)
}

/// A pcapng file with an interface per link type; each frame names its interface.
pub fn pcapng_with(
    endianness: Endianness,
    interfaces: &[DataLink],
    frames: &[(u32, Captured)],
) -> Vec<u8> {
    let mut writer = PcapNgWriter::with_endianness(Vec::new(), endianness).expect("a section");
    for link_type in interfaces {
        let mut interface = InterfaceDescriptionBlock::new(*link_type, 65_535);
        // Timestamps in nanoseconds.
        interface.options = vec![InterfaceDescriptionOption::IfTsResol(9)];
        writer.write_pcapng_block(interface).expect("an interface");
    }
    for (interface_id, frame) in frames {
        let packet = EnhancedPacketBlock {
            interface_id: *interface_id,
            timestamp: Duration::from_nanos(frame.time),
            original_len: frame.wire_len,
            data: Cow::Borrowed(&frame.bytes),
            options: Vec::new(),
        };
        writer.write_pcapng_block(packet).expect("a frame");
    }
    writer.into_inner()
}

/// A pcapng file: Ethernet, little-endian.
pub fn pcapng(frames: &[Captured]) -> Vec<u8> {
    let frames: Vec<(u32, Captured)> = frames.iter().map(|frame| (0, frame.clone())).collect();
    pcapng_with(Endianness::Little, &[DataLink::ETHERNET], &frames)
}

/// Reads an Ethernet capture through pcap-file.
pub fn read(path: &Path) -> Vec<Captured> {
    let bytes = fs::read(path).expect("a capture");
    if bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
        read_pcapng(&bytes)
    } else {
        read_pcap(&bytes)
    }
}

fn read_pcap(bytes: &[u8]) -> Vec<Captured> {
    let mut reader = PcapReader::new(bytes).expect("a pcap file");
    assert_eq!(reader.header().datalink, DataLink::ETHERNET);
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.expect("a sound record");
        frames.push(Captured {
            time: packet.timestamp.as_nanos() as u64,
            wire_len: packet.orig_len,
            bytes: packet.data.to_vec(),
        });
    }
    frames
}

fn read_pcapng(bytes: &[u8]) -> Vec<Captured> {
    let mut reader = PcapNgReader::new(bytes).expect("a pcapng file");
    let mut frames = Vec::new();
    let mut tick = 1_000;
    while let Some(block) = reader.next_block() {
        match block.expect("a sound block") {
            Block::InterfaceDescription(interface) => {
                assert_eq!(interface.linktype, DataLink::ETHERNET);
                // pcap-file treats ticks as nanoseconds, but the default unit is the
                // microsecond.
                let nano = InterfaceDescriptionOption::IfTsResol(9);
                tick = if interface.options.contains(&nano) { 1 } else { 1_000 };
            }
            Block::EnhancedPacket(packet) => frames.push(Captured {
                time: packet.timestamp.as_nanos() as u64 * tick,
                wire_len: packet.original_len,
                bytes: packet.data.to_vec(),
            }),
            _ => {}
        }
    }
    frames
}

/// The real captures of a developer's machine: every file ending in `.pcap` or
/// `.pcapng` in the folder that `EXPERT_ALLOC_CAPTURES` names.
pub fn real() -> Vec<PathBuf> {
    let Some(folder) = std::env::var_os("EXPERT_ALLOC_CAPTURES") else { return Vec::new() };
    let entries = fs::read_dir(folder).expect("EXPERT_ALLOC_CAPTURES is a folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| {
        path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng")
    });
    paths.sort();
    assert!(!paths.is_empty(), "EXPERT_ALLOC_CAPTURES holds no captures");
    paths
}
