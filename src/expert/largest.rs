//! The largest holders, which matter when a quota has no room. This file has the list;
//! `family.rs` fills it.

use core::fmt;

#[cfg(feature = "std")]
use crate::expert::owned_name::NameCopy;
use crate::expert::shown::{Shown, Size};
use crate::key::ExpertKey;

/// The way in which names are kept on hosts: by value.
#[cfg(feature = "std")]
pub(crate) type Usual = NameCopy;

/// The way in which names are kept on small systems: in place.
#[cfg(not(feature = "std"))]
pub(crate) type Usual = &'static str;

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
pub struct Holding<N = Usual> {
    /// Whose.
    pub key: ExpertKey,
    /// Its name.
    pub name: N,
    /// Bytes charged to it and all below it.
    pub charged_bytes: usize,
}

#[cfg(feature = "std")]
impl<N: AsRef<str>> Holding<N> {
    /// The same holder, with the name by value.
    pub(crate) fn owned(&self) -> Holding {
        let name = NameCopy::new(self.name.as_ref());
        Holding { key: self.key, name, charged_bytes: self.charged_bytes }
    }
}

/// Shows a holder as in `heavy (900.0 KiB)`. Control characters in a name are shown as
/// question marks.
impl<N: AsRef<str>> fmt::Display for Holding<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", Shown(self.name.as_ref()), Size(self.charged_bytes))
    }
}

/// The five largest holders, the largest first. Displayed in one line, as in `heavy (900.0
/// KiB), light (12.0 KiB)`.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let tenant = ExpertAlloc::new().expert("tenant").register()?;
/// assert_eq!(tenant.largest_children().iter().count(), 0);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Largest<N = Usual>([Option<Holding<N>>; 5]);

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

    /// Adds a holder, if it is among the largest.
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

#[cfg(feature = "std")]
impl<N: Copy + AsRef<str>> Largest<N> {
    /// The same list, with names by value.
    pub(crate) fn owned(&self) -> Largest {
        Largest(self.0.map(|place| place.map(|holding| holding.owned())))
    }
}

impl<N: Copy + AsRef<str>> fmt::Display for Largest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, holding) in self.iter().enumerate() {
            write!(f, "{}{holding}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The end of a sentence that names the largest holders, if there are any.
pub(crate) fn held_by<N: Copy + AsRef<str>>(
    largest: &Largest<N>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match largest.iter().next() {
        Some(_) => write!(f, "; most is held by {largest}"),
        None => Ok(()),
    }
}
