//! A frame as the experts see it: a view of the bytes and of their parsed headers, both in
//! host memory and shared by all experts.
//!
//! Headers are dissected once, by the host (see `dissect`), not six times.
//!
//! A frame is *malformed* when one of its headers does not parse or contradicts the frame's
//! length; the layers that could be read still count. A frame is *cut* when the capture
//! holds fewer bytes than were on the wire; it is then not malformed.

use std::fmt;
use std::net::IpAddr;

use crate::protocol::{Carrier, Protocol};

/// The sender or receiver of a frame: an IP address, or a hardware address if the frame
/// carries no IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// An Ethernet address.
    Mac([u8; 6]),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Mac([a, b, c, d, e, g]) => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
        }
    }
}

/// The layer below the network layer.
#[derive(Clone, Copy, Debug, Default)]
pub enum Link {
    /// Not even this header parsed.
    #[default]
    None,
    /// Ethernet II or 802.3.
    Ethernet { source: [u8; 6], destination: [u8; 6], ether_type: u16 },
    /// Linux "cooked" capture, version 1 or 2.
    Cooked { ether_type: u16 },
    /// BSD loopback: an address family in front of the packet.
    Loopback,
    /// Nothing in front of the IP packet.
    RawIp,
}

/// Where in its datagram a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The same for all fragments of a datagram.
    pub identification: u32,
    /// First byte of this fragment within the datagram's payload.
    pub offset: u32,
    /// Whether more fragments follow this one.
    pub more: bool,
}

/// An IPv4 or IPv6 header.
#[derive(Clone, Copy, Debug)]
pub struct Ip {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// The protocol of the payload, extension headers skipped.
    pub protocol: u8,
    pub fragment: Option<Fragment>,
}

/// The network layer.
#[derive(Clone, Copy, Debug, Default)]
pub enum Network {
    #[default]
    None,
    Arp,
    Ip(Ip),
}

/// A TCP header.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    pub source_port: u16,
    pub destination_port: u16,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub ack: bool,
}

/// The layer above IP.
#[derive(Clone, Copy, Debug, Default)]
pub enum Transport {
    #[default]
    None,
    Tcp(Tcp),
    Udp {
        source_port: u16,
        destination_port: u16,
    },
    Icmp,
    Icmpv6,
    Igmp,
    /// Another IP protocol.
    Other,
}

/// Part of a frame's bytes, as first byte and end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

/// The content of all headers of one frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layers {
    pub link: Link,
    pub vlan: bool,
    /// The protocol that the last header before the network layer announces.
    pub announced: Option<u16>,
    pub network: Network,
    pub transport: Transport,
    /// The captured payload of the innermost header; of a fragment, the
    /// payload of its IP header.
    pub payload: Span,
    /// Bytes that this payload had on the wire.
    pub wire_payload: u32,
    pub malformed: bool,
}

/// One frame of the capture, as the experts see it.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// Nanoseconds since the epoch.
    pub time: u64,
    /// Length on the wire, in bytes.
    pub wire_len: u32,
    /// The captured bytes.
    pub bytes: &'a [u8],
    pub layers: &'a Layers,
}

/// A whole TCP segment: one that is neither malformed nor a fragment.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    pub ip: &'a Ip,
    pub tcp: &'a Tcp,
    /// Its payload as far as it was captured.
    pub payload: &'a [u8],
    /// Bytes of payload on the wire.
    pub wire_payload: u32,
}

impl<'a> Frame<'a> {
    /// The captured payload of the innermost header.
    pub fn payload(&self) -> &'a [u8] {
        let Span { start, end } = self.layers.payload;
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }

    /// The IP header, if the frame has one.
    pub fn ip(&self) -> Option<&'a Ip> {
        match &self.layers.network {
            Network::Ip(ip) => Some(ip),
            _ => None,
        }
    }

    /// The TCP segment in this frame, if the frame has the whole segment.
    pub fn segment(&self) -> Option<Segment<'a>> {
        let layers = self.layers;
        match (&layers.network, &layers.transport) {
            (Network::Ip(ip), Transport::Tcp(tcp))
                if ip.fragment.is_none() && !layers.malformed =>
            {
                Some(Segment {
                    ip,
                    tcp,
                    payload: self.payload(),
                    wire_payload: layers.wire_payload,
                })
            }
            _ => None,
        }
    }

    /// Sender and receiver, if a header names them.
    pub fn addresses(&self) -> Option<(Address, Address)> {
        match (&self.layers.network, &self.layers.link) {
            (Network::Ip(ip), _) => Some((Address::Ip(ip.source), Address::Ip(ip.destination))),
            (_, Link::Ethernet { source, destination, .. }) => {
                Some((Address::Mac(*source), Address::Mac(*destination)))
            }
            _ => None,
        }
    }

    /// Every protocol whose header is in this frame, outermost first.
    pub fn protocols(&self) -> impl Iterator<Item = Protocol> + use<> {
        let layers = self.layers;
        let fragment = self.ip().is_some_and(|ip| ip.fragment.is_some());
        let (transport, application) = match layers.transport {
            Transport::None => (None, None),
            Transport::Tcp(Tcp { source_port, destination_port, .. }) => (
                Some(Protocol::Tcp),
                Protocol::by_ports(Carrier::Tcp, source_port, destination_port),
            ),
            Transport::Udp { source_port, destination_port } => (
                Some(Protocol::Udp),
                Protocol::by_ports(Carrier::Udp, source_port, destination_port),
            ),
            Transport::Icmp => (Some(Protocol::Icmp), None),
            Transport::Icmpv6 => (Some(Protocol::Icmpv6), None),
            Transport::Igmp => (Some(Protocol::Igmp), None),
            Transport::Other => (Some(Protocol::OtherIp), None),
        };
        let stack = [
            layers.link_protocol(),
            layers.vlan.then_some(Protocol::Vlan),
            layers.network_protocol(),
            fragment.then_some(Protocol::IpFragment),
            transport,
            application,
        ];
        stack.into_iter().flatten()
    }
}

impl Layers {
    fn link_protocol(&self) -> Option<Protocol> {
        match self.link {
            Link::None => None,
            Link::Ethernet { .. } => Some(Protocol::Ethernet),
            Link::Cooked { .. } => Some(Protocol::LinuxCooked),
            Link::Loopback => Some(Protocol::Loopback),
            Link::RawIp => Some(Protocol::RawIp),
        }
    }

    fn network_protocol(&self) -> Option<Protocol> {
        match self.network {
            Network::Arp => Some(Protocol::Arp),
            Network::Ip(Ip { source: IpAddr::V4(_), .. }) => Some(Protocol::Ipv4),
            Network::Ip(Ip { source: IpAddr::V6(_), .. }) => Some(Protocol::Ipv6),
            Network::None if self.malformed => None,
            Network::None => match self.announced? {
                0..=0x5ff => Some(Protocol::Llc),
                _ => Some(Protocol::OtherEtherType),
            },
        }
    }

    /// The EtherType of the link header (of a VLAN's outer tag, where tagged).
    pub fn ether_type(&self) -> Option<u16> {
        match self.link {
            Link::Ethernet { ether_type, .. } | Link::Cooked { ether_type } => Some(ether_type),
            _ => None,
        }
    }
}
