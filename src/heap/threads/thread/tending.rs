//! Tending: a thread handles changes of its caches by others, and ends of owners. The file
//! also has the end of a thread.

use core::ptr;

use super::{CACHES, ENDED_PER_LOOK, LOCAL, POOL, Thread, known, recent_place};
use crate::heap::base::number::Number;
use crate::heap::base::paths::{self, Path};
use crate::heap::caches::cache::{Cache, CacheFate, EMPTY};
use crate::heap::caches::leaving;
use crate::heap::owners::entry::{self, Standing};
use crate::heap::owners::ledger::Line;
use crate::heap::owners::numbers;
use crate::heap::threads::current::{current, found, set_current, set_found};

/// Drops a cache of this thread whose heap was reclaimed.
pub fn drop_dead(cache: &'static Cache) {
    if let Some(thread) = known() {
        let _held = thread.home.presence().hold();
        paths::entered(Path::CacheDropped);
        thread.drop_cache(cache);
    }
}

/// Closes this thread's line of an owner that has ended, unless a scope stands for it.
pub fn forget(number: Number) {
    let Some(thread) = known() else { return };
    if let Some(line) = thread.ledger.opened(number) {
        if !line.is_held() && !line.has_cache() {
            thread.close(number, line);
        }
    }
}

/// Handles changes of this thread's caches by others, and ends of owners.
#[inline]
pub fn tend() {
    if let Some(thread) = known() {
        if thread.home.has_mail() {
            let _held = thread.home.presence().hold();
            thread.open_inbox();
        }
        let ended = entry::ended().wrapping_sub(thread.seen_ended.get());
        if ended >= ENDED_PER_LOOK.max(thread.lines.get() / 8) {
            thread.close_ended();
        }
    }
}

/// Hands over all memory of this thread, and forgets the thread.
pub fn end() {
    let Some(thread) = known() else { return };
    let held = thread.home.presence().hold();
    thread.scopes.clear();
    set_current(&EMPTY);
    set_found(&EMPTY);
    loop {
        thread.open_inbox();
        if thread.home.caches().next().is_none() {
            break;
        }
        for cache in thread.home.caches() {
            if leaving::abandon(cache) {
                thread.drop_cache(cache);
            }
        }
    }
    thread.raw_seats.iter().for_each(|seat| seat.set(&EMPTY));
    for desk in &thread.desks {
        if let Some(desk) = desk.take() {
            desk.close();
            CACHES.give(desk);
        }
    }
    thread.ledger.open_lines().for_each(|(number, line)| thread.close(number, line));
    thread.home.idle().give_extra();
    LOCAL.with(|local| local.thread.set(None));
    thread.home.presence().depart();
    drop(held);
    POOL.give(thread);
}

impl Thread {
    #[cold]
    fn open_inbox(&'static self) {
        for cache in self.home.take_inbox() {
            crate::sync::delay(crate::sync::Window::Inbox);
            if cache.fate() == CacheFate::Adopted {
                leaving::merge(cache, self.host_cache());
            } else {
                paths::entered(Path::CacheDropped);
            }
            self.drop_cache(cache);
        }
    }

    /// Closes the lines of owners that have ended, except those that scopes hold.
    #[cold]
    pub fn close_ended(&'static self) {
        self.seen_ended.set(entry::ended());
        for (number, line) in self.ledger.open_lines() {
            let has_ended = numbers::entry(number).standing() != Standing::Live;
            crate::sync::delay(crate::sync::Window::CloseEnded);
            if has_ended && !line.is_held() && !line.has_cache() {
                self.close(number, line);
            }
        }
    }

    /// Closes a line that no scope holds, of an owner without a cache here.
    fn close(&self, number: Number, line: &'static Line) {
        for desk in self.desks_of(number) {
            if ptr::eq(current(), desk) {
                set_current(&EMPTY);
            }
            if ptr::eq(found(), desk) {
                set_found(&EMPTY);
            }
            desk.serve_nobody();
        }
        numbers::entry(number).close_line(number, || {
            let counts = line.counts();
            self.ledger.close(number, line);
            counts
        });
        self.lines.set(self.lines.get() - 1);
    }

    /// Forgets a cache that has no spans any more.
    fn drop_cache(&self, cache: &'static Cache) {
        if let Some(number) = cache.number() {
            self.table.borrow_mut().remove(&(number.into_raw() as usize));
            self.recent[recent_place(number)].set(None);
            let seat = &self.raw_seats[recent_place(number)];
            if ptr::eq(seat.get(), cache) {
                seat.set(&EMPTY);
            }
            cache.line().inspect(|line| line.set_cache(false));
            if cache.is_busy() {
                self.busy.set(self.busy.get() - 1);
            }
        }
        for kept in [&self.host, &self.common] {
            if kept.get().is_some_and(|kept| ptr::eq(kept, cache)) {
                kept.set(None);
            }
        }
        self.home.remove(cache);
        if ptr::eq(current(), cache) {
            set_current(&EMPTY);
        }
        if ptr::eq(found(), cache) {
            set_found(&EMPTY);
        }
        // Nothing of a dead cache is kept, because its spans have ended.
        self.home.idle().remove(cache.idle_slices());
        cache.close();
        CACHES.give(cache);
    }
}
