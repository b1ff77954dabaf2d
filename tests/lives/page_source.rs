//! Failures of the page source at random points of lives.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use expert_alloc::testing::{self, Call};

use super::dice::Dice;
use super::parachute::{ALLOC, fallible};

const MIB: usize = 1 << 20;

/// The kind of failure of a round, by number.
static KIND: AtomicUsize = AtomicUsize::new(0);

/// How many kinds of trouble there are.
pub const KINDS: usize = 6;

/// The kind of failure from now on. `KINDS` stands for any kind, chosen by the dice.
pub fn set_kind(kind: usize) {
    KIND.store(kind, Relaxed);
}

/// The trouble that a life caused: as long as it is kept, the heap has little or no memory
/// left.
#[derive(Default)]
pub struct Trouble {
    /// Blocks of the host, which are never written to.
    ballast: Vec<Vec<u8>>,
    is_on: bool,
}

impl Trouble {
    /// Makes some calls to the system fail, after a few more that succeed, until [`heal`]
    /// is called.
    pub fn begin(&mut self, dice: &mut Dice) {
        self.is_on = true;
        let grants = dice.below(4);
        let kind = KIND.load(Relaxed);
        match if kind == KINDS { dice.below(KINDS) } else { kind } {
            0 => testing::fail_calls_after(Call::Map, grants),
            1 => {
                testing::fail_calls_after(Call::Unmap, grants);
                ALLOC.purge();
            }
            2 => {
                testing::fail_calls_after(Call::Purge, grants);
                ALLOC.purge();
            }
            3 => testing::fail_calls_after(Call::Protect, grants / 3),
            4 => testing::fail_beyond(1 << (17 + 2 * grants)),
            _ => self.starve(dice),
        }
    }

    /// Takes nearly all memory that is available without asking the system.
    fn starve(&mut self, dice: &mut Dice) {
        testing::fail_calls_after(Call::Map, 0);
        testing::fail_calls_after(Call::Protect, 0);
        let ballast = &mut self.ballast;
        ballast.reserve(1_000);
        ALLOC.as_host(|| {
            for size in [2 * MIB, MIB / 4, 64 << 10, 32 << 10] {
                while ballast.len() < 1_000 {
                    let mut more = Vec::new();
                    if fallible(|| more.try_reserve_exact(size)).is_err() {
                        break;
                    }
                    ballast.push(more);
                }
            }
        });
        // Some of it is freed again, so that the next request does not always fail.
        let left = ballast.len().saturating_sub(dice.below(4));
        ballast.truncate(left);
    }

    /// Heals the page source, for other threads, too.
    pub fn end(&mut self) {
        if self.is_on {
            testing::heal();
            self.ballast.clear();
            self.is_on = false;
        }
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        self.end();
    }
}
