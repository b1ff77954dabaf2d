//! The six experts, one per file. The documentation of each defines its result exactly, so
//! that the result can be computed in another way.

mod average_server_response_time;
mod datagram;
mod flow;
mod property_distribution;
mod protocol_coalesce;
mod protocol_distribution;
mod tcp_retransmit;
mod top_users;

pub use average_server_response_time::AverageServerResponseTime;
pub use property_distribution::{Property, PropertyDistribution};
pub use protocol_coalesce::ProtocolCoalesce;
pub use protocol_distribution::ProtocolDistribution;
pub use tcp_retransmit::TcpRetransmit;
pub use top_users::TopUsers;

/// The rows that are shown of a sorted list.
fn cut<T>(rows: &[T], top: usize) -> &[T] {
    if top == 0 { rows } else { &rows[..rows.len().min(top)] }
}
