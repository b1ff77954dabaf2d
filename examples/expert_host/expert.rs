//! The interface of a network expert to the host, and the ways in which experts ask for
//! memory.
//!
//! Rules of the house
//!
//! - R1 an expert's working state lies in its own memory, through one of the three ways to
//!   allocate; its report is in host memory.
//! - R2 an expert that allocates explicitly (by handle or raw calls) reserves memory first
//!   and handles a refusal, so it never makes a call that would abort.
//! - R3 between batches it passes a [`checkpoint`], which tells it whether it must stop.

use allocator_api2::vec::Vec as ExpertVec;
use clap::ValueEnum;
use expert_alloc::{Error, Expert, ExpertHandle};
use serde::Serialize;

use crate::findings::Findings;
use crate::frame::Frame;

/// The six experts that Network Monitor shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    ProtocolDistribution,
    PropertyDistribution,
    ProtocolCoalesce,
    TcpRetransmit,
    TopUsers,
    AverageServerResponseTime,
}

impl Name {
    pub const ALL: [Self; 6] = [
        Self::ProtocolDistribution,
        Self::PropertyDistribution,
        Self::ProtocolCoalesce,
        Self::TcpRetransmit,
        Self::TopUsers,
        Self::AverageServerResponseTime,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProtocolDistribution => "protocol-distribution",
            Self::PropertyDistribution => "property-distribution",
            Self::ProtocolCoalesce => "protocol-coalesce",
            Self::TcpRetransmit => "tcp-retransmit",
            Self::TopUsers => "top-users",
            Self::AverageServerResponseTime => "average-server-response-time",
        }
    }
}

/// An analysis that sees every frame once, in the order of the capture.
pub trait NetworkExpert {
    /// Whether it allocates through the global allocator: the host then enters
    /// the expert's scope around every call below except `findings`.
    const AMBIENT: bool;

    /// Takes in one frame.
    ///
    /// # Errors
    ///
    /// The error of a memory call.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Error>;

    /// Called once after the last frame.
    ///
    /// # Errors
    ///
    /// The error of a memory call.
    fn end(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Takes a piece of memory and keeps it, as an expert with a leak does.
    ///
    /// # Errors
    ///
    /// The error of a memory call.
    fn hoard(&mut self) -> Result<(), Error>;

    /// Its results, in host memory, with lists cut to `top` rows (0: not cut).
    fn findings(&self, top: usize) -> Findings;
}

/// Bytes that a hoarding expert takes at a time.
pub const HOARD_BYTES: usize = 256 << 10;

/// Checks whether the expert was told to stop or has overdrawn its quota, by the shortest
/// raw call.
///
/// # Errors
///
/// [`Error::Terminated`], or that there is no memory.
pub fn checkpoint(expert: &Expert) -> Result<(), Error> {
    let block = expert.alloc(0)?;
    expert.free(block.as_ptr())
}

/// The reason why a collection was refused `bytes`. Collections lose the reason, so the
/// same request is made once more by a raw call.
pub fn why_refused(expert: &Expert, bytes: usize) -> Error {
    match expert.alloc(bytes) {
        Err(reason) => reason,
        // The raw call found room because it has less overhead; this still counts as a full
        // quota.
        Ok(block) => expert.free(block.as_ptr()).err().unwrap_or(Error::QuotaExceeded),
    }
}

/// Pushes to a vector in an expert's memory, or returns the reason why it cannot grow.
///
/// # Errors
///
/// The error of a memory call.
pub fn push<'e, T>(
    expert: &Expert,
    vec: &mut ExpertVec<T, ExpertHandle<'e>>,
    value: T,
) -> Result<(), Error> {
    if vec.try_reserve(1).is_err() {
        return Err(why_refused(expert, (vec.capacity() * 2).max(4) * size_of::<T>()));
    }
    vec.push(value);
    Ok(())
}

/// Makes room for one more entry in a map in an expert's memory.
///
/// # Errors
///
/// The error of a memory call.
pub fn reserve<'e, K, V, S>(
    expert: &Expert,
    map: &mut hashbrown::HashMap<K, V, S, ExpertHandle<'e>>,
) -> Result<(), Error>
where
    K: Eq + std::hash::Hash,
    S: std::hash::BuildHasher,
{
    map.try_reserve(1).map_err(|refused| match refused {
        hashbrown::TryReserveError::AllocError { layout } => why_refused(expert, layout.size()),
        hashbrown::TryReserveError::CapacityOverflow => Error::OutOfMemory,
    })
}

/// Memory that is allocated by a handle and never used.
pub struct Hoard<'e> {
    expert: &'e Expert,
    pieces: ExpertVec<ExpertVec<u8, ExpertHandle<'e>>, ExpertHandle<'e>>,
}

impl<'e> Hoard<'e> {
    pub fn new(expert: &'e Expert) -> Self {
        Self { expert, pieces: ExpertVec::new_in(expert.allocator()) }
    }

    /// Takes another piece.
    ///
    /// # Errors
    ///
    /// The error of a memory call.
    pub fn more(&mut self) -> Result<(), Error> {
        let mut piece = ExpertVec::new_in(self.expert.allocator());
        if piece.try_reserve_exact(HOARD_BYTES).is_err() {
            return Err(why_refused(self.expert, HOARD_BYTES));
        }
        piece.resize(HOARD_BYTES, 0xee);
        push(self.expert, &mut self.pieces, piece)
    }
}
