//! The guide: pages of `docs/`, as a part of the documentation, so that their code is
//! tested and their links work. This module has no code.
#![doc = ""]
#![doc = include_str!("../docs/guide/README.md")]

#[doc = include_str!("../docs/guide/start.md")]
pub mod start {}

#[doc = include_str!("../docs/guide/scopes.md")]
pub mod scopes {}

#[doc = include_str!("../docs/guide/collections.md")]
pub mod collections {}

#[doc = include_str!("../docs/guide/raw.md")]
pub mod raw {}

#[doc = include_str!("../docs/guide/servers.md")]
pub mod servers {}

#[doc = include_str!("../docs/hosts.md")]
pub mod hosts {}

#[doc = include_str!("../docs/guide/plugins.md")]
pub mod plugins {}

#[doc = include_str!("../docs/plugins.md")]
pub mod shared_libraries {}

#[doc = include_str!("../docs/guide/quotas.md")]
pub mod quotas {}

#[doc = include_str!("../docs/guide/failure.md")]
pub mod failure {}

#[doc = include_str!("../docs/firmware.md")]
pub mod firmware {}

#[doc = include_str!("../docs/c.md")]
pub mod c {}

#[doc = include_str!("../docs/guide/figures.md")]
pub mod figures {}

#[doc = include_str!("../docs/guide/performance.md")]
pub mod performance {}

#[doc = include_str!("../docs/benchmarks.md")]
#[doc = ""]
#[doc = "Time per operation, ours and the peers':"]
#[doc = ""]
#[doc = include_str!("../docs/pictures/speed.svg")]
#[doc = ""]
#[doc = "`finish` against blocks:"]
#[doc = ""]
#[doc = include_str!("../docs/pictures/finish-blocks.svg")]
#[doc = ""]
#[doc = "`finish` against pages:"]
#[doc = ""]
#[doc = include_str!("../docs/pictures/finish-pages.svg")]
#[doc = ""]
#[doc = "The steps of an expert's life against experts alive:"]
#[doc = ""]
#[doc = include_str!("../docs/pictures/experts.svg")]
#[doc = ""]
#[doc = "Throughput against threads:"]
#[doc = ""]
#[doc = include_str!("../docs/pictures/threads.svg")]
pub mod benchmarks {}

#[doc = include_str!("../docs/soundness.md")]
pub mod soundness {}

#[doc = include_str!("../docs/guide/features.md")]
pub mod features {}

#[doc = include_str!("../docs/comparison.md")]
pub mod comparison {}

#[doc = include_str!("../docs/guide/coming_from.md")]
pub mod coming_from {}

#[doc = include_str!("../docs/guide/questions.md")]
pub mod questions {}
