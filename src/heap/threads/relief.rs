//! When a quota refuses, this thread gives back unused memory that counts against that
//! quota, whatever its owner.

use super::thread;
use crate::account::Account;
use crate::heap::caches::cache::Cache;
use crate::heap::owners::credit;
use crate::heap::owners::entry::Standing;
use crate::heap::owners::numbers;

/// Gives back empty spans of this thread's caches, and credit, that count against a quota
/// in the chain of `account`, which has refused. Returns whether caches were looked
/// through.
///
/// It checks all caches of the thread, and some of its lines, for a shared quota. So a
/// refusal takes microseconds, however many owners there are.
#[cold]
pub fn relieve(account: &Account) -> bool {
    let Some(thread) = thread::known() else { return false };
    let _held = thread.home().presence().hold();
    let shares = |other: &Account| other.shares_with(account);
    for (number, line) in thread.ledger().open_lines().take(LINES_PER_REFUSAL) {
        let entry = numbers::entry(number);
        if line.credit() > 0 && entry.standing() == Standing::Live && shares(entry.account()) {
            crate::sync::delay(crate::sync::Window::Relieve);
            credit::settle(number, line, 0);
        }
    }
    let add = |looks, cache: &'static Cache| cache.look_through() || looks;
    thread.home().caches().filter(|cache| shares(cache.heap().account())).fold(false, add)
}

/// How many owners a thread takes credit back from for one refusal.
const LINES_PER_REFUSAL: usize = 16;
