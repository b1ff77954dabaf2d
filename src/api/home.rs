//! The home that `Expert` means when none is named.

/// The process-wide heap.
#[cfg(feature = "std")]
pub type DefaultHome = crate::api::ExpertAlloc;

#[cfg(not(feature = "std"))]
pub use none::NoHome as DefaultHome;

/// Without an operating system there is no process-wide heap.
#[cfg(not(feature = "std"))]
mod none {
    use core::alloc::Layout;
    use core::ptr::NonNull;

    use crate::engine::{Engine, Kind, Taken, Usage, Who};
    use crate::error::Error;
    use crate::expert::home::{Ambient, Home, sealed::Sealed};
    use crate::expert::name::StaticName;
    use crate::expert::registry::Registry;
    use crate::key::ExpertKey;

    /// No heap at all: name the heap in use instead, as in `Expert<&ExpertHeap>`.
    #[derive(Clone, Copy, Debug)]
    pub enum NoHome {}

    impl Sealed for NoHome {}

    // SAFETY: there is no value to call these with.
    unsafe impl Home for NoHome {
        type Engine = Self;
        type Name = StaticName;
        type Pin = ();

        fn engine(self) -> Self {
            self
        }

        fn registry<'a>(self) -> &'a Registry<(), StaticName> {
            match self {}
        }

        fn pin(self, _: ExpertKey) {
            match self {}
        }

        fn is_same(self, _: Self) -> bool {
            match self {}
        }
    }

    // SAFETY: there is no value to call these with.
    unsafe impl Ambient for NoHome {
        type Entered = ();

        fn enter(self, _: Who<'_, ()>) {
            match self {}
        }

        fn leave(self, (): ()) {
            match self {}
        }
    }

    impl Engine for NoHome {
        type Owner = ();
        const NEW: () = ();

        fn host<'a>(self) -> Who<'a, ()> {
            match self {}
        }

        fn table(self, _: Layout) -> Option<NonNull<u8>> {
            match self {}
        }

        fn allocate(
            self,
            _: Who<'_, ()>,
            _: Kind,
            _: Layout,
            _: bool,
        ) -> Result<NonNull<u8>, Error> {
            match self {}
        }

        unsafe fn deallocate(self, _: NonNull<u8>, _: Layout) {
            match self {}
        }

        unsafe fn reallocate(
            self,
            _: Who<'_, ()>,
            _: Kind,
            _: NonNull<u8>,
            _: Layout,
            _: Layout,
            _: bool,
        ) -> Result<NonNull<u8>, Error> {
            match self {}
        }

        fn owner_of(self, _: *const u8) -> Option<ExpertKey> {
            match self {}
        }

        fn raw_allocate(self, _: Who<'_, ()>, _: usize) -> Result<NonNull<u8>, Error> {
            match self {}
        }

        fn raw_size(self, _: ExpertKey, _: *const u8) -> Result<usize, Error> {
            match self {}
        }

        fn raw_free(self, _: ExpertKey, _: *mut u8) -> Result<(), Error> {
            match self {}
        }

        fn raw_reallocate(
            self,
            _: Who<'_, ()>,
            _: *mut u8,
            _: usize,
        ) -> Result<NonNull<u8>, Error> {
            match self {}
        }

        fn raw_transfer(
            self,
            _: Who<'_, ()>,
            _: *mut u8,
            _: Who<'_, ()>,
        ) -> Result<NonNull<u8>, Error> {
            match self {}
        }

        fn drain(self, _: ExpertKey) {
            match self {}
        }

        fn usage(self, _: Who<'_, ()>) -> Usage {
            match self {}
        }

        unsafe fn reclaim(self, _: Who<'_, ()>, _: Kind) -> Taken {
            match self {}
        }

        fn adopt(self, _: Who<'_, ()>, _: Who<'_, ()>) -> Taken {
            match self {}
        }

        fn close(self, _: Who<'_, ()>) {
            match self {}
        }
    }
}
