//! The interpreter's part for the raw calls, valid and hostile.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::sync::atomic::Ordering::SeqCst;

use expert_alloc::{Error, Expert, testing};

use super::actor::{Actor, Held, STALE};
use super::shadow::{Block, Face};
use super::world::ALLOC;

fn layout_of(size: usize) -> Layout {
    Layout::from_size_align(size, 16).unwrap()
}

impl Actor<'_> {
    pub fn alloc_raw(&mut self, seat: usize, size: usize) {
        if !self.has_room() {
            return;
        }
        let failures = testing::failures();
        if seat == self.world.config.seats {
            match ALLOC.host().alloc(size) {
                Ok(start) => self.keep_raw(start, size, seat, 0, ALLOC.host().key()),
                Err(_) => assert!(testing::failures() != failures || size > 1 << 30),
            }
            return;
        }
        let Ok(place) = self.world.seats[seat].expert.try_read() else { return };
        let Some(seated) = place.as_ref() else { return };
        match seated.expert.alloc(size) {
            Ok(start) => {
                self.world.seats[seat].own.fetch_add(1, SeqCst);
                self.keep_raw(start, size, seat, seated.incarnation, seated.expert.key());
            }
            Err(_) => self.check_refusal(seated, size, failures),
        }
    }

    fn keep_raw(
        &mut self,
        start: NonNull<u8>,
        size: usize,
        seat: usize,
        incarnation: usize,
        key: expert_alloc::ExpertKey,
    ) {
        let block = self.block(start, layout_of(size), Face::Raw, seat, incarnation, key);
        self.note_raw(start, true);
        self.keep(block, true);
    }

    /// In exact runs the addresses of all live raw blocks are known.
    fn note_raw(&self, start: NonNull<u8>, is_live: bool) {
        if self.world.config.exact {
            let mut raw = self.world.raw.lock().unwrap();
            let address = start.addr().get();
            let has_changed = if is_live { raw.insert(address) } else { raw.remove(&address) };
            assert!(has_changed);
        }
    }

    pub fn realloc_raw(&mut self, at: usize, held: &Held<'_>, size: usize, failures: usize) {
        let block = self.blocks[at];
        let (old, start) = (block.layout.size(), block.start.as_ptr());
        let seated = held.as_ref().and_then(|held| held.as_ref());
        let resized = match seated {
            Some(seated) => seated.expert.realloc(start, size),
            None => ALLOC.host().realloc(start, size),
        };
        match resized {
            Ok(moved) => {
                self.note_raw(block.start, false);
                self.note_raw(moved, true);
                self.moved(at, moved, layout_of(size), (size > old).then_some(old));
            }
            Err(why) => {
                assert!(size > old || why.is_stop(), "{why}: shrinking {block:?}");
                block.check();
                match seated {
                    Some(seated) => self.check_refusal(seated, size, failures),
                    None => assert!(testing::failures() != failures || size > 1 << 30, "{why}"),
                }
            }
        }
    }

    /// Frees a block that is out of the shadow already.
    pub fn free_raw(&mut self, block: &Block, held: &Held<'_>, twice: bool) {
        let start = block.start.as_ptr();
        let free = |expert: Option<&Expert>| match expert {
            Some(expert) => (expert.size(start), expert.free(start)),
            None => (ALLOC.host().size(start), ALLOC.host().free(start)),
        };
        let owner = held.as_ref().and_then(|held| held.as_ref()).map(|seated| &seated.expert);
        self.note_raw(block.start, false);
        assert_eq!(free(owner), (block.layout.size(), Ok(())), "{block:?}");
        self.count_freed(block);
        self.note_stale(block);
        if !twice {
            return;
        }
        if self.world.config.exact {
            assert_eq!(free(owner), (0, Err(Error::InvalidPointer)), "second free of {block:?}");
        } else {
            // Another owner may have the memory by now.
            self.must_refuse(&self.world.hostile, start, None);
        }
    }

    /// Checks that no raw call of `expert` accepts `address`.
    fn must_refuse(&self, expert: &Expert, address: *mut u8, with: Option<Error>) {
        let freed = expert.free(address).expect_err("freed what was not there");
        let resized = expert.realloc(address, 100);
        let given = expert.transfer(address, &ALLOC.host());
        assert_eq!(expert.size(address), 0);
        for why in [Some(freed), resized.err(), given.err()] {
            let is_expected = match with {
                Some(with) => why == Some(with) || why.is_some_and(Error::is_stop),
                None => why.is_some_and(|why| {
                    matches!(why, Error::InvalidPointer | Error::AccessDenied) || why.is_stop()
                }),
            };
            assert!(is_expected, "{why:?} for {address:?} with {expert:?}");
        }
    }

    pub fn wrong_owner(&mut self, which: usize, seat: usize) {
        let Some(at) = which.checked_rem(self.blocks.len()) else { return };
        let block = self.blocks[at];
        if block.face != Face::Raw || block.seat == seat {
            return;
        }
        let Ok(_held) = self.hold(&block) else { return self.forget(at) };
        self.with_seat(seat, |other| {
            self.must_refuse(&other.expert, block.start.as_ptr(), Some(Error::AccessDenied));
        });
        self.must_refuse(&self.world.hostile, block.start.as_ptr(), Some(Error::AccessDenied));
        block.check();
    }

    pub fn try_stale(&mut self, which: usize, seat: usize) {
        let address = self.stale[which % STALE] as *mut u8;
        if address.is_null() {
            return;
        }
        if !self.world.config.exact {
            return self.must_refuse(&self.world.hostile, address, None);
        }
        if !self.is_live_raw(address.addr()) {
            self.must_refuse(&self.world.hostile, address, Some(Error::InvalidPointer));
            self.with_seat(seat, |seated| {
                self.must_refuse(&seated.expert, address, Some(Error::InvalidPointer));
            });
        }
    }

    /// Also forgets the blocks that were taken back with their expert.
    fn is_live_raw(&self, address: usize) -> bool {
        self.world.raw.lock().unwrap().contains(&address)
    }

    pub fn try_wild(&mut self, which: usize, kind: usize, offset: usize, seat: usize) {
        let near =
            which.checked_rem(self.blocks.len()).map(|at| self.blocks[at].start.addr().get());
        let near = near.unwrap_or(0x5000_0000);
        let local = 0usize;
        let address = match kind {
            0 => offset.max(1),
            1 => usize::MAX - offset,
            2 => (&raw const local).addr(),
            3 => (Self::try_wild as fn(&mut Self, usize, usize, usize, usize)) as usize,
            4 => near & !((32 << 20) - 1) | offset,
            5 => near.wrapping_add(1 + offset % 64),
            6 => near.wrapping_sub(1 + offset % 64),
            7 => near.wrapping_add(offset),
            8 => near.wrapping_sub(offset),
            _ => near & !0xFFFF,
        };
        let pointer = address as *mut u8;
        // The address may be anything, and is not read.
        let _ = ALLOC.owner_of(pointer);
        if self.world.config.exact && !self.is_live_raw(address) {
            self.must_refuse(&self.world.hostile, pointer, Some(Error::InvalidPointer));
            self.with_seat(seat, |seated| {
                self.must_refuse(&seated.expert, pointer, Some(Error::InvalidPointer));
            });
        } else {
            self.must_refuse(&self.world.hostile, pointer, None);
        }
    }

    pub fn transfer(&mut self, which: usize, to: usize) {
        let Some(at) = which.checked_rem(self.blocks.len()) else { return };
        let block = self.blocks[at];
        if block.face != Face::Raw || block.seat == to {
            return;
        }
        let Ok(held) = self.hold(&block) else { return self.forget(at) };
        let from = held.as_ref().and_then(|held| held.as_ref()).map(|seated| &seated.expert);
        let start = block.start.as_ptr();
        let failures = testing::failures();
        let (seats, host) = (self.world.config.seats, ALLOC.host());
        let place = self.world.seats.get(to).and_then(|seat| seat.expert.try_read().ok());
        let seated = place.as_ref().and_then(|place| place.as_ref());
        let given = match (from, seated) {
            (Some(from), Some(seated)) => from.transfer(start, &seated.expert),
            (Some(from), None) if to == seats => from.transfer(start, &host),
            (None, Some(seated)) => host.transfer(start, &seated.expert),
            _ => return,
        };
        let Ok(moved) = given else {
            block.check();
            match seated {
                Some(seated) => self.check_refusal(seated, block.layout.size(), failures),
                None => assert!(testing::failures() != failures),
            }
            return;
        };
        self.count_freed(&block);
        if let Some(seat) = self.world.seats.get(to) {
            seat.own.fetch_add(1, SeqCst);
        }
        self.note_raw(block.start, false);
        self.note_raw(moved, true);
        self.note_stale(&block);
        let (incarnation, key) =
            seated.map_or((0, host.key()), |seated| (seated.incarnation, seated.expert.key()));
        self.blocks[at] = Block { seat: to, incarnation, key, ..block };
        self.moved(at, moved, block.layout, None);
    }
}
