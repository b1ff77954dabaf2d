//! Sources of frames: a capture file, or made-up traffic.

use crate::batch::Batch;
use crate::capture::CaptureError;
use crate::dissect::LinkType;
use crate::traffic::Traffic;

/// A stream of frames, read once from beginning to end.
pub trait Source {
    /// Appends the next frame to `batch`; `false` at the end.
    ///
    /// # Errors
    ///
    /// The reason why the rest cannot be read. The frames before it stay valid.
    fn next_into(&mut self, batch: &mut Batch) -> Result<bool, CaptureError>;

    /// How much of the source was read, and how much it has (0: unknown), in a unit of its
    /// own.
    fn progress(&self) -> (u64, u64);
}

/// Made-up traffic, as a source.
pub struct Generated {
    traffic: Traffic,
    made: u64,
    total: u64,
}

impl Generated {
    /// The first `total` frames of the made-up traffic.
    pub fn new(total: u64) -> Self {
        Self { traffic: Traffic::new(), made: 0, total }
    }
}

impl Source for Generated {
    fn next_into(&mut self, batch: &mut Batch) -> Result<bool, CaptureError> {
        if self.made == self.total {
            return Ok(false);
        }
        let (time, bytes) = self.traffic.next_frame();
        batch.push(time, LinkType::Ethernet, &bytes, bytes.len() as u32);
        self.made += 1;
        Ok(true)
    }

    fn progress(&self) -> (u64, u64) {
        (self.made, self.total)
    }
}
