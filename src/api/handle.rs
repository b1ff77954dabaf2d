//! Handles: allocators for collections that live in an expert's memory.

use core::fmt;

use crate::api::expert::Expert;
use crate::api::home::DefaultHome;
use crate::expert::home::Home;

/// An allocator for an expert's memory: a reference to the expert, small and freely
/// copied, for `new_in` of a collection.
///
/// It implements `Allocator` of allocator-api2 0.2 (feature `allocator-api2`),
/// of allocator-api2 0.4 (feature `allocator-api2-04`), and of the standard library
/// if the compiler has it.
///
/// ```
/// # use expert_alloc::ExpertAlloc;
/// let expert = ExpertAlloc::new().expert("lists").register()?;
/// let mut numbers = allocator_api2::vec::Vec::new_in(expert.allocator());
/// numbers.extend([1, 2, 3]);
/// let mut users = hashbrown::HashMap::new_in(expert.allocator());
/// users.insert("10.0.0.1", numbers);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// No collection outlives its expert, whichever trait it uses:
///
/// ```compile_fail,E0505
/// # use expert_alloc::ExpertAlloc;
/// let expert = ExpertAlloc::new().expert("0.2").register()?;
/// let mut numbers = allocator_api2::vec::Vec::new_in(expert.allocator());
/// numbers.push(1);
/// let _ = expert.finish();
/// numbers.push(2);
/// # Ok::<(), expert_alloc::Error>(())
/// ```
///
/// ```compile_fail,E0597
/// # use expert_alloc::ExpertAlloc;
/// let sender = {
///     let expert = ExpertAlloc::new().expert("thread").register().unwrap();
///     let handle = expert.allocator();
///     std::thread::spawn(move || drop(allocator_api2::boxed::Box::new_in(1, handle)))
/// };
/// ```
#[cfg_attr(
    feature = "allocator-api2-04",
    doc = r#"
```compile_fail,E0505
# use expert_alloc::ExpertAlloc;
let expert = ExpertAlloc::new().expert("0.4").register()?;
let mut numbers = allocator_api2_04::vec::Vec::new_in(expert.allocator());
numbers.push(1);
drop(expert);
numbers.push(2);
# Ok::<(), expert_alloc::Error>(())
```

```compile_fail,E0597
# use expert_alloc::ExpertAlloc;
let arena = {
    let expert = ExpertAlloc::new().expert("bump").register().unwrap();
    blink_alloc::Blink::new_in(blink_alloc::BlinkAlloc::new_in(expert.allocator()))
};
drop(arena);
```
"#
)]
#[cfg_attr(
    expert_alloc_allocator,
    doc = r#"
```compile_fail,E0505
# #![cfg_attr(expert_alloc_allocator_gate, feature(allocator_api))]
# use expert_alloc::ExpertAlloc;
let expert = ExpertAlloc::new().expert("std").register().unwrap();
let mut numbers = Vec::new_in(expert.allocator());
numbers.push(1);
drop(expert);
numbers.push(2);
```

```compile_fail,E0505
# #![cfg_attr(expert_alloc_allocator_gate, feature(allocator_api))]
# use expert_alloc::ExpertAlloc;
let expert = ExpertAlloc::new().expert("std").register().unwrap();
let number = Box::new_in(1, expert.allocator());
let _ = expert.finish();
drop(number);
```
"#
)]
pub struct ExpertHandle<'e, H: Home = DefaultHome> {
    expert: &'e Expert<H>,
}

impl<H: Home> Clone for ExpertHandle<'_, H> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Home> Copy for ExpertHandle<'_, H> {}

impl<H: Home> fmt::Debug for ExpertHandle<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExpertHandle").field(&self.expert.key()).finish()
    }
}

impl<'e, H: Home> ExpertHandle<'e, H> {
    #[inline]
    pub(crate) const fn new(expert: &'e Expert<H>) -> Self {
        Self { expert }
    }

    /// The expert that this handle allocates for.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    ///
    /// let heap = ExpertAlloc::new();
    /// let expert = heap.expert("one").register()?;
    /// let handle = expert.allocator();
    /// assert_eq!(handle.expert().key(), expert.key());
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub const fn expert(self) -> &'e Expert<H> {
        self.expert
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn handles_and_experts_are_shared_between_threads_and_small() {
        fn shared<T: Send + Sync>() {}
        shared::<ExpertHandle<'_>>();
        shared::<Expert>();
        fn caught<T: std::panic::UnwindSafe>() {}
        caught::<(&Expert, Expert, ExpertHandle<'_>)>();
        assert_eq!(size_of::<ExpertHandle<'_>>(), size_of::<usize>());
        assert_eq!(size_of::<Expert>(), 2 * size_of::<usize>());
    }
}
