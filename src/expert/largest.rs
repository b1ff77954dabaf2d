//! Who holds most: the few to look at when a quota has no room. A list only;
//! `family.rs` makes it.

use crate::expert::owned_name::NameCopy;
use crate::key::ExpertKey;

/// How much one expert holds.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let heap = ExpertAlloc::new();
/// let tenant = heap.expert("tenant").register()?;
/// let query = heap.expert("query").parent(&tenant).register()?;
/// query.alloc(100)?;
/// let largest = tenant.largest_children();
/// let holding = largest.iter().next().unwrap();
/// assert_eq!((holding.key, holding.name.as_str()), (query.key(), "query"));
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Holding<N = NameCopy> {
    /// Whose.
    pub key: ExpertKey,
    /// Its name.
    pub name: N,
    /// Bytes charged to it and all below it.
    pub charged_bytes: usize,
}

/// The five who hold most, the largest first.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let tenant = ExpertAlloc::new().expert("tenant").register()?;
/// assert_eq!(tenant.largest_children().iter().count(), 0);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Largest<N = NameCopy>([Option<Holding<N>>; 5]);

impl<N: Copy> Largest<N> {
    pub(crate) const NONE: Self = Self([None; 5]);

    /// The experts that hold most, the largest first.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let tenant = heap.expert("tenant").register()?;
    /// let small = heap.expert("small").parent(&tenant).register()?;
    /// let large = heap.expert("large").parent(&tenant).register()?;
    /// small.alloc(100)?;
    /// large.alloc(1 << 20)?;
    /// let largest = tenant.largest_children();
    /// assert_eq!(largest.iter().next().unwrap().key, large.key());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = &Holding<N>> {
        self.0.iter().flatten()
    }

    /// Puts in one more, if it is among the largest.
    pub(crate) fn add(&mut self, holding: Holding<N>) {
        let is_smaller = |place: &Option<Holding<N>>| {
            place.is_none_or(|kept| kept.charged_bytes < holding.charged_bytes)
        };
        if let Some(place) = self.0.iter().position(is_smaller) {
            self.0[place..].rotate_right(1);
            self.0[place] = Some(holding);
        }
    }
}
