//! A quota refuses: what this thread holds of it in vain goes back, whoever's it is.

use super::thread;
use crate::account::Account;
use crate::heap::caches::cache::Cache;
use crate::heap::owners::credit;
use crate::heap::owners::entry::Standing;
use crate::heap::owners::numbers;

/// A quota in the chain of `account` has refused: gives back what this thread's caches
/// hold in vain of it, and credit. Returns whether caches were looked through.
///
/// All caches of the thread are asked whether they share a quota with it, and some of
/// its lines: a refusal takes microseconds, however many owners there are.
#[cold]
pub fn relieve(account: &Account) -> bool {
    let Some(thread) = thread::known() else { return false };
    let _held = thread.home().presence().hold();
    let shares = |other: &Account| other.shares_with(account);
    for (number, line) in thread.ledger().open_lines().take(LINES_PER_REFUSAL) {
        let entry = numbers::entry(number);
        if line.credit() > 0 && entry.standing() == Standing::Live && shares(entry.account()) {
            credit::settle(number, line, 0);
        }
    }
    let add = |looks, cache: &'static Cache| cache.look_through() || looks;
    thread.home().caches().filter(|cache| shares(cache.heap().account())).fold(false, add)
}

/// Of how many owners a thread takes credit back for one refusal.
const LINES_PER_REFUSAL: usize = 16;
