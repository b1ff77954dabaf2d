//! Figures for other programs: `Serialize` of serde, written out by hand, so
//! that the feature brings no macros along.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::expert::report::ExpertSnapshot;
use crate::expert::stats::{Reclaimed, Stats};
use crate::expert::visit::State;
use crate::key::ExpertKey;

/// Keys are text, such as `7.1`, because many readers of JSON keep only 53 bits of a
/// number.
impl Serialize for ExpertKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// States are text, such as `parent stopped`.
impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// As text.
#[cfg(feature = "std")]
impl Serialize for crate::expert::owned_name::NameCopy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl Serialize for Stats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Stats", 8)?;
        fields.serialize_field("live_bytes", &self.live_bytes)?;
        fields.serialize_field("live_blocks", &self.live_blocks)?;
        fields.serialize_field("peak_bytes", &self.peak_bytes)?;
        fields.serialize_field("charged_bytes", &self.charged_bytes)?;
        fields.serialize_field("quota", &self.quota)?;
        fields.serialize_field("allocations", &self.allocations)?;
        fields.serialize_field("frees", &self.frees)?;
        fields.serialize_field("refusals", &self.refusals)?;
        fields.end()
    }
}

/// The time is `elapsed_ns`, in nanoseconds, if there is a clock.
impl Serialize for Reclaimed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let clock = usize::from(cfg!(feature = "std"));
        let mut fields = serializer.serialize_struct("Reclaimed", 7 + clock)?;
        fields.serialize_field("blocks", &self.blocks)?;
        fields.serialize_field("bytes", &self.bytes)?;
        fields.serialize_field("adopted_blocks", &self.adopted_blocks)?;
        fields.serialize_field("adopted_bytes", &self.adopted_bytes)?;
        fields.serialize_field("handed_over_blocks", &self.handed_over_blocks)?;
        fields.serialize_field("cleanups_run", &self.cleanups_run)?;
        fields.serialize_field("cleanups_failed", &self.cleanups_failed)?;
        #[cfg(feature = "std")]
        fields.serialize_field("elapsed_ns", &(self.elapsed.as_nanos() as u64))?;
        fields.end()
    }
}

impl<N: Serialize> Serialize for ExpertSnapshot<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("ExpertSnapshot", 7)?;
        fields.serialize_field("key", &self.key)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("state", &self.state)?;
        fields.serialize_field("parent", &self.parent)?;
        fields.serialize_field("stats", &self.stats)?;
        fields.serialize_field("soft_quota", &self.soft_quota)?;
        fields.serialize_field("is_over_soft_quota", &self.is_over_soft_quota())?;
        fields.end()
    }
}
