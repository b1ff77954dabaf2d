//! Raw blocks, as in the Netmon calls: a call takes a size and returns a pointer or
//! an error.
//!
//! These are safe functions. A program reaches a block through a raw pointer, and
//! following that takes `unsafe`. The calls here follow no pointer: the engine
//! looks every address up in its own map, and accepts the start of a live raw block
//! only. Blocks of collections and of the global allocator, which safe code refers
//! to, are not raw, and are refused.

use core::ptr::NonNull;

use crate::api::expert::Expert;
use crate::api::host::Host;
use crate::engine::{Engine, Who};
use crate::error::Error;
use crate::expert::home::{Home, OwnerOf};
use crate::expert::life;
use crate::key::ExpertKey;
use crate::sync::{Window, delay};

/// An owner of raw blocks: an [`Expert`] or the [`Host`].
///
/// ```
/// use expert_alloc::{Error, Expert, ExpertAlloc, Holder};
///
/// /// Gives a new block to an expert, or to the host.
/// fn give(from: &Expert, to: &impl Holder<ExpertAlloc>) -> Result<(), Error> {
///     from.transfer(from.alloc(8)?.as_ptr(), to).map(|_| ())
/// }
///
/// let heap = ExpertAlloc::new();
/// let (one, two) = (heap.expert("one").register()?, heap.expert("two").register()?);
/// give(&one, &two)?;
/// give(&one, &heap.host())?;
/// assert_eq!((one.stats().live_blocks, two.stats().live_blocks), (0, 1));
/// # Ok::<(), Error>(())
/// ```
pub trait Holder<H: Home>: sealed::Holder<H> {}

impl<H: Home> Holder<H> for Expert<H> {}
impl<H: Home> Holder<H> for Host<H> {}

pub(crate) mod sealed {
    use super::{Error, ExpertKey, Home, OwnerOf, Who};

    /// The part of a holder that the raw calls use.
    pub trait Holder<H: Home> {
        /// The home that its memory comes from.
        fn home(&self) -> H;

        /// The engine's view of it.
        fn who(&self) -> Who<'_, OwnerOf<H>>;

        /// Fails if it may not get more memory.
        ///
        /// # Errors
        ///
        /// [`Error::Terminated`], [`Error::Overdrawn`], [`Error::ParentStopped`].
        fn check_open(&self) -> Result<(), Error>;

        /// Notes that it has given a block to the owner of this key.
        fn note_transfer(&self, to: ExpertKey);

        /// The result of `request` for that many bytes, at the last try. If the quota
        /// refused because the holder was told to stop during the call, the result is that
        /// reason.
        ///
        /// # Errors
        ///
        /// The error of `request`, or as for [`check_open`](Self::check_open).
        fn or_asked<T>(
            &self,
            bytes: usize,
            request: impl Fn() -> Result<T, Error>,
        ) -> Result<T, Error>;
    }
}

impl<H: Home> sealed::Holder<H> for Expert<H> {
    fn home(&self) -> H {
        self.home()
    }

    fn who(&self) -> Who<'_, OwnerOf<H>> {
        self.who()
    }

    fn check_open(&self) -> Result<(), Error> {
        self.check_open()
    }

    fn note_transfer(&self, to: ExpertKey) {
        life::transferred::<H>(self.slot(), to);
    }

    fn or_asked<T>(
        &self,
        bytes: usize,
        request: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        Self::or_asked(self, bytes, request)
    }
}

impl<H: Home> sealed::Holder<H> for Host<H> {
    fn home(&self) -> H {
        self.home()
    }

    fn who(&self) -> Who<'_, OwnerOf<H>> {
        self.who()
    }

    fn check_open(&self) -> Result<(), Error> {
        Ok(())
    }

    fn note_transfer(&self, _: ExpertKey) {}

    fn or_asked<T>(&self, _: usize, request: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        request()
    }
}

fn alloc<H: Home>(holder: &impl Holder<H>, size: usize) -> Result<NonNull<u8>, Error> {
    let allocate = || {
        holder.check_open()?;
        holder.home().engine().raw_allocate(holder.who(), size)
    };
    holder.or_asked(size, allocate)
}

fn realloc<H: Home>(
    holder: &impl Holder<H>,
    block: *mut u8,
    size: usize,
) -> Result<NonNull<u8>, Error> {
    if block.is_null() {
        return alloc(holder, size);
    }
    let resize = || {
        holder.check_open()?;
        delay(Window::RawReallocate);
        holder.home().engine().raw_reallocate(holder.who(), block, size)
    };
    holder.or_asked(size, resize)
}

fn free<H: Home>(holder: &impl Holder<H>, block: *mut u8) -> Result<(), Error> {
    if block.is_null() {
        return Ok(());
    }
    holder.home().engine().raw_free_of(holder.who(), block)
}

fn size<H: Home>(holder: &impl Holder<H>, block: *const u8) -> usize {
    holder.home().engine().raw_size(holder.who().key, block).unwrap_or(0)
}

fn transfer<H: Home>(
    from: &impl Holder<H>,
    block: *mut u8,
    to: &impl Holder<H>,
) -> Result<NonNull<u8>, Error> {
    if !from.home().is_same(to.home()) {
        return Err(Error::InvalidKey);
    }
    let transfer = || {
        to.check_open()?;
        delay(Window::RawTransfer);
        from.home().engine().raw_transfer(from.who(), block, to.who())
    };
    let transferred = to.or_asked(size(from, block), transfer)?;
    from.note_transfer(to.who().key);
    Ok(transferred)
}

macro_rules! raw_calls {
    ($holder:ident) => {
        impl<H: Home> $holder<H> {
            /// A raw block of `size` bytes, zero-filled and 16-byte aligned.
            /// A size of 0 gives a block of its own as well.
            ///
            /// ```
            /// use expert_alloc::ExpertAlloc;
            ///
            /// let heap = ExpertAlloc::new();
            /// let expert = heap.expert("one").register()?;
            /// let block = expert.alloc(100)?;
            /// // SAFETY: a live block of 100 bytes.
            /// let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), 100) };
            /// assert!(bytes.iter().all(|&byte| byte == 0));
            /// assert_eq!(block.addr().get() % 16, 0);
            /// # Ok::<(), expert_alloc::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// [`Error::OutOfMemory`], [`Error::QuotaExceeded`];
            /// [`Error::Terminated`], [`Error::Overdrawn`] and
            /// [`Error::ParentStopped`] if the expert must stop.
            pub fn alloc(&self, size: usize) -> Result<NonNull<u8>, Error> {
                alloc(self, size)
            }

            /// Resizes a raw block of this holder, keeps its content, and fills
            /// new bytes with 0. Null gives a new block.
            ///
            /// ```
            /// use expert_alloc::ExpertAlloc;
            ///
            /// let heap = ExpertAlloc::new();
            /// let expert = heap.expert("one").register()?;
            /// let block = expert.realloc(std::ptr::null_mut(), 100)?;     // null: an alloc
            /// let block = expert.realloc(block.as_ptr(), 5000)?;
            /// assert_eq!(expert.size(block.as_ptr()), 5000);
            /// # Ok::<(), expert_alloc::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// As [`alloc`](Self::alloc) and [`free`](Self::free); the block is
            /// then untouched.
            pub fn realloc(&self, block: *mut u8, size: usize) -> Result<NonNull<u8>, Error> {
                realloc(self, block, size)
            }

            /// Frees a raw block of this holder, also when the holder must stop. Null is
            /// allowed, and does nothing.
            ///
            /// ```
            /// use expert_alloc::{Error, ExpertAlloc};
            ///
            /// let heap = ExpertAlloc::new();
            /// let (one, other) = (heap.expert("one").register()?, heap.expert("other").register()?);
            /// let block = one.alloc(100)?.as_ptr();
            /// assert_eq!(other.free(block), Err(Error::AccessDenied));
            /// assert_eq!(one.free(block.wrapping_add(16)), Err(Error::InvalidPointer));
            /// assert_eq!(one.free(block), Ok(()));
            /// assert_eq!(one.free(block), Err(Error::InvalidPointer));
            /// # Ok::<(), Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// [`Error::InvalidPointer`] if no live raw block starts there,
            /// [`Error::AccessDenied`] if the block is another owner's.
            pub fn free(&self, block: *mut u8) -> Result<(), Error> {
                free(self, block)
            }

            /// The size that was asked for of a raw block of this holder; 0 for any other
            /// address.
            ///
            /// ```
            /// use expert_alloc::ExpertAlloc;
            ///
            /// let heap = ExpertAlloc::new();
            /// let expert = heap.expert("one").register()?;
            /// let block = expert.alloc(100)?.as_ptr();
            /// assert_eq!(expert.size(block), 100);
            /// assert_eq!(expert.size(block.wrapping_add(1)), 0);
            /// # Ok::<(), expert_alloc::Error>(())
            /// ```
            #[must_use]
            pub fn size(&self, block: *const u8) -> usize {
                size(self, block)
            }

            /// Gives a raw block of this holder to another, with its charge. The block may
            /// move; the result is its new address.
            ///
            /// ```
            /// use expert_alloc::ExpertAlloc;
            ///
            /// let heap = ExpertAlloc::new();
            /// let (one, two) = (heap.expert("one").register()?, heap.expert("two").register()?);
            /// let block = one.transfer(one.alloc(100)?.as_ptr(), &two)?;
            /// assert_eq!(heap.owner_of(block.as_ptr()), Some(two.key()));
            /// assert_eq!(one.finish().blocks, 0);
            /// # Ok::<(), expert_alloc::Error>(())
            /// ```
            ///
            /// # Errors
            ///
            /// As [`free`](Self::free) for this holder; as [`alloc`](Self::alloc)
            /// for the receiver; [`Error::InvalidKey`] if the receiver is of
            /// another heap. The block is then untouched.
            pub fn transfer(
                &self,
                block: *mut u8,
                to: &impl Holder<H>,
            ) -> Result<NonNull<u8>, Error> {
                transfer(self, block, to)
            }
        }
    };
}

raw_calls!(Expert);
raw_calls!(Host);
