//! The parts of TCP that three of the experts share: the ends of a connection, its
//! beginning, and positions in a byte stream beyond 32 bits.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::frame::{Segment, Tcp};

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// One end of a [`Pair`], as an index into `[_; 2]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Low = 0,
    High = 1,
}

impl Side {
    pub const fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// The two ends of a connection, in an order that does not depend on the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    pub low: Endpoint,
    pub high: Endpoint,
}

impl Pair {
    /// The ends of a segment's connection, and the end that sent it.
    pub fn of(segment: &Segment<'_>) -> (Self, Side) {
        let sender = Endpoint { address: segment.ip.source, port: segment.tcp.source_port };
        let receiver =
            Endpoint { address: segment.ip.destination, port: segment.tcp.destination_port };
        if sender <= receiver {
            (Self { low: sender, high: receiver }, Side::Low)
        } else {
            (Self { low: receiver, high: sender }, Side::High)
        }
    }

    pub const fn end(&self, side: Side) -> Endpoint {
        match side {
            Side::Low => self.low,
            Side::High => self.high,
        }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", self.low, self.high)
    }
}

/// How a connection was opened, as far as the capture shows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening {
    syn: Option<(u16, u32)>,
    seen: bool,
}

impl Opening {
    /// Takes note of a segment. Returns whether it begins a connection: it is the first one
    /// seen between these ends, or the first SYN with a new sequence number. Ends and ports
    /// are used again, so the same pair may have several connections.
    pub fn begins(&mut self, tcp: &Tcp) -> bool {
        let first = !std::mem::replace(&mut self.seen, true);
        if tcp.syn && !tcp.ack {
            let syn = Some((tcp.source_port, tcp.sequence));
            let again = std::mem::replace(&mut self.syn, syn) != syn;
            return first || again;
        }
        first
    }
}

/// Positions in one direction's stream of bytes: sequence numbers without
/// their wrap-around, counted from the first one seen.
///
/// They are right as long as no number is more than 2^31 away from the highest so far,
/// which TCP's window guarantees.
#[derive(Clone, Copy, Debug, Default)]
pub struct Positions {
    highest: Option<(u32, i64)>,
}

impl Positions {
    /// The position of a sequence number that was sent.
    pub fn sent(&mut self, sequence: u32) -> i64 {
        let position = self.of(sequence).unwrap_or(0);
        if self.highest.is_none_or(|(_, highest)| position > highest) {
            self.highest = Some((sequence, position));
        }
        position
    }

    /// The position of a sequence number; `None` where nothing was sent yet.
    pub fn of(&self, sequence: u32) -> Option<i64> {
        let (number, position) = self.highest?;
        Some(position + i64::from(sequence.wrapping_sub(number) as i32))
    }
}

/// The sequence number of a segment's first byte of payload: a SYN takes one
/// number itself.
pub const fn first_byte(tcp: &Tcp) -> u32 {
    tcp.sequence.wrapping_add(tcp.syn as u32)
}
