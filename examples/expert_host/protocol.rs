//! The protocols that the host can name, and their ports.
//!
//! Nothing here looks at bytes: the well-known port determines the protocol above TCP or
//! UDP, as in Network Monitor's own parser table.

/// The transport that a port number belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Ports of TCP.
    Tcp,
    /// Ports of UDP.
    Udp,
}

macro_rules! protocols {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// One layer that a frame can be counted under.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Protocol {
            $(#[doc = $name] $variant),*
        }

        impl Protocol {
            /// The name that reports use.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),*
                }
            }
        }
    };
}

protocols! {
    Ethernet = "ethernet",
    LinuxCooked = "linux-cooked",
    Loopback = "loopback",
    RawIp = "raw-ip",
    Vlan = "vlan",
    Llc = "llc",
    OtherEtherType = "other-ethertype",
    Arp = "arp",
    Ipv4 = "ipv4",
    Ipv6 = "ipv6",
    IpFragment = "ip-fragment",
    Icmp = "icmp",
    Icmpv6 = "icmpv6",
    Igmp = "igmp",
    Tcp = "tcp",
    Udp = "udp",
    OtherIp = "other-ip",
    Afs = "afs",
    Dhcp = "dhcp",
    Dns = "dns",
    Ftp = "ftp",
    Http = "http",
    Imap = "imap",
    Kerberos = "kerberos",
    Ldap = "ldap",
    Llmnr = "llmnr",
    Mdns = "mdns",
    NetBios = "netbios",
    Nfs = "nfs",
    Ntp = "ntp",
    OpenFlow = "openflow",
    Pop3 = "pop3",
    Quic = "quic",
    Rdp = "rdp",
    Sip = "sip",
    Smb = "smb",
    Smtp = "smtp",
    Snmp = "snmp",
    Ssdp = "ssdp",
    Ssh = "ssh",
    Syslog = "syslog",
    Telnet = "telnet",
    Tls = "tls",
}

impl Protocol {
    /// The protocol above `carrier` between these two ports: that of the lower port if it
    /// is well known, otherwise that of the higher. The rule is symmetric, so both
    /// directions of a conversation get the same name.
    pub fn by_ports(carrier: Carrier, one: u16, other: u16) -> Option<Self> {
        let known = |port| Self::by_port(carrier, port);
        known(one.min(other)).or_else(|| known(one.max(other)))
    }

    /// The protocol that usually has `port`.
    fn by_port(carrier: Carrier, port: u16) -> Option<Self> {
        match carrier {
            Carrier::Tcp => Self::by_tcp_port(port),
            Carrier::Udp => Self::by_udp_port(port),
        }
    }

    const fn by_tcp_port(port: u16) -> Option<Self> {
        Some(match port {
            20 | 21 => Self::Ftp,
            22 => Self::Ssh,
            23 => Self::Telnet,
            25 | 587 => Self::Smtp,
            53 => Self::Dns,
            80 | 3128 | 8000 | 8080 => Self::Http,
            88 => Self::Kerberos,
            110 => Self::Pop3,
            139 => Self::NetBios,
            143 => Self::Imap,
            389 => Self::Ldap,
            443 | 465 | 636 | 853 | 993 | 995 | 8443 => Self::Tls,
            445 => Self::Smb,
            2049 => Self::Nfs,
            3389 => Self::Rdp,
            5060 => Self::Sip,
            6633 | 6653 => Self::OpenFlow,
            _ => return None,
        })
    }

    const fn by_udp_port(port: u16) -> Option<Self> {
        Some(match port {
            53 => Self::Dns,
            67 | 68 => Self::Dhcp,
            80 | 443 | 8443 => Self::Quic,
            88 => Self::Kerberos,
            123 => Self::Ntp,
            137 | 138 => Self::NetBios,
            161 | 162 => Self::Snmp,
            389 => Self::Ldap,
            514 => Self::Syslog,
            1900 => Self::Ssdp,
            2049 => Self::Nfs,
            3389 => Self::Rdp,
            5060 => Self::Sip,
            5353 => Self::Mdns,
            5355 => Self::Llmnr,
            7000..=7009 => Self::Afs,
            _ => return None,
        })
    }
}
