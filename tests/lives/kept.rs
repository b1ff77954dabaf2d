//! What outlives experts: blocks, tasks that have inherited a scope, and children.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use expert_alloc::{Error, Expert};

use super::dice::Dice;
use super::life::{self, Given, block, refused};
use super::parachute::ALLOC;

/// Blocks with their content.
pub type Blocks = Vec<Vec<u8>>;

/// A task that inherited its scope.
type Task = Pin<Box<dyn Future<Output = Blocks> + Send>>;

/// A child that outlives its parent.
struct Orphan {
    expert: Expert,
    given: Given,
}

#[derive(Default)]
pub struct Kept {
    pub blocks: Blocks,
    tasks: Vec<Task>,
    orphans: Vec<Orphan>,
}

/// Gives way once.
pub async fn give_way() {
    let mut polled = false;
    poll_fn(|_| if mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }).await
}

fn poll(task: &mut Task) -> Poll<Blocks> {
    task.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

impl Kept {
    /// Begins a task in a scope of the expert, which the task does not need to live on.
    pub fn begin_task(&mut self, expert: &Expert, dice: &mut Dice) {
        let mut dice = Dice(dice.below(1 << 30) as u64);
        let task = expert.run(|| {
            ALLOC.inherit(async move {
                let mut blocks = Blocks::new();
                for _ in 0..4 {
                    blocks.extend(block(&mut dice));
                    give_way().await;
                }
                blocks
            })
        });
        self.tasks.extend(task.ok().map(|task| Box::pin(task) as Task));
        self.go_on(self.tasks.len());
    }

    /// Polls a task, in this thread or another, or drops it.
    pub fn continue_task(&mut self, dice: &mut Dice) {
        if self.tasks.is_empty() {
            return;
        }
        let place = dice.below(self.tasks.len());
        match dice.below(6) {
            0 => drop(self.tasks.swap_remove(place)),
            1 => {
                let mut task = self.tasks.swap_remove(place);
                let (task, polled) = thread::spawn(move || {
                    let polled = poll(&mut task);
                    (task, polled)
                })
                .join()
                .unwrap();
                match polled {
                    Poll::Ready(blocks) => self.blocks.extend(blocks),
                    Poll::Pending => self.tasks.push(task),
                }
            }
            _ => self.go_on(place + 1),
        }
    }

    /// Polls the task in front of `place`.
    fn go_on(&mut self, place: usize) {
        let Some(place) = place.checked_sub(1).filter(|&place| place < self.tasks.len()) else {
            return;
        };
        if let Poll::Ready(blocks) = poll(&mut self.tasks[place]) {
            self.blocks.extend(blocks);
            drop(self.tasks.swap_remove(place));
        }
    }

    /// Makes a child that lives on when the expert has ended.
    pub fn bear(&mut self, expert: &Expert, dice: &mut Dice) {
        let child = match ALLOC.expert("orphan").parent(expert).register() {
            Ok(child) => child,
            Err(Error::OutOfMemory) => return,
            Err(error) => return assert!(error.is_stop(), "{error}"),
        };
        let sizes = (0..dice.below(4)).filter_map(|_| refused(child.alloc(dice.size())));
        let given = Given { leaked: sizes.count(), ..Given::default() };
        let blocks = child.run(|| (0..dice.below(4)).filter_map(|_| block(dice)).collect());
        self.blocks.extend(blocks.ok().into_iter().flat_map(|blocks: Blocks| blocks));
        self.orphans.push(Orphan { expert: child, given });
    }

    /// Ends such a child, in this thread or another.
    pub fn end_orphan(&mut self, dice: &mut Dice) {
        if !self.orphans.is_empty() {
            let Orphan { expert, given } = self.orphans.swap_remove(dice.below(self.orphans.len()));
            life::end(expert, &given, dice);
        }
    }

    /// Whether all blocks are as they were made.
    pub fn check(&self) {
        assert!(self.blocks.iter().all(|block| life::is_whole(block)));
    }

    /// Lets go of all, where there is much of it.
    pub fn clear_much(&mut self, dice: &mut Dice) {
        if self.blocks.len() > 200 {
            self.check();
            self.blocks.clear();
        }
        self.tasks.truncate(30);
        while self.orphans.len() > 10 {
            self.end_orphan(dice);
        }
    }
}
