//! Headers read by offset, straight from the RFCs: a second way to parse a frame. It knows
//! only Ethernet, and IPv6 without extension headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::captures::Captured;

/// A frame, as the oracle reads it.
#[derive(Clone, Debug, Default)]
pub struct Packet {
    pub time: u64,
    pub wire_len: u64,
    /// Protocol names, outermost first.
    pub protocols: Vec<&'static str>,
    pub malformed: bool,
    pub ether_type: Option<u16>,
    pub macs: Option<([u8; 6], [u8; 6])>,
    pub ips: Option<(IpAddr, IpAddr)>,
    pub ttl: u8,
    pub protocol: u8,
    /// Identification, offset, more fragments.
    pub fragment: Option<(u32, usize, bool)>,
    pub ports: Option<(u16, u16)>,
    pub tcp: Option<Tcp>,
    /// The payload of the innermost header.
    pub payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: u8,
}

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

impl Packet {
    /// Whether this is a whole, valid TCP segment.
    pub fn segment(&self) -> Option<Tcp> {
        self.tcp.filter(|_| !self.malformed && self.fragment.is_none())
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

/// Parses a wholly captured frame.
pub fn parse(frame: &Captured) -> Packet {
    assert_eq!(frame.wire_len as usize, frame.bytes.len(), "the oracle wants whole frames");
    let mut packet =
        Packet { time: frame.time, wire_len: frame.wire_len.into(), ..Packet::default() };
    packet.malformed = ethernet(&frame.bytes, &mut packet).is_none();
    packet
}

/// Each of these notes what it reads, and returns `None` at the first header
/// that is broken.
fn ethernet(bytes: &[u8], packet: &mut Packet) -> Option<()> {
    let mut ether_type = u16_at(bytes, 12)?;
    packet.protocols.push("ethernet");
    packet.macs = Some((bytes[6..12].try_into().ok()?, bytes[..6].try_into().ok()?));
    packet.ether_type = Some(ether_type);
    let mut offset = 14;
    if ether_type == 0x8100 {
        ether_type = u16_at(bytes, 16)?;
        packet.protocols.push("vlan");
        offset = 18;
    }
    match ether_type {
        0x0800 => ipv4(&bytes[offset..], packet),
        0x86dd => ipv6(&bytes[offset..], packet),
        0x0806 => {
            let arp = &bytes[offset..];
            let lengths = arp.get(4..8)?;
            let need = 8 + 2 * usize::from(lengths[0]) + 2 * usize::from(lengths[1]);
            arp.get(..need)?;
            packet.protocols.push("arp");
            Some(())
        }
        0..0x600 => {
            packet.protocols.push("llc");
            Some(())
        }
        _ => {
            packet.protocols.push("other-ethertype");
            Some(())
        }
    }
}

fn ipv4(bytes: &[u8], packet: &mut Packet) -> Option<()> {
    let first = *bytes.first()?;
    let header = usize::from(first & 15) * 4;
    if first >> 4 != 4 || header < 20 || bytes.len() < header {
        return None;
    }
    packet.protocols.push("ipv4");
    let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(u32_at(bytes, at)?)));
    packet.ips = Some((address(12)?, address(16)?));
    (packet.ttl, packet.protocol) = (bytes[8], bytes[9]);
    let fragment = u16_at(bytes, 6)?;
    if fragment & 0x3fff != 0 {
        packet.protocols.push("ip-fragment");
        let offset = usize::from(fragment & 0x1fff) * 8;
        packet.fragment = Some((u16_at(bytes, 4)?.into(), offset, fragment & 0x2000 != 0));
    }
    match usize::from(u16_at(bytes, 2)?) {
        // The checksum is left to the network card.
        0 => transport(&bytes[header..], packet),
        total if total < header || total > bytes.len() => {
            // The captured bytes still name its protocols.
            let _ = transport(&bytes[header..], packet);
            None
        }
        total => transport(&bytes[header..total], packet),
    }
}

fn ipv6(bytes: &[u8], packet: &mut Packet) -> Option<()> {
    if bytes.len() < 40 || bytes[0] >> 4 != 6 {
        return None;
    }
    packet.protocols.push("ipv6");
    let address = |at: usize| {
        let octets: [u8; 16] = bytes[at..at + 16].try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(octets)))
    };
    packet.ips = Some((address(8)?, address(24)?));
    (packet.ttl, packet.protocol) = (bytes[7], bytes[6]);
    match usize::from(u16_at(bytes, 4)?) {
        0 => transport(&bytes[40..], packet),
        len if 40 + len > bytes.len() => {
            let _ = transport(&bytes[40..], packet);
            None
        }
        len => transport(&bytes[40..40 + len], packet),
    }
}

fn transport(bytes: &[u8], packet: &mut Packet) -> Option<()> {
    packet.payload = bytes.to_vec();
    let first = packet.fragment.is_none_or(|(_, offset, _)| offset == 0);
    if !first {
        return Some(());
    }
    let ports = || Some((u16_at(bytes, 0)?, u16_at(bytes, 2)?));
    match packet.protocol {
        6 => {
            let header = usize::from(*bytes.get(12)? >> 4) * 4;
            if header < 20 || bytes.len() < header {
                return None;
            }
            packet.ports = ports();
            packet.tcp = Some(Tcp {
                sequence: u32_at(bytes, 4)?,
                acknowledgment: u32_at(bytes, 8)?,
                flags: bytes[13],
            });
            packet.protocols.push("tcp");
            if packet.fragment.is_none() {
                packet.payload = bytes[header..].to_vec();
            }
        }
        17 => {
            let len = usize::from(u16_at(bytes, 4)?);
            bytes.get(..8)?;
            packet.ports = ports();
            packet.protocols.push("udp");
            if packet.fragment.is_none() {
                if len != 0 && (len < 8 || len > bytes.len()) {
                    packet.protocols.extend(application(packet));
                    return None;
                }
                packet.payload = bytes[8..].to_vec();
            }
        }
        1 => {
            bytes.get(..8)?;
            packet.protocols.push("icmp");
        }
        58 => {
            bytes.get(..8)?;
            packet.protocols.push("icmpv6");
        }
        2 => {
            bytes.get(..8)?;
            packet.protocols.push("igmp");
        }
        _ => packet.protocols.push("other-ip"),
    }
    packet.protocols.extend(application(packet));
    Some(())
}

/// The protocol of the ports, the lower one first, by IANA's registry and by custom.
fn application(packet: &Packet) -> Option<&'static str> {
    let (one, other) = packet.ports?;
    let known = |port: u16| {
        Some(match (packet.protocol, port) {
            (6, 20 | 21) => "ftp",
            (6, 22) => "ssh",
            (6, 23) => "telnet",
            (6, 25 | 587) => "smtp",
            (6 | 17, 53) => "dns",
            (17, 67 | 68) => "dhcp",
            (6, 80 | 8080 | 8000 | 3128) => "http",
            (17, 80 | 443 | 8443) => "quic",
            (6 | 17, 88) => "kerberos",
            (6, 110) => "pop3",
            (17, 123) => "ntp",
            (6, 139) | (17, 137 | 138) => "netbios",
            (6, 143) => "imap",
            (17, 161 | 162) => "snmp",
            (6 | 17, 389) => "ldap",
            (6, 443 | 465 | 636 | 853 | 993 | 995 | 8443) => "tls",
            (6, 445) => "smb",
            (17, 514) => "syslog",
            (17, 1900) => "ssdp",
            (6 | 17, 2049) => "nfs",
            (6 | 17, 3389) => "rdp",
            (6 | 17, 5060) => "sip",
            (17, 5353) => "mdns",
            (17, 5355) => "llmnr",
            (6, 6633 | 6653) => "openflow",
            (17, 7000..=7009) => "afs",
            _ => return None,
        })
    };
    known(one.min(other)).or_else(|| known(one.max(other)))
}
