//! Families: children that end with their parent.

use std::boxed::Box;

use crate::api::expert::Expert;
use crate::error::Error;
use crate::expert::home::Home;

impl<H: Home + 'static> Expert<H> {
    /// Keeps `child`, and ends it when this expert ends: among its clean-ups, before its
    /// memory is freed, the last child first. So a host that ends a plug-in ends its
    /// queries without a list of them.
    ///
    /// Without this call, a child whose owner keeps it outlives its parent, and must stop.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let plugin = heap.expert("plug-in").register()?;
    /// let query = plugin.keep(heap.expert("query").parent(&plugin).register()?)?;
    /// query.alloc(100)?;
    /// let key = query.key();
    /// assert_eq!(plugin.finish().cleanups_run, 1);
    /// assert!(heap.get(key).is_none(), "it went first");
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    ///
    /// The child ends with the parent, not before, because a borrow of the child is a
    /// borrow of the parent.
    ///
    /// ```compile_fail,E0505
    /// # use expert_alloc::ExpertAlloc;
    /// # let heap = ExpertAlloc::new();
    /// let plugin = heap.expert("plug-in").register().unwrap();
    /// let query = plugin.keep(heap.expert("query").register().unwrap()).unwrap();
    /// drop(plugin);
    /// let _ = query.alloc(100);
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if the host has no memory for it; the child has then ended.
    pub fn keep(&self, child: Self) -> Result<&Self, Error> {
        let kept = self.home().as_host(|| Box::into_raw(Box::new(child)));
        let owner = Kept(kept);
        self.on_reclaim(move || owner.end())?;
        // SAFETY: in the box, which is not dropped before this expert ends, by value, when
        // no borrow of it is left.
        Ok(unsafe { &*kept })
    }
}

/// Owns a child in a box.
struct Kept<H: Home>(*mut Expert<H>);

// SAFETY: it owns an `Expert`, which may be sent.
unsafe impl<H: Home> Send for Kept<H> {}

impl<H: Home> Kept<H> {
    fn end(self) {
        drop(self);
    }
}

impl<H: Home> Drop for Kept<H> {
    fn drop(&mut self) {
        // SAFETY: of `keep`, whose references are gone.
        drop(unsafe { Box::from_raw(self.0) });
    }
}
