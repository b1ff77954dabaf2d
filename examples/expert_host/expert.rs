//! What a network expert is to the host, and how experts ask for memory.
//!
//! Rules of the house
//!
//! - R1 an expert's working state lies in its own memory, through one of the
//!   three faces; what it reports is host memory.
//! - R2 an expert that asks explicitly (handle, raw calls) is told when there
//!   is no more, so it never calls what would abort: it reserves first.
//! - R3 between batches it passes a [`checkpoint`], where it learns that it
//!   has to stop.

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
    /// Whatever its memory calls say.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Error>;

    /// Called once after the last frame.
    ///
    /// # Errors
    ///
    /// Whatever its memory calls say.
    fn end(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Takes a piece of memory and keeps it: what an expert with a leak does.
    ///
    /// # Errors
    ///
    /// Whatever its memory calls say.
    fn hoard(&mut self) -> Result<(), Error>;

    /// What it found, in host memory, its lists cut to `top` rows (0: whole).
    fn findings(&self, top: usize) -> Findings;
}

/// Bytes that a hoarding expert takes at a time.
pub const HOARD_BYTES: usize = 256 << 10;

/// Lets the expert learn that it has been told to stop, or has overdrawn its
/// quota: the shortest raw call there is.
///
/// # Errors
///
/// [`Error::Terminated`], or that there is no memory.
pub fn checkpoint(expert: &Expert) -> Result<(), Error> {
    let block = expert.alloc(0)?;
    expert.free(block.as_ptr())
}

/// Why a collection was refused `bytes`: collections lose the reason on the
/// way, so the same request is made once more through the raw calls.
pub fn why_refused(expert: &Expert, bytes: usize) -> Error {
    match expert.alloc(bytes) {
        Err(reason) => reason,
        // There was room after all, for less overhead: a near miss is a miss.
        Ok(block) => expert.free(block.as_ptr()).err().unwrap_or(Error::QuotaExceeded),
    }
}

/// Pushes to a vector in an expert's memory, or says why it cannot grow.
///
/// # Errors
///
/// Whatever its memory calls say.
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

/// Room for one more entry in a map in an expert's memory.
///
/// # Errors
///
/// Whatever its memory calls say.
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

/// Memory kept for nothing, by the explicit face.
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
    /// Whatever its memory calls say.
    pub fn more(&mut self) -> Result<(), Error> {
        let mut piece = ExpertVec::new_in(self.expert.allocator());
        if piece.try_reserve_exact(HOARD_BYTES).is_err() {
            return Err(why_refused(self.expert, HOARD_BYTES));
        }
        piece.resize(HOARD_BYTES, 0xee);
        push(self.expert, &mut self.pieces, piece)
    }
}
