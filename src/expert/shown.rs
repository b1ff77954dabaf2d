//! Shows names and sizes without allocating.

use core::fmt::{self, Write};

/// The characters of a name. A name may come from a plug-in, so control characters, such as
/// an end of line, are shown as question marks.
pub(crate) fn printable(name: &str) -> impl Iterator<Item = char> + '_ {
    name.chars().map(|c| if c.is_control() { '?' } else { c })
}

/// A name in a sentence: [`printable`].
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        printable(self.0).try_for_each(|c| f.write_char(c))
    }
}

/// A size in the largest unit that leaves at least one whole: `1.5 MiB`.
pub(crate) struct Size(pub(crate) usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let exponent = (self.0.ilog2() / 10).min(UNITS.len() as u32);
        // The number is cut, not rounded, so only a full quota reads as full.
        let tenths = ((self.0 >> (10 * (exponent - 1))) as u128 * 10) >> 10;
        write!(f, "{}.{} {}", tenths / 10, tenths % 10, UNITS[exponent as usize - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn sizes_are_cut_to_a_tenth() {
        let text = |bytes| Size(bytes).to_string();
        assert_eq!(text(0), "0 B");
        assert_eq!(text(1023), "1023 B");
        assert_eq!(text(1024), "1.0 KiB");
        assert_eq!(text((1 << 20) - 1), "1023.9 KiB");
        assert_eq!(text(64 << 20), "64.0 MiB");
        assert_eq!(text(3 << 29), "1.5 GiB");
    }

    #[test]
    fn names_are_one_line() {
        assert_eq!(Shown("top\nusers\u{1b}[2J\u{85}").to_string(), "top?users?[2J?");
    }
}
