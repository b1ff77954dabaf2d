//! Memory for a panic, from its beginning until it is caught.
//!
//! A panic allocates memory for its message, the hook's output, a backtrace with the
//! symbols of the whole program (tens of megabytes, kept for ever), the payload, and
//! destructors. A refusal would abort or hang the process: the code that reports the lack
//! of memory waits for the lock of the backtrace that the same thread is printing. So:
//!
//! ```text
//!  what                           whose                   at a full quota
//!  message, before the hook       the expert's            granted
//!  hook, backtrace, symbols       the host's              the host has no quota
//!  payload, exception, unwinding  the expert's            granted
//!  the payload's text, caught     the host's: a copy
//! ```
//!
//! - *Granted*: while a thread is panicking, its requests to the global allocator
//!   are never refused for want of quota, even if the expert was registered with
//!   `refuse_overdraft`. The expert is overdrawn then.
//! - *The host's*: a hook of this crate is put around the one that is set when the
//!   first expert is named. It also notes the place of the panic for [`Failure`].
//!   A host that sets a hook of its own later calls
//!   [`watch_panics`](ExpertAlloc::watch_panics) afterwards.
//!
//! [`Failure`]: crate::Failure

use core::cell::Cell;
use core::fmt::Write;
use std::boxed::Box;
use std::panic::{self, Location, PanicHookInfo};
use std::string::String;
use std::sync::OnceLock;

use crate::api::{ExpertAlloc, foreign};
use crate::sync::{AtomicBool, Ordering::Relaxed};

/// A panic hook.
type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

impl ExpertAlloc {
    /// Puts a panic hook around the one that is set now. From then on, memory of hooks,
    /// backtraces and symbol caches is the host's, whatever the scope. The heap calls this
    /// itself when the first expert is named; call it again after you set a hook of your
    /// own. In a thread that is panicking it does nothing.
    ///
    /// ```
    /// use expert_alloc::ExpertAlloc;
    /// use std::sync::Mutex;
    ///
    /// #[global_allocator]
    /// static ALLOC: ExpertAlloc = ExpertAlloc::new();
    ///
    /// static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());
    ///
    /// std::panic::set_hook(Box::new(|panic| LOG.lock().unwrap().push(panic.to_string())));
    /// ALLOC.watch_panics();
    /// let expert = ALLOC.expert("careless").register()?;
    /// assert!(expert.run(|| panic!("out of cheese")).is_err());
    /// let log = LOG.lock().unwrap();
    /// assert_eq!(ALLOC.owner_of(log[0].as_ptr()), Some(ALLOC.host().key()));
    /// # Ok::<(), expert_alloc::Error>(())
    /// ```
    pub fn watch_panics(self) {
        // A thread that is panicking must not change the hook.
        if std::thread::panicking() {
            return;
        }
        /// The first hook that was wrapped, nearly always the only one. It lies outside of
        /// the heap, so the figures do not count it.
        static FIRST: OnceLock<Hook> = OnceLock::new();

        self.as_host(|| match FIRST.set(panic::take_hook()) {
            Ok(()) => panic::set_hook(Box::new(move |panic| {
                self.hook(panic, FIRST.get());
            })),
            Err(later) => panic::set_hook(Box::new(move |panic| {
                self.hook(panic, Some(&later));
            })),
        });
    }

    fn hook(self, panic: &PanicHookInfo<'_>, inner: Option<&Hook>) {
        note(panic.location());
        self.as_host(|| inner.map(|inner| inner(panic)));
    }

    /// As [`watch_panics`](Self::watch_panics), the first time.
    pub(crate) fn watch_panics_once(self) {
        static WATCHES: AtomicBool = AtomicBool::new(false);

        // Relaxed: it does not matter which of two threads does this.
        if !WATCHES.load(Relaxed) && !std::thread::panicking() && !WATCHES.swap(true, Relaxed) {
            self.watch_panics();
            self.as_host(foreign::prepare);
        }
    }
}

/// How many bytes of a file's name are kept, from its end.
const NAME: usize = 112;

/// The place where a panic began, without memory of its own.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    file: [u8; NAME],
    length: usize,
    line: u32,
    column: u32,
}

std::thread_local! {
    /// The place where this thread's last panic began, until it is taken.
    static LAST: Cell<Option<Place>> = const { Cell::new(None) };
}

fn note(location: Option<&Location<'_>>) {
    let place = location.map(|location| {
        let name = location.file().as_bytes();
        let name = &name[name.len().saturating_sub(NAME)..];
        let mut file = [0; NAME];
        file[..name.len()].copy_from_slice(name);
        Place { file, length: name.len(), line: location.line(), column: location.column() }
    });
    LAST.set(place);
}

/// Takes the place where this thread's last panic began.
pub(crate) fn take_place() -> Option<Place> {
    LAST.take()
}

impl Place {
    /// The place as the compiler writes it: file, line and column.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.file[..self.length]).into_owned();
        // Writing to a string does not fail.
        let _ = write!(text, ":{}:{}", self.line, self.column);
        text
    }
}
