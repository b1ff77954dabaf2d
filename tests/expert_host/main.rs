//! The main job, `examples/expert_host`, run as a program: its results against
//! the same figures computed another way, experts that go wrong, and captures
//! that are wrong themselves.

mod captures;
#[path = "../common/mod.rs"]
mod common;
#[path = "../../examples/expert_host/conversation.rs"]
mod conversation;
mod edges;
mod faults;
mod inputs;
mod link_types;
mod messages;
mod oracle;
mod packet;
mod program;
mod results;
mod streams;
#[path = "../../examples/expert_host/traffic.rs"]
mod traffic;
