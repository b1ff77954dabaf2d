//! Credit: bytes that an owner of blocks in common spans is charged for and does not use
//! yet. This file charges it and gives it back.

use super::entry::{Entry, Standing};
use super::ledger::{Line, LineCounts, MOST_CREDIT};
use super::numbers;
use crate::error::Error;
use crate::heap::base::number::Number;

/// Charges are a multiple of this, in bytes.
const STEP: usize = 512;

/// The step of an owner whose charge is at least as large, in bytes.
const LARGE_STEP: usize = 4096;

/// How much credit a line keeps when the rest goes back, in bytes.
const KEPT_CREDIT: i32 = 4096;

/// Makes the credit of `line` enough for `bytes`. Returns the bytes that were charged.
pub fn charge(entry: &Entry, number: Number, line: &Line, bytes: usize) -> Result<usize, Error> {
    entry.lock(number, || {
        if entry.standing() != Standing::Live {
            return Err(Error::InvalidKey);
        }
        fold(entry, line);
        // Bytes of the owner that other threads freed are used first.
        line.add_credit(entry.take_returned() as i32);
        let Some(need) = bytes.checked_sub(usize::try_from(line.credit()).unwrap_or(0)) else {
            return Ok(0);
        };
        if need == 0 {
            return Ok(0);
        }
        let step = if entry.charged() < LARGE_STEP { STEP } else { LARGE_STEP };
        let wanted = need.next_multiple_of(step);
        // Near the quota, a smaller step must be enough.
        let payer = entry.payer(number);
        let charged = [wanted, need].into_iter().find(|&more| payer.charge(more).is_ok());
        let charged = charged.ok_or(Error::QuotaExceeded)?;
        entry.add_charge(charged);
        line.add_credit(charged as i32);
        Ok(charged)
    })
}

/// Handles a quota without room: an overdraft if that is allowed, otherwise a counted
/// refusal.
pub fn charge_beyond(
    entry: &Entry,
    number: Number,
    line: &Line,
    bytes: usize,
) -> Result<usize, Error> {
    entry.lock(number, || {
        if entry.standing() != Standing::Live {
            return Err(Error::InvalidKey);
        }
        let need = bytes.saturating_sub(usize::try_from(line.credit()).unwrap_or(0));
        entry.payer(number).charge_beyond(need)?;
        entry.add_charge(need);
        line.add_credit(need as i32);
        Ok(need)
    })
}

/// Gives credit beyond `kept` bytes back to the account.
#[cold]
#[inline(never)]
pub fn settle(number: Number, line: &Line, kept: i32) {
    let entry = numbers::entry(number);
    entry.lock(number, || {
        fold(entry, line);
        if line.credit() > kept {
            let back = line.credit() - kept;
            line.add_credit(-back);
            entry.give_back(back as usize);
        }
    });
}

/// Counts a block of `bytes` freed, and gives back credit beyond the most that a line
/// keeps.
pub fn count_free(number: Number, line: &Line, bytes: i32) {
    line.count_free(bytes);
    settle_if_much(number, line);
}

/// Gives back credit beyond the most that a line keeps.
#[inline(always)]
pub fn settle_if_much(number: Number, line: &Line) {
    if line.credit() > MOST_CREDIT {
        settle(number, line, KEPT_CREDIT);
    }
}

/// Keeps the counts of a line from overflowing. The caller holds the entry's lock.
pub fn fold(entry: &Entry, line: &Line) {
    if line.is_long() {
        let counts = line.counts();
        entry.add(LineCounts { credit: 0, ..counts });
        line.reset_counts();
    }
}
