//! Turns bytes into [`Layers`]: etherparse parses the headers, and this file judges them.
//!
//! A frame is malformed if a header does not parse, or if its length field reaches beyond
//! the frame. This does not hold if the capture cut the frame short, because the missing
//! bytes were there on the wire.

use std::net::IpAddr;

use etherparse::err::packet::SliceError;
use etherparse::{
    EtherType, Ipv6ExtensionSlice, LaxIpv4Slice, LaxIpv6Slice, LaxNetSlice, LaxSlicedPacket,
    LinkSlice, LinuxSllProtocolType, LinuxSllSlice, TcpSlice, TransportSlice, UdpSlice, ip_number,
};

use crate::frame::{Fragment, Ip, Layers, Link, Network, Span, Tcp, Transport};

/// How the frames of a capture begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// BSD loopback: four bytes of address family, in either byte order.
    Null,
    Ethernet,
    RawIp,
    LinuxCooked,
    LinuxCooked2,
}

impl LinkType {
    /// The link type that a capture names by its LINKTYPE number; `None` for types that
    /// this host cannot parse.
    ///
    /// Numbers from <https://www.tcpdump.org/linktypes.html>; 12 and 14 are
    /// what some systems wrote for raw IP.
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 | 108 => Self::Null,
            1 => Self::Ethernet,
            12 | 14 | 101 | 228 | 229 => Self::RawIp,
            113 => Self::LinuxCooked,
            276 => Self::LinuxCooked2,
            _ => return None,
        })
    }
}

/// Reads the headers of a frame that had `wire_len` bytes, of which `bytes`
/// were captured.
pub fn dissect(link_type: LinkType, bytes: &[u8], wire_len: u32) -> Layers {
    let missing = (wire_len as usize).saturating_sub(bytes.len());
    let mut layers = Layers { wire_payload: wire_len, ..Layers::default() };
    let Some(packet) = slice(link_type, bytes, &mut layers.link) else {
        layers.malformed = missing == 0;
        return layers;
    };
    let subject = Subject { bytes, missing };
    layers.vlan = !packet.link_exts.is_empty();
    layers.malformed = packet.stop_err.as_ref().is_some_and(|(error, _)| match error {
        SliceError::Len(_) => missing == 0,
        _ => true,
    });
    layers.announced = packet.ether_payload().map(|payload| payload.ether_type.0);
    if is_contradicted(&packet.net, layers.announced) {
        layers.malformed = true;
        return layers;
    }
    match &packet.net {
        None => {}
        Some(LaxNetSlice::Arp(_)) => layers.network = Network::Arp,
        Some(LaxNetSlice::Ipv4(ip)) => subject.ipv4(ip, &mut layers),
        Some(LaxNetSlice::Ipv6(ip)) => subject.ipv6(ip, &mut layers),
    }
    if let Some(transport) = &packet.transport {
        subject.transport(transport, &mut layers);
    }
    layers
}

/// Whether the version of the IP header contradicts the header before it; etherparse looks
/// at the IP header alone.
fn is_contradicted(net: &Option<LaxNetSlice<'_>>, announced: Option<u16>) -> bool {
    match net {
        Some(LaxNetSlice::Ipv4(_)) => announced == Some(EtherType::IPV6.0),
        Some(LaxNetSlice::Ipv6(_)) => announced == Some(EtherType::IPV4.0),
        _ => false,
    }
}

/// Removes the link header and lets etherparse slice the rest. `None` where the link
/// header, or the first header of a raw packet, does not parse.
fn slice<'a>(link_type: LinkType, bytes: &'a [u8], link: &mut Link) -> Option<LaxSlicedPacket<'a>> {
    match link_type {
        LinkType::Ethernet => {
            let packet = LaxSlicedPacket::from_ethernet(bytes).ok()?;
            if let Some(LinkSlice::Ethernet2(header)) = &packet.link {
                let (source, destination) = (header.source(), header.destination());
                *link = Link::Ethernet { source, destination, ether_type: header.ether_type().0 };
            }
            Some(packet)
        }
        LinkType::RawIp => {
            *link = Link::RawIp;
            LaxSlicedPacket::from_ip(bytes).ok()
        }
        LinkType::Null => {
            let packet = bytes.get(4..)?;
            *link = Link::Loopback;
            LaxSlicedPacket::from_ip(packet).ok()
        }
        LinkType::LinuxCooked => {
            let header = LinuxSllSlice::from_slice(bytes).ok()?;
            let ether_type = match header.protocol_type() {
                LinuxSllProtocolType::EtherType(ether_type) => ether_type,
                _ => EtherType(0),
            };
            *link = Link::Cooked { ether_type: ether_type.0 };
            Some(LaxSlicedPacket::from_ether_type(ether_type, header.payload_slice()))
        }
        LinkType::LinuxCooked2 => {
            // Version 2 begins with the protocol and is 20 bytes long.
            let (header, payload) = bytes.split_at_checked(20)?;
            let ether_type = u16::from_be_bytes([header[0], header[1]]);
            *link = Link::Cooked { ether_type };
            Some(LaxSlicedPacket::from_ether_type(EtherType(ether_type), payload))
        }
    }
}

/// The frame being dissected.
struct Subject<'a> {
    bytes: &'a [u8],
    /// Bytes that were on the wire and not captured.
    missing: usize,
}

impl Subject<'_> {
    fn ipv4(&self, ip: &LaxIpv4Slice<'_>, layers: &mut Layers) {
        let header = ip.header();
        let fragment = header.is_fragmenting_payload().then(|| Fragment {
            identification: header.identification().into(),
            offset: u32::from(header.fragments_offset().value()) * 8,
            more: header.more_fragments(),
        });
        let stated = usize::from(header.total_len());
        let payload = ip.payload();
        let ip = Ip {
            source: IpAddr::V4(header.source_addr()),
            destination: IpAddr::V4(header.destination_addr()),
            ttl: header.ttl(),
            protocol: payload.ip_number.0,
            fragment,
        };
        let before = header.slice().len();
        self.network(ip, payload, stated.checked_sub(before), stated == 0, layers);
    }

    fn ipv6(&self, ip: &LaxIpv6Slice<'_>, layers: &mut Layers) {
        let header = ip.header();
        let fragment = ip.extensions().clone().into_iter().find_map(|extension| match extension {
            Ipv6ExtensionSlice::Fragment(header) if header.is_fragmenting_payload() => {
                Some(Fragment {
                    identification: header.identification(),
                    offset: u32::from(header.fragment_offset().value()) * 8,
                    more: header.more_fragments(),
                })
            }
            _ => None,
        });
        let stated = usize::from(header.payload_length());
        let extensions = ip.extensions().slice().len();
        let payload = ip.payload();
        let ip = Ip {
            source: IpAddr::V6(header.source_addr()),
            destination: IpAddr::V6(header.destination_addr()),
            ttl: header.hop_limit(),
            protocol: payload.ip_number.0,
            fragment,
        };
        self.network(ip, payload, stated.checked_sub(extensions), stated == 0, layers);
    }

    /// Notes an IP header whose length field leaves `stated` bytes of payload. Frames
    /// captured on their way out, before a network card segments them, have a length of 0
    /// (`unset`). For these the end of the frame counts.
    fn network(
        &self,
        ip: Ip,
        payload: &etherparse::LaxIpPayloadSlice<'_>,
        stated: Option<usize>,
        unset: bool,
        layers: &mut Layers,
    ) {
        let on_the_wire = match stated {
            Some(stated) if !unset => stated,
            _ => payload.payload.len() + self.missing,
        };
        let too_short = stated.is_none() && !unset && self.missing == 0;
        layers.malformed |= too_short || (payload.incomplete && !unset && self.missing == 0);
        layers.payload = self.span(payload.payload);
        layers.wire_payload = on_the_wire as u32;
        if ip.fragment.is_some_and(|fragment| fragment.offset == 0) {
            layers.transport = first_fragment(ip.protocol, payload.payload);
        } else if ip.fragment.is_none() && !is_sliced(ip.protocol) {
            layers.transport = Transport::Other;
        }
        layers.network = Network::Ip(ip);
    }

    fn transport(&self, transport: &TransportSlice<'_>, layers: &mut Layers) {
        let (found, payload, header_len) = match transport {
            TransportSlice::Tcp(tcp) => {
                (Transport::Tcp(tcp_header(tcp)), tcp.payload(), tcp.header_slice().len())
            }
            TransportSlice::Udp(udp) => {
                let stated = u32::from(udp.length());
                layers.malformed |= stated != 0 && (stated < 8 || stated > layers.wire_payload);
                (udp_ports(udp), udp.payload(), 8)
            }
            TransportSlice::Icmpv4(icmp) => {
                (Transport::Icmp, icmp.payload(), icmp.slice().len() - icmp.payload().len())
            }
            TransportSlice::Icmpv6(icmp) => {
                (Transport::Icmpv6, icmp.payload(), icmp.slice().len() - icmp.payload().len())
            }
            TransportSlice::Igmp(_) => (Transport::Igmp, [].as_slice(), 0),
        };
        layers.transport = found;
        layers.payload = self.span(payload);
        layers.wire_payload = layers.wire_payload.saturating_sub(header_len as u32);
    }

    /// Where `part`, a slice of the frame, lies within it.
    fn span(&self, part: &[u8]) -> Span {
        if part.is_empty() {
            return Span::default();
        }
        let start = part.as_ptr().addr() - self.bytes.as_ptr().addr();
        Span { start: start as u32, end: (start + part.len()) as u32 }
    }
}

/// The ports in a datagram's first fragment, if it is long enough to hold them. The lengths
/// in its other headers are those of the whole datagram.
fn first_fragment(protocol: u8, payload: &[u8]) -> Transport {
    match protocol {
        n if n == ip_number::TCP.0 => TcpSlice::from_slice(payload)
            .map_or(Transport::None, |tcp| Transport::Tcp(tcp_header(&tcp))),
        n if n == ip_number::UDP.0 => {
            UdpSlice::from_slice_lax(payload).map_or(Transport::None, |udp| udp_ports(&udp))
        }
        n if n == ip_number::ICMP.0 => Transport::Icmp,
        n if n == ip_number::IPV6_ICMP.0 => Transport::Icmpv6,
        _ => Transport::Other,
    }
}

/// Whether etherparse parses this protocol. If it does, and found no header, the header
/// does not parse.
fn is_sliced(protocol: u8) -> bool {
    use ip_number::{ICMP, IGMP, IPV6_ICMP, TCP, UDP};
    [ICMP, IGMP, IPV6_ICMP, TCP, UDP].iter().any(|sliced| sliced.0 == protocol)
}

fn tcp_header(tcp: &TcpSlice<'_>) -> Tcp {
    Tcp {
        source_port: tcp.source_port(),
        destination_port: tcp.destination_port(),
        sequence: tcp.sequence_number(),
        acknowledgment: tcp.acknowledgment_number(),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        ack: tcp.ack(),
    }
}

fn udp_ports(udp: &UdpSlice<'_>) -> Transport {
    Transport::Udp { source_port: udp.source_port(), destination_port: udp.destination_port() }
}
