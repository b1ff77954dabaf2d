//! The walker looks at every structure of the heap, and reports a broken invariant by its
//! number.
//!
//! It allocates nothing and takes each lock for one structure at a time, so it also works
//! if this heap is the global allocator. The caller ensures that no other thread is in the
//! heap meanwhile, because counts of a changing heap do not match.

use core::fmt;

use crate::account::Account;
use crate::engine::Kind;
use crate::heap::base::number::Number;
use crate::heap::caches::cache::CacheFate;
use crate::heap::lives::usage;
use crate::heap::owners::entry::{Entry, Standing};
use crate::heap::owners::heap::{COMMON, HOST_ACCOUNT, Heap};
use crate::heap::owners::numbers::{self};
use crate::heap::spans::span::Span;
use crate::heap::spans::tags::TagWord;
use crate::heap::threads::thread;

mod chunks;
mod heaps;

use chunks::check_chunks;
pub use chunks::check_zero;
use heaps::check_heap;

/// The findings of a walk. Totals over the whole process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Chunks, huge ones included.
    pub chunks: usize,
    /// Huge chunks without a block, which wait to be unmapped.
    pub kept_chunks: usize,
    /// Slices that no span has.
    pub free_slices: usize,
    /// Heap records in use.
    pub heaps: usize,
    /// Caches on the lists of heaps.
    pub caches: usize,
    /// Spans of small blocks.
    pub spans: usize,
    /// Spans of small blocks that no thread owns.
    pub abandoned: usize,
    /// Large and huge blocks.
    pub large_blocks: usize,
    /// Blocks in programs' hands, large ones included.
    pub blocks: usize,
    /// Their usable bytes.
    pub bytes: usize,
    /// Blocks on local, remote and bin lists.
    pub free_blocks: usize,
    /// Bytes that are charged to accounts.
    pub charged: usize,
}

/// A broken invariant, and the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its name, as in `SPAN2`.
    pub invariant: &'static str,
    /// The thing that was looked at.
    pub what: &'static str,
    /// The address of the structure.
    pub at: usize,
    /// The value found there.
    pub found: usize,
    /// The value that must be there.
    pub expected: usize,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, what, at, found, expected } = self;
        write!(f, "{invariant} at {at:#x}: {what} is {found:#x}, expected {expected:#x}")
    }
}

type Verdict = Result<(), Broken>;

/// `found` and `expected` are equal.
fn equal(
    invariant: &'static str,
    what: &'static str,
    at: usize,
    found: usize,
    expected: usize,
) -> Verdict {
    if found == expected {
        return Ok(());
    }
    Err(Broken { invariant, what, at, found, expected })
}

/// `holds` is so.
fn is(invariant: &'static str, what: &'static str, at: usize, holds: bool) -> Verdict {
    equal(invariant, what, at, usize::from(holds), 1)
}

fn place<T>(of: &T) -> usize {
    core::ptr::from_ref(of).addr()
}

/// Walks the whole heap. The time grows with the numbers of chunks, spans and free blocks.
///
/// # Errors
///
/// The first broken invariant that is met.
///
/// # Safety
///
/// - S1 no other thread allocates, frees, ends, or enters or ends an expert
///   until this returns.
pub unsafe fn check() -> Result<Checked, Broken> {
    let mut seen = Checked::default();
    check_chunks(&mut seen)?;
    let in_chunks = (seen.spans, seen.large_blocks);
    (seen.spans, seen.large_blocks) = (0, 0);
    for heap in Heap::made() {
        heap.with(|lists| check_heap(heap, lists, &mut seen))?;
    }
    equal("HEAP1", "spans on heaps' lists", 0, seen.spans, in_chunks.0)?;
    equal("HEAP1", "large blocks on heaps' lists", 0, seen.large_blocks, in_chunks.1)?;
    check_accounts()?;
    check_numbers()?;
    let on_threads = check_threads()?;
    equal("HEAP2", "caches on heaps' lists", 0, seen.caches, on_threads)?;
    Ok(seen)
}

/// Checks HEAP4, NUM2 and ACCOUNT2: the charge of each account is the sum over the spans
/// and numbers, its own and its children's. The time grows with the square of the number of
/// owners.
fn check_accounts() -> Verdict {
    for heap in Heap::made().filter(|heap| heap.key().is_some()) {
        check_account(heap.account())?;
    }
    for (_, entry) in entries().filter(|(_, entry)| entry.standing() == Standing::Live) {
        check_account(entry.account())?;
    }
    check_account(&HOST_ACCOUNT)
}

/// The numbers of all owners.
fn entries() -> impl Iterator<Item = (Number, &'static Entry)> {
    let made = Kind::ALL.into_iter().flat_map(numbers::made);
    made.filter(|(_, entry)| entry.standing() != Standing::Unused)
}

fn check_account(account: &Account) -> Verdict {
    let is_in_chain = |of: &Account| {
        let mut chain = core::iter::successors(Some(of), |account| account.parent());
        chain.any(|above| core::ptr::eq(above, account))
    };
    let is_charged = |heap: &&Heap| heap.key().is_some() && is_in_chain(heap.account());
    let sum = |heap: &Heap| heap.with(|lists| lists.spans().map(Span::charged).sum::<usize>());
    let of_heaps: usize = Heap::made().filter(|heap| is_charged(heap)).map(sum).sum();
    let of_numbers = entries().filter(|(_, entry)| is_in_chain(entry.account()));
    let charged = of_heaps + of_numbers.map(|(_, entry)| entry.charged()).sum::<usize>();
    equal("HEAP4", "account", place(account), account.charged(), charged)
}

/// Checks LED1 and LED2: the sums over the lines of all threads for each number.
fn check_numbers() -> Verdict {
    let mut lines = 0;
    thread::for_each(|thread| {
        let open = thread.ledger().open_lines().count();
        lines += open;
        equal("LED1", "open lines", place(thread), thread.lines(), open)
    })?;
    let mut counted = 0;
    for (number, entry) in entries() {
        let at = number.into_raw() as usize;
        counted += entry.lines();
        let usage = usage::in_common(number, entry);
        let (blocks, bytes) = tagged(number);
        equal("LED2", "blocks in use", at, usage.live_blocks, blocks)?;
        if entry.standing() == Standing::Live {
            equal("LED2", "bytes in use", at, usage.live_bytes, bytes)?;
        }
        let is_bare = blocks == 0 && entry.lines() == 0;
        is(
            "NUM3",
            "an ended owner's number is kept for something",
            at,
            entry.standing() == Standing::Live || !is_bare,
        )?;
    }
    equal("LED1", "lines that entries count", 0, counted, lines)
}

/// How many blocks of common spans have tags with `number`, and their bytes.
fn tagged(number: Number) -> (usize, usize) {
    COMMON.with(|lists| {
        let of_span = |span: &'static Span| {
            let is_its = |word: &&TagWord| word.load().number() == Some(number);
            let count = span.tag_words().filter(is_its).count();
            (count, count * span.block_size())
        };
        let spans = lists.spans().map(of_span);
        spans.fold((0, 0), |sum, found| (sum.0 + found.0, sum.1 + found.1))
    })
}

/// Checks THREAD1, and counts the caches of threads that are on heaps' lists.
fn check_threads() -> Result<usize, Broken> {
    let mut caches = 0;
    thread::for_each(|thread| {
        let at = place(thread);
        is("PRESENT2", "a quiet thread is not pinned", at, !thread.is_pinned())?;
        let (mut idle, mut of_owners) = (0, 0);
        for cache in thread.home().caches() {
            idle += cache.idle_slices();
            if let Some(number) = cache.number() {
                let found = thread.lookup(number).map_or(0, place);
                equal("THREAD1", "cache in the table", at, found, place(cache))?;
                of_owners += 1;
            }
            let owner = cache.home().map_or(0, place);
            equal("THREAD1", "thread of the cache", at, owner, place(thread.home()))?;
            caches += usize::from(cache.fate() != CacheFate::Dead);
        }
        equal("IDLE2", "slices a thread keeps", at, thread.home().idle().slices(), idle)?;
        equal("THREAD1", "caches in the table", at, thread.lookups(), of_owners)
    })?;
    Ok(caches)
}
