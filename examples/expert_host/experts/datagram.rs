//! Datagrams that IP cut into fragments, put back together in raw memory.
//!
//! A datagram is complete when all bytes up to the end of its last fragment have arrived.
//! Where fragments overlap, the later one counts. Bytes that were sent but not captured are
//! zero.

use std::net::IpAddr;

use allocator_api2::vec::Vec as ExpertVec;
use expert_alloc::{Error, Expert, ExpertHandle};

use crate::expert::push;
use crate::frame::{Fragment, Ip};
use crate::raw_buffer::RawBuffer;

/// The longest payload that a datagram can have.
const MAX_BYTES: u32 = 65_535;

/// The identity of a datagram, which all its fragments share (RFC 791, RFC 8200).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DatagramId {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    identification: u32,
}

impl DatagramId {
    pub fn of(ip: &Ip, fragment: &Fragment) -> Self {
        Self {
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            identification: fragment.identification,
        }
    }
}

/// The outcome of adding a fragment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// Others are missing.
    Waiting,
    /// It was the last one missing.
    Complete,
    /// It lies beyond the longest datagram.
    Discarded,
}

/// A datagram of which fragments are missing.
pub struct Datagram<'e> {
    expert: &'e Expert,
    bytes: RawBuffer<'e>,
    /// The ranges that have arrived, in order, disjoint and not touching.
    have: ExpertVec<(u32, u32), ExpertHandle<'e>>,
    /// Its length, once the last fragment has come.
    len: Option<u32>,
}

impl<'e> Datagram<'e> {
    pub fn new(expert: &'e Expert) -> Self {
        let have = ExpertVec::new_in(expert.allocator());
        Self { expert, bytes: RawBuffer::new(expert), have, len: None }
    }

    /// Adds a fragment of `wire_len` bytes, of which `payload` was captured.
    ///
    /// # Errors
    ///
    /// The error of a memory call.
    pub fn add(
        &mut self,
        fragment: &Fragment,
        payload: &[u8],
        wire_len: u32,
    ) -> Result<Joined, Error> {
        let (start, end) = (fragment.offset, fragment.offset.saturating_add(wire_len));
        if end > MAX_BYTES {
            return Ok(Joined::Discarded);
        }
        self.bytes.write_at(start as usize, payload, wire_len as usize)?;
        if !fragment.more {
            self.len = Some(end);
        }
        self.note(start, end)?;
        let complete = self
            .len
            .is_some_and(|len| self.have.first().is_some_and(|&(from, to)| from == 0 && to >= len));
        Ok(if complete { Joined::Complete } else { Joined::Waiting })
    }

    /// The payload of a complete datagram.
    pub fn payload(&self) -> &[u8] {
        &self.bytes.as_slice()[..self.len.unwrap_or(0) as usize]
    }

    /// Gives its memory back.
    ///
    /// # Errors
    ///
    /// As [`RawBuffer::free`].
    pub fn free(mut self) -> Result<(), Error> {
        self.bytes.free()
    }

    /// Adds `start..end` to the ranges that have arrived, and joins ranges that touch.
    fn note(&mut self, mut start: u32, mut end: u32) -> Result<(), Error> {
        self.have.retain(|&(from, to)| {
            let apart = to < start || from > end;
            if !apart {
                (start, end) = (start.min(from), end.max(to));
            }
            apart
        });
        push(self.expert, &mut self.have, (start, end))?;
        self.have.sort_unstable();
        Ok(())
    }
}
