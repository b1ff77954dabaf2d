//! Runs the main job, `examples/expert_host`, as a program: its results are compared with
//! the same figures computed in another way, and experts and captures are made to fail.

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
