//! Frames on their way to the experts: a few hundred at a time, in host memory, shared by
//! all six experts.

use crate::dissect::{LinkType, dissect};
use crate::frame::{Frame, Layers};

/// The most frames of a batch.
const MAX_FRAMES: usize = 512;

/// A batch is full when it holds this many bytes.
const FULL_BYTES: usize = 512 << 10;

/// Frames in the order of the capture, one behind the other in one buffer.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    malformed: u64,
}

struct Entry {
    time: u64,
    wire_len: u32,
    start: u32,
    end: u32,
    layers: Layers,
}

impl Batch {
    /// An empty batch with room for as much as batches hold.
    pub fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(FULL_BYTES / 4),
            entries: Vec::with_capacity(MAX_FRAMES),
            malformed: 0,
        }
    }

    /// Copies a captured frame and reads its headers.
    pub fn push(&mut self, time: u64, link_type: LinkType, bytes: &[u8], wire_len: u32) {
        // Some writers leave the length on the wire at 0.
        let wire_len = wire_len.max(bytes.len() as u32);
        let layers = dissect(link_type, bytes, wire_len);
        self.malformed += u64::from(layers.malformed);
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len() as u32;
        self.entries.push(Entry { time, wire_len, start, end, layers });
    }

    /// Whether it is time to send the batch off.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= MAX_FRAMES || self.bytes.len() >= FULL_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// How many of its frames are malformed.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        self.entries.iter().map(|entry| Frame {
            time: entry.time,
            wire_len: entry.wire_len,
            bytes: &self.bytes[entry.start as usize..entry.end as usize],
            layers: &entry.layers,
        })
    }
}
