//! Top Users: the addresses that send and receive the most.
//!
//! A frame counts for its sender as sent and for its receiver as received, with its whole
//! length on the wire. Users are IP addresses, or Ethernet addresses for a frame without an
//! IP packet (for example ARP, or a malformed frame). A frame that says neither counts for
//! nobody. Users are in the order of bytes sent and received together, then of the address.
//!
//! Face: explicit. The users are a hash map in the expert's own memory.

use expert_alloc::{Error, Expert, ExpertHandle};
use hashbrown::{DefaultHashBuilder, HashMap};

use super::cut;
use crate::expert::{Hoard, NetworkExpert, reserve};
use crate::findings::Findings;
use crate::frame::{Address, Frame};

#[derive(Clone, Copy, Default)]
struct Traffic {
    sent_frames: u64,
    sent_bytes: u64,
    received_frames: u64,
    received_bytes: u64,
}

pub struct TopUsers<'e> {
    expert: &'e Expert,
    users: HashMap<Address, Traffic, DefaultHashBuilder, ExpertHandle<'e>>,
    frames: u64,
    bytes: u64,
    hoard: Hoard<'e>,
}

impl<'e> TopUsers<'e> {
    pub fn new(expert: &'e Expert) -> Self {
        let users = HashMap::new_in(expert.allocator());
        Self { expert, users, frames: 0, bytes: 0, hoard: Hoard::new(expert) }
    }

    fn user(&mut self, address: Address) -> Result<&mut Traffic, Error> {
        reserve(self.expert, &mut self.users)?;
        Ok(self.users.entry(address).or_default())
    }
}

impl NetworkExpert for TopUsers<'_> {
    const AMBIENT: bool = false;

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let Some((sender, receiver)) = frame.addresses() else {
            return Ok(());
        };
        let bytes = u64::from(frame.wire_len);
        self.frames += 1;
        self.bytes += bytes;
        let sender = self.user(sender)?;
        sender.sent_frames += 1;
        sender.sent_bytes += bytes;
        let receiver = self.user(receiver)?;
        receiver.received_frames += 1;
        receiver.received_bytes += bytes;
        Ok(())
    }

    fn hoard(&mut self) -> Result<(), Error> {
        self.hoard.more()
    }

    fn findings(&self, top: usize) -> Findings {
        let mut order: Vec<(Address, Traffic)> = self.users.iter().map(|(a, t)| (*a, *t)).collect();
        order.sort_by_key(|(address, traffic)| {
            (std::cmp::Reverse(traffic.sent_bytes + traffic.received_bytes), *address)
        });
        let mut findings = Findings::new(
            "top",
            &["address", "sent_frames", "sent_bytes", "received_frames", "received_bytes"],
        );
        findings.figure("users", order.len() as u64);
        findings.figure("frames", self.frames);
        findings.figure("bytes", self.bytes);
        for (address, traffic) in cut(&order, top) {
            findings.row(vec![
                address.to_string().into(),
                traffic.sent_frames.into(),
                traffic.sent_bytes.into(),
                traffic.received_frames.into(),
                traffic.received_bytes.into(),
            ]);
        }
        findings
    }
}
