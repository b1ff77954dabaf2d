//! Property Distribution: how often each value of one chosen property occurs.
//!
//! A frame that has the property counts once under its value, with its whole length on the
//! wire. The option `--property` selects the property.
//!
//! Face: explicit. The values are a hash map in the expert's own memory.

use clap::ValueEnum;
use expert_alloc::{Error, Expert, ExpertHandle};
use hashbrown::{DefaultHashBuilder, HashMap};

use super::cut;
use crate::expert::{Hoard, NetworkExpert, reserve};
use crate::findings::Findings;
use crate::frame::{Frame, Transport};

/// A property that a frame may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Property {
    /// Bytes on the wire
    FrameLength,
    /// EtherType of the link header
    EtherType,
    /// Time to live, or hop limit
    IpTtl,
    /// Protocol number in the IP header, extension headers skipped
    IpProtocol,
    TcpSourcePort,
    TcpDestinationPort,
    UdpSourcePort,
    UdpDestinationPort,
}

impl Property {
    /// The property's value in `frame`; `None` if the frame does not have it.
    fn of(self, frame: &Frame<'_>) -> Option<u32> {
        let transport = &frame.layers.transport;
        match self {
            Self::FrameLength => Some(frame.wire_len),
            Self::EtherType => frame.layers.ether_type().map(u32::from),
            Self::IpTtl => frame.ip().map(|ip| ip.ttl.into()),
            Self::IpProtocol => frame.ip().map(|ip| ip.protocol.into()),
            Self::TcpSourcePort | Self::TcpDestinationPort => match transport {
                Transport::Tcp(tcp) if self == Self::TcpSourcePort => Some(tcp.source_port.into()),
                Transport::Tcp(tcp) => Some(tcp.destination_port.into()),
                _ => None,
            },
            Self::UdpSourcePort | Self::UdpDestinationPort => match transport {
                Transport::Udp { source_port, .. } if self == Self::UdpSourcePort => {
                    Some((*source_port).into())
                }
                Transport::Udp { destination_port, .. } => Some((*destination_port).into()),
                _ => None,
            },
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().into())
    }
}

#[derive(Clone, Copy, Default)]
struct Tally {
    frames: u64,
    bytes: u64,
}

pub struct PropertyDistribution<'e> {
    expert: &'e Expert,
    property: Property,
    values: HashMap<u32, Tally, DefaultHashBuilder, ExpertHandle<'e>>,
    hoard: Hoard<'e>,
}

impl<'e> PropertyDistribution<'e> {
    pub fn new(expert: &'e Expert, property: Property) -> Self {
        let values = HashMap::new_in(expert.allocator());
        Self { expert, property, values, hoard: Hoard::new(expert) }
    }
}

impl NetworkExpert for PropertyDistribution<'_> {
    const AMBIENT: bool = false;

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let Some(value) = self.property.of(frame) else {
            return Ok(());
        };
        reserve(self.expert, &mut self.values)?;
        let tally = self.values.entry(value).or_default();
        tally.frames += 1;
        tally.bytes += u64::from(frame.wire_len);
        Ok(())
    }

    fn hoard(&mut self) -> Result<(), Error> {
        self.hoard.more()
    }

    fn findings(&self, top: usize) -> Findings {
        let mut order: Vec<(u32, Tally)> = self.values.iter().map(|(v, t)| (*v, *t)).collect();
        order.sort_by_key(|(value, tally)| (std::cmp::Reverse(tally.frames), *value));
        let mut findings = Findings::new("values", &["value", "frames", "bytes"]);
        findings.figure("property", self.property.name());
        findings.figure("frames", order.iter().map(|(_, tally)| tally.frames).sum::<u64>());
        findings.figure("distinct", order.len() as u64);
        for (value, tally) in cut(&order, top) {
            let value = match self.property {
                Property::EtherType => format!("0x{value:04x}").into(),
                _ => u64::from(*value).into(),
            };
            findings.row(vec![value, tally.frames.into(), tally.bytes.into()]);
        }
        findings
    }
}
