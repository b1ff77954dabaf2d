//! Captures from files: pcap and pcapng, read as a stream by pcap-parser.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

use crate::batch::Batch;
use crate::dissect::LinkType;
use crate::source::Source;

/// How much of the file is held at a time, unless a record is longer.
const BUFFER_BYTES: usize = 1 << 20;

/// No record of a sound capture is longer.
const MAX_RECORD_BYTES: usize = 64 << 20;

const NANOSECONDS: u64 = 1_000_000_000;

/// The reason why a capture could not be read to its end.
#[derive(Debug)]
pub enum CaptureError {
    Io(io::Error),
    /// Neither pcap nor pcapng.
    NotACapture,
    /// The file ends in the middle of the record that begins at this byte.
    Truncated {
        at: u64,
    },
    /// A record with contradictory fields.
    Damaged {
        at: u64,
        reason: &'static str,
    },
    /// A link type that this host cannot parse.
    LinkType(Linktype),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::NotACapture => f.write_str("not a capture: neither pcap nor pcapng"),
            Self::Truncated { at } => {
                write!(f, "the capture is truncated: the record at byte {at} goes beyond the end")
            }
            Self::Damaged { at, reason } => {
                write!(f, "the capture is damaged: {reason} at byte {at}")
            }
            Self::LinkType(link_type) => {
                write!(f, "link type {} ({link_type}) is not supported", link_type.0)
            }
        }
    }
}

impl std::error::Error for CaptureError {}

/// An interface that a capture names, and how to read its frames.
#[derive(Clone, Copy)]
struct Interface {
    link_type: Linktype,
    /// The most bytes captured of a frame; 0 for no limit.
    snap_len: u32,
    /// Ticks of the clock per second.
    resolution: u64,
    /// Seconds to add to its timestamps.
    offset: i64,
}

/// A pcap or pcapng file being read.
pub struct CaptureFile {
    reader: Box<dyn PcapReaderIterator + Send>,
    buffer_bytes: usize,
    interfaces: Vec<Interface>,
    /// Bytes of the file; 0 if it is no regular file.
    length: u64,
}

impl CaptureFile {
    /// Opens a capture and looks at its header.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Io`], and [`CaptureError::NotACapture`] or
    /// [`CaptureError::Truncated`] where the header is not that of a capture.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let file = File::open(path).map_err(CaptureError::Io)?;
        let metadata = file.metadata().map_err(CaptureError::Io)?;
        let length = if metadata.is_file() { metadata.len() } else { 0 };
        Self::from_reader(file, length)
    }

    fn from_reader(
        mut input: impl Read + Send + 'static,
        length: u64,
    ) -> Result<Self, CaptureError> {
        // The reader wants the whole header at its first read, which a pipe
        // does not promise.
        let mut head = Vec::new();
        input.by_ref().take(64 << 10).read_to_end(&mut head).map_err(CaptureError::Io)?;
        let (known, short) = (is_magic(&head), head.len() < 28);
        let input = Cursor::new(head).chain(input);
        let reader = create_reader(BUFFER_BYTES, input).map_err(|error| match error {
            PcapError::ReadError => CaptureError::Io(io::Error::other("read failed")),
            _ if known && short => CaptureError::Truncated { at: 0 },
            _ if known => CaptureError::Damaged { at: 0, reason: "a header that does not parse" },
            _ => CaptureError::NotACapture,
        })?;
        Ok(Self { reader, buffer_bytes: BUFFER_BYTES, interfaces: Vec::new(), length })
    }

    /// Brings more of the file into the buffer, which lacks part of a record.
    fn refill(&mut self) -> Result<(), CaptureError> {
        let before = self.reader.data().len();
        if self.reader.refill().is_err() {
            return Err(CaptureError::Io(io::Error::other("read failed")));
        }
        if self.reader.data().len() == before && !self.reader.reader_exhausted() {
            return Err(self.damaged("a record that asks for more and more"));
        }
        Ok(())
    }

    /// Makes room for a record longer than the buffer.
    fn grow(&mut self) -> Result<(), CaptureError> {
        self.buffer_bytes *= 2;
        if self.buffer_bytes > MAX_RECORD_BYTES || !self.reader.grow(self.buffer_bytes) {
            return Err(self.damaged("an impossibly long record"));
        }
        self.refill()
    }

    fn damaged(&self, reason: &'static str) -> CaptureError {
        CaptureError::Damaged { at: self.reader.consumed() as u64, reason }
    }
}

impl Source for CaptureFile {
    fn next_into(&mut self, batch: &mut Batch) -> Result<bool, CaptureError> {
        loop {
            let at = self.reader.consumed() as u64;
            match self.reader.next() {
                Ok((size, block)) => {
                    let pushed = take(&block, &mut self.interfaces, at, batch);
                    drop(block);
                    self.reader.consume(size);
                    if pushed? {
                        return Ok(true);
                    }
                }
                Err(PcapError::Eof) => return Ok(false),
                Err(PcapError::Incomplete(_)) => self.refill()?,
                Err(PcapError::BufferTooSmall) => self.grow()?,
                Err(PcapError::UnexpectedEof) => return Err(CaptureError::Truncated { at }),
                Err(_) => return Err(self.damaged("a block that does not parse")),
            }
        }
    }

    fn progress(&self) -> (u64, u64) {
        (self.reader.consumed() as u64, self.length)
    }
}

/// Whether a file begins like a capture, in either byte order.
fn is_magic(head: &[u8]) -> bool {
    const MAGICS: [u32; 4] = [0x0a0d_0d0a, 0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34];
    head.first_chunk().is_some_and(|&magic| {
        let (little, big) = (u32::from_le_bytes(magic), u32::from_be_bytes(magic));
        MAGICS.contains(&little) || MAGICS.contains(&big)
    })
}

/// Reads one block; `true` if it was a frame, which is then in `batch`.
fn take(
    block: &PcapBlockOwned<'_>,
    interfaces: &mut Vec<Interface>,
    at: u64,
    batch: &mut Batch,
) -> Result<bool, CaptureError> {
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let resolution = if header.is_nanosecond_precision() { NANOSECONDS } else { 1_000_000 };
            // The upper half says whether frames carry a check sequence.
            let link_type = Linktype(header.network.0 & 0xffff);
            interfaces.push(Interface { link_type, snap_len: 0, resolution, offset: 0 });
            Ok(false)
        }
        PcapBlockOwned::Legacy(record) => {
            let interface = interface(interfaces, 0, at)?;
            let fraction = u64::from(record.ts_usec) * (NANOSECONDS / interface.resolution);
            let time = u64::from(record.ts_sec) * NANOSECONDS + fraction;
            batch.push(time, link_type(interface)?, record.data, record.origlen);
            Ok(true)
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            Ok(false)
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(described)) => {
            interfaces.push(Interface {
                link_type: described.linktype,
                snap_len: described.snaplen,
                resolution: ticks_per_second(described.if_tsresol),
                offset: described.ts_offset(),
            });
            Ok(false)
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let interface = interface(interfaces, packet.if_id, at)?;
            let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            let time = interface.nanoseconds(ticks);
            batch.push(time, link_type(interface)?, packet.packet_data(), packet.origlen);
            Ok(true)
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            let interface = interface(interfaces, 0, at)?;
            // Such a frame has no timestamp; it is cut at the limit, then padded to four
            // bytes.
            let limit = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
            let data = packet.packet_data();
            let data = &data[..data.len().min(limit as usize)];
            batch.push(0, link_type(interface)?, data, packet.origlen);
            Ok(true)
        }
        PcapBlockOwned::NG(_) => Ok(false),
    }
}

fn interface(interfaces: &[Interface], id: u32, at: u64) -> Result<Interface, CaptureError> {
    let reason = "a frame of an interface that was not described";
    interfaces.get(id as usize).copied().ok_or(CaptureError::Damaged { at, reason })
}

fn link_type(interface: Interface) -> Result<LinkType, CaptureError> {
    u16::try_from(interface.link_type.0)
        .ok()
        .and_then(LinkType::from_number)
        .ok_or(CaptureError::LinkType(interface.link_type))
}

/// The unit of timestamps as pcapng's `if_tsresol` gives it: a power of ten, or of two
/// where the upper bit is set. A unit that does not fit counts as the format's default,
/// microseconds.
fn ticks_per_second(if_tsresol: u8) -> u64 {
    let exponent = u32::from(if_tsresol & 0x7f);
    let base: u64 = if if_tsresol & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent).unwrap_or(1_000_000)
}

impl Interface {
    /// A timestamp of this interface in nanoseconds since the epoch, modulo 64 bits.
    fn nanoseconds(&self, ticks: u64) -> u64 {
        let since = u128::from(ticks) * u128::from(NANOSECONDS) / u128::from(self.resolution);
        let offset = i128::from(self.offset) * i128::from(NANOSECONDS);
        u64::try_from((since as i128).saturating_add(offset)).unwrap_or(0)
    }
}
