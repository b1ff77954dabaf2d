//! The report as a table for people: made from the rows when it is printed,
//! without allocating.

use core::fmt::{self, Write};

use crate::expert::home::Home;
use crate::expert::report::rows;
use crate::expert::shown::{Size, printable};
use crate::expert::stats::Stats;
use crate::expert::visit::State;

/// A table with one row for the host, for each expert, and for the sum. It is made when it
/// is printed.
///
/// ```
/// use expert_alloc::ExpertAlloc;
///
/// let heap = ExpertAlloc::new();
/// let expert = heap.expert("top-users").quota(64 << 20).register()?;
/// let table = heap.report().to_string();
/// let row = table.lines().find(|line| line.contains("top-users")).unwrap();
/// assert!(row.contains("live") && row.contains("64.0 MiB"));
/// # Ok::<(), expert_alloc::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Report<H>(pub(crate) H);

impl<H: Home> fmt::Display for Report<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(f)?;
        let mut total = Stats::default();
        for row in rows(self.0) {
            total.add(&row.stats, row.parent.is_some());
            let state = if row.is_over_soft_quota() && row.state == State::Live {
                "over soft quota"
            } else {
                row.state.as_str()
            };
            line(f, Text::of(row.key).as_str(), row.name.as_ref(), state, &row.stats)?;
        }
        line(f, "", "total", "", &total)
    }
}

impl<H: Home> fmt::Debug for Report<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn heading(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{:<8} {:<24} {:<15}", "key", "expert", "state")?;
    write!(f, " {:>10} {:>9} {:>10} {:>10}", "live", "blocks", "peak", "charged")?;
    writeln!(f, " {:>10} {:>12} {:>12} {:>8}", "quota", "allocations", "frees", "refused")
}

fn line(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    name: &str,
    state: &str,
    stats: &Stats,
) -> fmt::Result {
    let size = |bytes: usize| Text::of(Size(bytes));
    let quota = if stats.quota == 0 { Text::of("-") } else { size(stats.quota) };
    write!(f, "{key:<8} {} {state:<15}", Column(name))?;
    write!(f, " {:>10} {:>9}", size(stats.live_bytes).as_str(), stats.live_blocks)?;
    write!(f, " {:>10}", size(stats.peak_bytes).as_str())?;
    write!(f, " {:>10} {:>10}", size(stats.charged_bytes).as_str(), quota.as_str())?;
    writeln!(f, " {:>12} {:>12} {:>8}", stats.allocations, stats.frees, stats.refusals)
}

/// A name, 24 characters wide.
struct Column<'a>(&'a str);

impl fmt::Display for Column<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = printable(self.0).chain(core::iter::repeat(' '));
        shown.take(24).try_for_each(|c| f.write_char(c))
    }
}

/// A short text on the stack, to be padded. A longer one is cut.
struct Text {
    bytes: [u8; 24],
    length: usize,
}

impl Text {
    fn of(value: impl fmt::Display) -> Self {
        let mut text = Self { bytes: [0; 24], length: 0 };
        // Writing fails only if the value is cut.
        let _ = write!(text, "{value}");
        text
    }

    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or("?")
    }
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let free = &mut self.bytes[self.length..];
        let taken = s.len().min(free.len());
        free[..taken].copy_from_slice(&s.as_bytes()[..taken]);
        self.length += taken;
        if taken == s.len() { Ok(()) } else { Err(fmt::Error) }
    }
}
