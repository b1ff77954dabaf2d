#![cfg_attr(expert_alloc_allocator_gate, feature(alloc_error_hook))]
//! Tests of what real hosts do with experts: tasks and threads that stay with their expert,
//! quotas that change, panics, shared experts, families, events.

#[cfg(expert_alloc_allocator_gate)]
mod alloc_error;
#[path = "../common/experts.rs"]
mod common;
mod current;
mod events;
mod foreign;
mod holders;
mod lent;
mod panics;
mod quotas;
mod shared;
mod tasks;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use common::{ALLOC, expert, host, owner};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future on this thread until it is ready.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// Polls a future once.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
