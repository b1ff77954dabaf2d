//! The allocators, by the features of `bench-peers`.

/// An allocator that a worker is built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The feature that makes it the worker's global allocator.
    pub feature: &'static str,
    /// Its name in tables.
    pub name: &'static str,
    /// The groups that it is compared in.
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This crate.
    Ours,
    /// A global allocator without attribution.
    Global,
    /// A wrapper that counts or attributes.
    Attribution,
}

const fn peer(feature: &'static str, name: &'static str, role: Role) -> Peer {
    Peer { feature, name, role }
}

pub const OURS: Peer = peer("expert", "expert-alloc", Role::Ours);
pub const GLIBC: Peer = peer("glibc", "glibc", Role::Global);
pub const MIMALLOC_3: Peer = peer("mimalloc3", "mimalloc 3", Role::Global);
pub const MIMALLOC_36: Peer = peer("mimalloc36", "mimalloc 3.6", Role::Global);
pub const MIMALLOC_2: Peer = peer("mimalloc2", "mimalloc 2", Role::Global);
pub const RPMALLOC: Peer = peer("rpmalloc", "rpmalloc", Role::Global);
pub const TRACKING: Peer = peer("tracking", "tracking-allocator", Role::Attribution);

pub const TRACKING_MIMALLOC: Peer =
    peer("tracking-mimalloc", "tracking (mimalloc)", Role::Attribution);

const ALL: [Peer; 14] = [
    OURS,
    GLIBC,
    MIMALLOC_3,
    MIMALLOC_36,
    MIMALLOC_2,
    peer("jemalloc", "jemalloc", Role::Global),
    peer("stoolap", "stoolap-jemalloc", Role::Global),
    peer("snmalloc", "snmalloc", Role::Global),
    RPMALLOC,
    peer("rusty_alloc", "rusty_alloc", Role::Global),
    TRACKING,
    TRACKING_MIMALLOC,
    peer("cap", "cap", Role::Attribution),
    peer("stats_alloc", "stats_alloc", Role::Attribution),
];

impl Peer {
    /// Whether this is an allocator that the global rows are compared with,
    /// or ours.
    pub fn is_global(self) -> bool {
        self.role != Role::Attribution
    }
}

/// The peers that the user named, or all.
pub fn chosen(names: &[String]) -> Result<Vec<Peer>, String> {
    if names.is_empty() {
        return Ok(ALL.to_vec());
    }
    let known = |name: &String| {
        let found = ALL.iter().find(|peer| peer.feature == *name);
        found.copied().ok_or_else(|| {
            let features: Vec<_> = ALL.iter().map(|peer| peer.feature).collect();
            format!("no peer {name:?}; there are {}", features.join(", "))
        })
    };
    names.iter().map(known).collect()
}
