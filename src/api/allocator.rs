//! The `Allocator` traits on handles: three of the same shape. Collections that
//! take one do not accept another.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::api::handle::ExpertHandle;
#[cfg(feature = "std")]
use crate::api::shared::SharedHandle;
use crate::engine::{Engine, Kind};
use crate::expert::home::Home;

/// The operations of the three `Allocator` traits, which differ only in the type of their
/// error. For a size of 0 nothing is allocated.
impl<H: Home> ExpertHandle<'_, H> {
    #[inline(always)]
    fn obtain(self, layout: Layout, zeroed: bool) -> Option<NonNull<[u8]>> {
        let expert = self.expert();
        if !zeroed {
            let engine = expert.home().engine();
            if let Some(block) = engine.allocate_at_once(expert.pass(), layout) {
                return Some(sized(block, layout.size()));
            }
        }
        self.obtain_slow(layout, zeroed)
    }

    #[inline(never)]
    fn obtain_slow(self, layout: Layout, zeroed: bool) -> Option<NonNull<[u8]>> {
        if layout.size() == 0 {
            return Some(sized(dangling(layout), 0));
        }
        let expert = self.expert();
        let allocate = || {
            expert.check_open()?;
            expert.home().engine().allocate(expert.who(), Kind::Bound, layout, zeroed)
        };
        let block = expert.or_asked(layout.size(), allocate).ok()?;
        Some(sized(block, layout.size()))
    }

    /// # Safety
    ///
    /// - S1 as for `Allocator::deallocate`: a live block of this allocator, or
    ///   of a copy of it, that `layout` fits.
    #[inline]
    unsafe fn give_back(self, block: NonNull<u8>, layout: Layout) {
        if layout.size() != 0 {
            // SAFETY: S1; a block of this size came from the engine.
            unsafe { self.expert().home().engine().deallocate(block, layout) };
        }
    }

    /// # Safety
    ///
    /// - S1 as for `Allocator::grow`: a live block of this allocator that `old`
    ///   fits, and `new` is at least as large.
    #[inline]
    unsafe fn enlarge(
        self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        zeroed: bool,
    ) -> Option<NonNull<[u8]>> {
        if old.size() == 0 {
            return self.obtain(new, zeroed);
        }
        self.expert().check_open().ok()?;
        // SAFETY: S1, and the block is not of size 0.
        unsafe { self.resize(block, old, new, zeroed) }
    }

    /// Also serves an expert that must stop, because it gives memory back.
    ///
    /// # Safety
    ///
    /// - S1 as for `Allocator::shrink`: a live block of this allocator that
    ///   `old` fits, and `new` is at most as large.
    #[inline]
    unsafe fn reduce(self, block: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<[u8]>> {
        if new.size() == 0 {
            // SAFETY: S1.
            unsafe { self.give_back(block, old) };
            return Some(sized(dangling(new), 0));
        }
        // SAFETY: S1, and the block is not of size 0, because it is no smaller than `new`.
        unsafe { self.resize(block, old, new, false) }
    }

    /// # Safety
    ///
    /// - S1 a live block of this allocator, not of size 0, that `old` fits.
    #[inline]
    unsafe fn resize(
        self,
        block: NonNull<u8>,
        old: Layout,
        new: Layout,
        zeroed: bool,
    ) -> Option<NonNull<[u8]>> {
        let engine = self.expert().home().engine();
        let who = self.expert().who();
        // SAFETY: S1 for S1; S2: handles allocate `Bound` blocks of their own
        // expert only; S3: an `Allocator` may move the block.
        let resize = || unsafe { engine.reallocate(who, Kind::Bound, block, old, new, zeroed) };
        let block = self.expert().or_asked(new.size(), resize);
        Some(sized(block.ok()?, new.size()))
    }
}

/// An aligned address outside of all blocks.
#[inline]
fn dangling(layout: Layout) -> NonNull<u8> {
    let address = core::ptr::without_provenance_mut(layout.align());
    // An alignment is never 0.
    NonNull::new(address).unwrap_or(NonNull::dangling())
}

#[inline]
fn sized(block: NonNull<u8>, size: usize) -> NonNull<[u8]> {
    NonNull::slice_from_raw_parts(block, size)
}

/// Implements one of the `Allocator` traits, found in the module given, for the
/// handles of both kinds, under the bounds given.
macro_rules! implement_allocator {
    ($($module:ident)::+ $(, $($bounds:tt)+)?) => {
        // Blocks stay valid until they are freed; the borrow of the handle rules out the
        // end of the expert; copies of a handle refer to the same expert; a block moves in
        // `grow` and `shrink` only.
        implement_allocator!(
            for ExpertHandle<'_, H>, |this| *this, $($module)::+ $(, $($bounds)+)?
        );
        // As above: the expert does not end while a handle holds it (SHARED1), and a block
        // is only used while its collection holds the handle, which may be for ever.
        #[cfg(feature = "std")]
        implement_allocator!(
            for SharedHandle<H>, |this| this.handle(), $($module)::+ $(, $($bounds)+)?
        );
    };
    (
        for $handle:ty, |$this:ident| $borrowed:expr, $($module:ident)::+ $(, $($bounds:tt)+)?
    ) => {
        const _: () = {
            use $($module)::+::{AllocError, Allocator};

            // SAFETY: as said where this is expanded.
            unsafe impl<H: Home> Allocator for $handle $(where $($bounds)+)? {
                #[inline]
                fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                    let $this = self;
                    $borrowed.obtain(layout, false).ok_or(AllocError)
                }

                #[inline]
                fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                    let $this = self;
                    $borrowed.obtain(layout, true).ok_or(AllocError)
                }

                #[inline]
                unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
                    let $this = self;
                    // SAFETY: the trait's contract is our S1.
                    unsafe { $borrowed.give_back(block, layout) }
                }

                #[inline]
                unsafe fn grow(
                    &self,
                    block: NonNull<u8>,
                    old: Layout,
                    new: Layout,
                ) -> Result<NonNull<[u8]>, AllocError> {
                    let $this = self;
                    // SAFETY: the trait's contract is our S1.
                    unsafe { $borrowed.enlarge(block, old, new, false) }.ok_or(AllocError)
                }

                #[inline]
                unsafe fn grow_zeroed(
                    &self,
                    block: NonNull<u8>,
                    old: Layout,
                    new: Layout,
                ) -> Result<NonNull<[u8]>, AllocError> {
                    let $this = self;
                    // SAFETY: the trait's contract is our S1.
                    unsafe { $borrowed.enlarge(block, old, new, true) }.ok_or(AllocError)
                }

                #[inline]
                unsafe fn shrink(
                    &self,
                    block: NonNull<u8>,
                    old: Layout,
                    new: Layout,
                ) -> Result<NonNull<[u8]>, AllocError> {
                    let $this = self;
                    // SAFETY: the trait's contract is our S1.
                    unsafe { $borrowed.reduce(block, old, new) }.ok_or(AllocError)
                }
            }
        };
    };
}

#[cfg(feature = "allocator-api2-04")]
implement_allocator!(allocator_api2_04::alloc);

// If two of the traits may be the same trait, each implementation has a bound, which the
// documentation need not show.
#[cfg(all(feature = "allocator-api2", any(not(expert_alloc_allocator), docsrs)))]
implement_allocator!(allocator_api2::alloc);
#[cfg(all(expert_alloc_allocator, any(not(feature = "allocator-api2"), docsrs)))]
implement_allocator!(core::alloc);
#[cfg(all(feature = "allocator-api2", expert_alloc_allocator, not(docsrs)))]
implement_allocator!(allocator_api2::alloc, same::Witness<H>: same::Answer<Is = same::Bool<false>>);
#[cfg(all(feature = "allocator-api2", expert_alloc_allocator, not(docsrs)))]
implement_allocator!(core::alloc, same::Witness<H>: same::Answer<Is = same::Bool<{ same::SAME }>>);

/// Whether the trait of allocator-api2 0.2 is the standard one: the crate re-exports that
/// with its feature `nightly`, which any crate of a build may turn on. In that case the
/// implementation for the standard trait must be the only one.
///
/// Rust has no bound that says "these types differ". So a constant finds out, an associated
/// type carries the answer, and both implementations have a bound on it. The standard
/// implementation accepts any answer, the other one only "no". If the answer is "yes", the
/// other's bound cannot hold, and they do not overlap.
#[cfg(all(feature = "allocator-api2", expert_alloc_allocator, not(docsrs)))]
mod same {
    use core::marker::PhantomData;

    /// The traits are the same where their errors are.
    pub const SAME: bool = <IsStandard<allocator_api2::alloc::AllocError>>::YES;

    struct IsStandard<E>(PhantomData<E>);

    /// The compiler prefers an inherent constant to a trait's.
    impl IsStandard<core::alloc::AllocError> {
        #[allow(dead_code, reason = "used where the traits are the same")]
        const YES: bool = true;
    }

    /// The answer for every other error.
    #[allow(dead_code, reason = "used where the traits differ")]
    trait Otherwise {
        const YES: bool = false;
    }

    impl<E> Otherwise for IsStandard<E> {}

    /// Makes the bound depend on a parameter of the implementation; a bound on
    /// known types that does not hold is an error.
    pub struct Witness<H>(PhantomData<H>);

    pub trait Answer {
        type Is;
    }

    impl<H> Answer for Witness<H> {
        type Is = Bool<SAME>;
    }

    pub struct Bool<const B: bool>;
}
