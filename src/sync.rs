//! The one switch between the real atomics and the model checker's.
//!
//! Everything that is checked under loom takes its atomics from here; `--cfg loom`
//! swaps them. On targets without compare-and-swap the feature `critical-section`
//! stands in for it.

#[cfg(all(not(target_has_atomic = "ptr"), not(feature = "critical-section")))]
compile_error!("this target has no compare-and-swap: enable the feature `critical-section`");

#[cfg(all(not(loom), target_has_atomic = "ptr"))]
#[allow(unused_imports, reason = "not every engine uses all of them")]
pub use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering, fence,
};
#[cfg(all(not(loom), feature = "std"))]
#[allow(unused_imports, reason = "not every engine uses all of them")]
pub use core::sync::atomic::{AtomicI32, AtomicU64};
#[cfg(loom)]
#[allow(unused_imports, reason = "not every engine uses all of them")]
pub use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering, fence,
};
#[cfg(all(not(target_has_atomic = "ptr"), feature = "critical-section"))]
#[allow(unused_imports, reason = "not every engine uses all of them")]
pub use portable_atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering, fence,
};

/// A sequentially consistent fence behind an exchange, whether that succeeded or not. On
/// x86 the exchange is a fence itself: it locks the bus, so all accesses before it are
/// complete, and none behind it has begun. There only the compiler needs the fence.
#[cfg(any(feature = "capi", loom))]
#[inline(always)]
pub fn fence_behind_exchange() {
    #[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), not(any(loom, miri))))]
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(any(target_arch = "x86", target_arch = "x86_64"), not(any(loom, miri)))))]
    fence(Ordering::SeqCst);
}

/// Half of a pointer-sized word: slot numbers and counts of slots.
#[cfg(target_pointer_width = "64")]
pub type Half = u32;
/// Half of a pointer-sized word: slot numbers and counts of slots.
#[cfg(target_pointer_width = "32")]
pub type Half = u16;

/// A [`Half`] that threads share.
#[cfg(target_pointer_width = "32")]
pub type AtomicHalf = AtomicU16;
/// A [`Half`] that threads share.
#[cfg(target_pointer_width = "64")]
pub type AtomicHalf = AtomicU32;

/// The windows between looks at shared state without its lock and the acts that trust them,
/// with a name each. `DESIGN.md` says for each look why the act is right.
macro_rules! windows {
    ($($(#[$doc:meta])* $window:ident,)+) => {
        /// A window between a look at shared state and the act that trusts it.
        #[derive(Clone, Copy, Debug)]
        #[allow(dead_code, reason = "not every engine has all of them")]
        pub enum Window {
            $($(#[$doc])* $window,)+
        }

        #[cfg(feature = "testing-delays")]
        impl Window {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$window,)+];
        }
    };
}

windows! {
    /// A heap has spans that no thread owns, and its lock will be taken.
    AdoptAbandoned,
    /// The heap of an owner was found, and gets a cache.
    Attach,
    /// A quota has room, and will be charged.
    Charge,
    /// A chunk was found, and an address will be looked for in it.
    ChunkMap,
    /// Whether an owner has ended is known, and its line will be closed.
    CloseEnded,
    /// The blocks are taken back, and the engine's owner will be closed.
    CloseOwner,
    /// A free is counted, and the standing of the number will be read.
    CountFree,
    /// The pins of a thread were counted, and will be waited for.
    DrainPins,
    /// The last block of a span that no thread owns was freed, and the span will be looked at.
    EndIfEmpty,
    /// A span without a block in use was seen, and its thread will be visited.
    EndIfUnused,
    /// Frees were added up, and allocations will be.
    Figures,
    /// A slot has the key, and the caller relies on that.
    FindKey,
    /// A span is another thread's, and a block of it will be freed.
    FreeRemote,
    /// A span is the host's, and will be charged.
    HostCharge,
    /// Adopted blocks were added up, and the host's own will be.
    HostFigures,
    /// A cache was sent, and its fate will be read.
    Inbox,
    /// A key is pinned, and will be looked at.
    KeyAllocate,
    /// A key is pinned, and a tag will be taken.
    KeyFree,
    /// The place of a tag is known, and the tag will be taken.
    KeyTake,
    /// A tag is taken, and the key will be looked at again.
    KeyTaken,
    /// The cache of a large block is this thread's, and will keep the block's span.
    KeepSpare,
    /// A place was read, and will be reserved.
    Leftover,
    /// A place has the key, and its account will be read.
    Lent,
    /// Free blocks of a span have moved from one list to another.
    Moved,
    /// Free blocks of a span will move from one list to another.
    Moving,
    /// A free was waited for, and will be counted.
    Noticed,
    /// The heap of a cache was read, and its lock will be taken.
    OwnHeap,
    /// The tag of a block of this thread's was read, and will be cleared.
    OwnTag,
    /// The same, where the free is counted at once.
    OwnTagAtOnce,
    /// The owner of a block has ended, and its block is resized for the next.
    OwnerEnded,
    /// The heap of a span was read, and its key will be.
    OwnerOfSpan,
    /// A tag was read, and the key of its number will be.
    OwnerOfTag,
    /// A key is pinned, and its slot will be looked at.
    PinKey,
    /// A block will be pushed to a span, whoever owns it.
    PushAny,
    /// A block will be pushed to a span that a thread owns.
    PushOwned,
    /// A raw block was found, and its tag will be read.
    RawFound,
    /// The place of a tag is known, and the tag will be exchanged for none.
    RawFree,
    /// An expert is open, and a raw block of it will be resized.
    RawReallocate,
    /// A tag was read, and will be taken in work.
    RawTake,
    /// Both experts are open, and a block will pass from one to the other.
    RawTransfer,
    /// A name was read, and the word of its slot will be.
    ReadName,
    /// The parent was found, and a slot will be taken.
    Register,
    /// An empty chunk is out of the map, and pins will be looked for.
    ReleaseChunk,
    /// The mapping of a huge block is out of the map, and pins will be looked for.
    ReleaseHuge,
    /// The parent of a slot was read, and the slot will be given up.
    ReleaseSlot,
    /// An owner shares a quota, and its credit will go back.
    Relieve,
    /// The heap of a span was read, and its number will be.
    ResizeSpan,
    /// A tag was read, and the key of its number will be.
    ResizeTagged,
    /// An end has begun, and the account will be sealed.
    Seal,
    /// A key is stale, and its visitors will be waited for.
    Shut,
    /// The owner of the current scope is there, and will be seated.
    SitDown,
    /// The number of slots was read, and will grow.
    SlotCarve,
    /// The first free slot was read, and will be removed.
    SlotPop,
    /// The heap of a span was read, and its lock will be taken.
    SpanHeap,
    /// The version of a span was read, and its counts will be.
    SpanUsed,
    /// A tag was read, and the standing of its number will be.
    Sweep,
    /// The tag of a block of another thread's was read, and will be taken.
    TakeTag,
    /// A thread is there, and its lock will be taken.
    VisitThread,
}

/// Lets other threads come in between a look at shared state and the act that
/// trusts it: in the tests of races a wait of random length, otherwise nothing.
#[cfg(not(feature = "testing-delays"))]
#[inline(always)]
pub fn delay(_: Window) {}

#[cfg(feature = "testing-delays")]
pub use delays::{delay, entered, set_delays};

/// Waits of random length, which widen the windows of races. Nothing here allocates, takes
/// a lock or orders memory accesses, so it hides no mistake in an ordering.
#[cfg(feature = "testing-delays")]
mod delays {
    use super::Window;
    use core::cell::Cell;
    use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
    use std::time::Duration;

    /// One in this many calls waits; 0 for none.
    static ONE_IN: AtomicU32 = AtomicU32::new(0);

    /// How often each window was entered.
    static ENTERED: [AtomicU64; Window::ALL.len()] =
        [const { AtomicU64::new(0) }; Window::ALL.len()];

    std::thread_local! {
        // It is const and has no destructor, so it is there until the thread is gone.
        static STATE: Cell<u64> = const { Cell::new(0) };
    }

    /// Makes one in `one_in` calls of `delay` wait, from now on and in all threads; 0, the
    /// initial value, for none.
    pub fn set_delays(one_in: u32) {
        ONE_IN.store(one_in, Relaxed);
    }

    /// How often `window` was entered, about.
    pub fn entered(window: Window) -> u64 {
        ENTERED[window as usize].load(Relaxed)
    }

    /// Waits for a random time, or not at all: see [`set_delays`].
    pub fn delay(window: Window) {
        let count = &ENTERED[window as usize];
        // Not by an exchange, which would order what is around it: some may be lost.
        count.store(count.load(Relaxed) + 1, Relaxed);
        let one_in = ONE_IN.load(Relaxed);
        if one_in != 0 {
            let random = random();
            if (random >> 32) % u64::from(one_in) == 0 {
                wait(random as u32);
            }
        }
    }

    /// Of 16 waits, 8 give up the core, 6 spin for up to about 10 µs, and 2 sleep. On a
    /// busy machine, all other threads run during a sleep.
    #[cold]
    fn wait(random: u32) {
        match random % 16 {
            0..8 => std::thread::yield_now(),
            8..14 => (0..random >> 4 & 0xFFF).for_each(|_| core::hint::spin_loop()),
            _ => std::thread::sleep(Duration::from_micros(u64::from(random >> 4 & 0xFF))),
        }
    }

    /// The thread's next random number (xorshift64*, Vigna 2016). Threads differ
    /// by the address of their state.
    fn random() -> u64 {
        STATE.with(|state| {
            let mut x = state.get();
            if x == 0 {
                x = core::ptr::from_ref(state).addr() as u64 | 1;
            }
            x ^= x >> 12;
            x ^= x << 25;
            x ^= x >> 27;
            state.set(x);
            x.wrapping_mul(0x2545_F491_4F6C_DD1D)
        })
    }

    #[cfg(test)]
    mod tests {
        use super::{Window, delay, entered, set_delays};
        use std::time::{Duration, Instant};

        #[test]
        fn a_delay_waits_once_it_is_turned_on() {
            // An eighth of the waits are sleeps, of 128 µs on average.
            set_delays(1);
            let began = Instant::now();
            (0..2_000).for_each(|_| delay(Window::Charge));
            set_delays(0);
            assert!(entered(Window::Charge) >= 2_000);
            assert!(began.elapsed() > Duration::from_millis(10), "{:?}", began.elapsed());
        }
    }
}
