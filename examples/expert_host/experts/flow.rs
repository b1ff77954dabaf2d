//! One direction of a TCP connection: segments in, whole messages out.
//!
//! Invariants
//!
//! - F1 every byte before `next` was delivered to the message, or is lost.
//! - F2 every held segment begins at or beyond `next`, and they are in the order of their
//!   starts, then of their arrival.

use allocator_api2::vec::Vec as ExpertVec;
use expert_alloc::{Error, Expert, ExpertHandle};

use crate::expert::push;
use crate::frame::Segment;
use crate::raw_buffer::RawBuffer;
use crate::tcp::{Positions, first_byte};

/// A message that grows beyond this counts as complete.
pub const MAX_MESSAGE: usize = 1 << 20;

/// The most segments that are held because bytes before them are missing; with more, the
/// missing bytes count as lost.
pub const MAX_HELD: usize = 256;

/// The memory that an empty message buffer keeps, in bytes.
const KEPT_BYTES: usize = 16 << 10;

/// The results of all flows together.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    pub messages: u64,
    /// Segments that brought bytes to a message.
    pub segments: u64,
    pub bytes: u64,
    pub largest: u64,
    /// Bytes that the capture does not hold although the receiver got them.
    pub lost: u64,
    /// Bytes in segments that were still held at the end.
    pub stranded: u64,
    /// The sum of the messages' [`digest`]s.
    pub digest: u64,
}

/// A segment that came too early.
struct Held<'e> {
    start: i64,
    end: i64,
    bytes: RawBuffer<'e>,
}

/// One direction of one connection.
pub struct Flow<'e> {
    expert: &'e Expert,
    positions: Positions,
    next: Option<i64>,
    fin: Option<i64>,
    message: RawBuffer<'e>,
    held: ExpertVec<Held<'e>, ExpertHandle<'e>>,
}

impl<'e> Flow<'e> {
    pub fn new(expert: &'e Expert) -> Self {
        Self {
            expert,
            positions: Positions::default(),
            next: None,
            fin: None,
            message: RawBuffer::new(expert),
            held: ExpertVec::new_in(expert.allocator()),
        }
    }

    /// Processes a segment of this direction. Returns whether it, or a segment that was
    /// held, brought new bytes.
    ///
    /// # Errors
    ///
    /// The error of a memory call.
    pub fn segment(&mut self, segment: &Segment<'_>, tally: &mut Tally) -> Result<bool, Error> {
        let start = self.positions.sent(first_byte(segment.tcp));
        let end = start + i64::from(segment.wire_payload);
        let next = *self.next.get_or_insert(start);
        if segment.tcp.fin {
            self.fin = Some(end);
        }
        if end <= next {
            return Ok(false);
        }
        if start > next {
            self.hold(start, end, segment.payload)?;
            if self.held.len() <= MAX_HELD {
                return Ok(false);
            }
            self.skip_to(self.held[0].start, tally);
        } else {
            self.deliver(start, end, segment.payload, tally)?;
        }
        self.deliver_held(tally)?;
        Ok(true)
    }

    /// Processes the other side's acknowledgment: acknowledged bytes that the capture does
    /// not have are lost. Returns whether held segments brought new bytes because of it.
    ///
    /// # Errors
    ///
    /// The error of a memory call.
    pub fn acknowledged(&mut self, number: u32, tally: &mut Tally) -> Result<bool, Error> {
        let (Some(mut acknowledged), Some(_)) = (self.positions.of(number), self.next) else {
            return Ok(false);
        };
        if let Some(fin) = self.fin {
            // A FIN is acknowledged like a byte.
            acknowledged = acknowledged.min(fin);
        }
        let mut any = false;
        while self.next.is_some_and(|next| next < acknowledged) {
            let reach = self.held.first().map_or(acknowledged, |held| held.start.min(acknowledged));
            self.skip_to(reach, tally);
            any |= self.deliver_held(tally)?;
        }
        Ok(any)
    }

    /// Whether the sender's FIN and everything before it have come.
    pub fn is_finished(&self) -> bool {
        self.fin.is_some() && self.fin <= self.next
    }

    /// Ends the message under way, if there is one.
    ///
    /// # Errors
    ///
    /// As [`RawBuffer::free`].
    pub fn complete(&mut self, tally: &mut Tally) -> Result<(), Error> {
        let bytes = self.message.as_slice();
        if bytes.is_empty() {
            return Ok(());
        }
        let len = bytes.len() as u64;
        tally.messages += 1;
        tally.bytes += len;
        tally.largest = tally.largest.max(len);
        tally.digest = tally.digest.wrapping_add(digest(bytes));
        if bytes.len() > KEPT_BYTES {
            return self.message.free();
        }
        self.message.clear();
        Ok(())
    }

    /// Ends the flow: its message is complete, segments that are still held are stranded,
    /// and its raw memory is freed.
    ///
    /// # Errors
    ///
    /// As [`RawBuffer::free`].
    pub fn close(&mut self, tally: &mut Tally) -> Result<(), Error> {
        self.complete(tally)?;
        for mut held in self.held.drain(..) {
            tally.stranded += (held.end - held.start) as u64;
            held.bytes.free()?;
        }
        self.message.free()
    }

    fn hold(&mut self, start: i64, end: i64, payload: &[u8]) -> Result<(), Error> {
        let place = self.held.partition_point(|held| held.start <= start);
        if place > 0 && self.held[place - 1].start == start && self.held[place - 1].end >= end {
            return Ok(());
        }
        let mut bytes = RawBuffer::new(self.expert);
        bytes.append(payload, (end - start) as usize)?;
        push(self.expert, &mut self.held, Held { start, end, bytes })?;
        self.held[place..].rotate_right(1);
        Ok(())
    }

    fn skip_to(&mut self, position: i64, tally: &mut Tally) {
        let next = self.next.unwrap_or(position);
        tally.lost += (position - next).max(0) as u64;
        self.next = Some(position.max(next));
    }

    /// Delivers the held segments before which no byte is missing any more.
    fn deliver_held(&mut self, tally: &mut Tally) -> Result<bool, Error> {
        let mut any = false;
        while let Some(held) = self.held.first() {
            let next = self.next.unwrap_or(held.start);
            if held.start > next {
                break;
            }
            let Held { start, end, mut bytes } = self.held.remove(0);
            if end > next {
                self.deliver(start, end, bytes.as_slice(), tally)?;
                any = true;
            }
            bytes.free()?;
        }
        Ok(any)
    }

    /// Appends the new part of `start..end`, which begins at or before `next`.
    fn deliver(
        &mut self,
        start: i64,
        end: i64,
        payload: &[u8],
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let next = self.next.unwrap_or(start);
        let known = (next - start) as usize;
        self.message.append(payload.get(known..).unwrap_or_default(), (end - next) as usize)?;
        self.next = Some(end);
        tally.segments += 1;
        if self.message.len() >= MAX_MESSAGE {
            self.complete(tally)?;
        }
        Ok(())
    }
}

/// The 64-bit FNV-1a hash (Fowler, Noll and Vo, RFC 9923), by which contents can be
/// compared without keeping them.
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
