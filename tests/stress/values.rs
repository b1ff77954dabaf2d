//! Values of ordinary types, whose content follows from a seed, so their holder sees at any
//! time whether another thread wrote into them.

use std::collections::HashMap;

use crate::dice::Dice;

/// A value that one thread has.
pub enum Value {
    Bytes(u64, Vec<u8>),
    Words(u64, Vec<u64>),
    Text(u64, String),
    Map(u64, HashMap<u64, u64>),
    Boxed(u64, Box<[u64; 12]>),
}

fn word(seed: u64, place: usize) -> u64 {
    (seed ^ place as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}

fn byte(seed: u64, place: usize) -> u8 {
    (word(seed, place) >> 32) as u8
}

fn letter(seed: u64, place: usize) -> char {
    char::from(b'a' + byte(seed, place) % 26)
}

/// A length in elements: mostly small, now and then large.
fn length(dice: &mut Dice<'_>) -> usize {
    let limit = match dice.below(100) {
        0..=69 => 24,
        70..=92 => 200,
        93..=97 => 3_000,
        98 => 20_000,
        _ => 100_000,
    };
    1 + dice.below(limit)
}

impl Value {
    /// A value of a random type and size.
    pub fn new(dice: &mut Dice<'_>) -> Self {
        let seed = dice.next();
        let mut value = match dice.below(10) {
            0..=3 => Self::Bytes(seed, Vec::new()),
            4..=6 => Self::Words(seed, Vec::new()),
            7 => Self::Text(seed, String::new()),
            8 => Self::Map(seed, HashMap::new()),
            _ => Self::Boxed(seed, Box::new(std::array::from_fn(|place| word(seed, place)))),
        };
        let length = length(dice);
        value.set_len(if matches!(value, Self::Map(..)) { length.min(500) } else { length });
        value
    }

    /// Words in a vector, which [`flip`](Self::flip) moves from block to block.
    pub fn words(seed: u64, length: usize) -> Self {
        let mut value = Self::Words(seed, Vec::with_capacity(length));
        value.set_len(length);
        value
    }

    fn len(&self) -> usize {
        match self {
            Self::Bytes(_, bytes) => bytes.len(),
            Self::Words(_, words) => words.len(),
            Self::Text(_, text) => text.len(),
            Self::Map(_, map) => map.len(),
            Self::Boxed(_, words) => words.len(),
        }
    }

    fn set_len(&mut self, length: usize) {
        let from = self.len();
        match self {
            Self::Bytes(seed, bytes) => {
                bytes.truncate(length);
                bytes.extend((from..length).map(|place| byte(*seed, place)));
            }
            Self::Words(seed, words) => {
                words.truncate(length);
                words.extend((from..length).map(|place| word(*seed, place)));
            }
            Self::Text(seed, text) => {
                text.truncate(length);
                text.extend((from..length).map(|place| letter(*seed, place)));
            }
            Self::Map(seed, map) => {
                (length..from).for_each(|place| {
                    map.remove(&(place as u64));
                });
                map.extend((from..length).map(|place| (place as u64, word(*seed, place))));
            }
            Self::Boxed(..) => {}
        }
    }

    /// Resizes the value to a random size and a random capacity.
    pub fn resize(&mut self, dice: &mut Dice<'_>) {
        if !matches!(self, Self::Map(..)) || dice.once_in(4) {
            let length = length(dice).min(if matches!(self, Self::Map(..)) { 500 } else { 30_000 });
            self.set_len(length);
        }
        match self {
            Self::Bytes(_, bytes) if dice.once_in(2) => bytes.shrink_to_fit(),
            Self::Words(_, words) if dice.once_in(2) => words.shrink_to_fit(),
            Self::Text(_, text) if dice.once_in(2) => text.shrink_to_fit(),
            Self::Map(_, map) if dice.once_in(2) => map.shrink_to_fit(),
            Self::Bytes(_, bytes) => bytes.reserve_exact(dice.below(5_000)),
            Self::Words(_, words) => words.reserve_exact(dice.below(1_000)),
            _ => {}
        }
    }

    /// Moves it into a block three times as large, and back.
    pub fn flip(&mut self) {
        match self {
            Self::Bytes(_, bytes) => {
                bytes.reserve_exact(2 * bytes.len());
                bytes.shrink_to_fit();
            }
            Self::Words(_, words) => {
                words.reserve_exact(2 * words.len());
                words.shrink_to_fit();
            }
            Self::Text(_, text) => {
                text.reserve_exact(2 * text.len());
                text.shrink_to_fit();
            }
            Self::Map(_, map) => {
                map.reserve(2 * map.len());
                map.shrink_to_fit();
            }
            Self::Boxed(_, words) => *words = words.clone(),
        }
    }

    /// The first part of the value that is not as it was written.
    pub fn damage(&self) -> Option<String> {
        let found = match self {
            Self::Bytes(seed, bytes) => differing(bytes, |place| byte(*seed, place)),
            Self::Words(seed, words) => differing(words, |place| word(*seed, place)),
            Self::Boxed(seed, words) => differing(&words[..], |place| word(*seed, place)),
            Self::Text(seed, text) => {
                differing(text.as_bytes(), |place| letter(*seed, place) as u8)
            }
            Self::Map(seed, map) => {
                let is_lost =
                    |place: &usize| map.get(&(*place as u64)) != Some(&word(*seed, *place));
                (0..map.len()).find(is_lost).map(|place| format!("key {place} is lost or changed"))
            }
        };
        found.map(|what| format!("{} of {} elements: {what}", self.kind(), self.len()))
    }

    /// Ends the run if the content is not as it was written.
    #[track_caller]
    pub fn check(&self) {
        if let Some(damage) = self.damage() {
            panic!("a value that one thread has was written to by another: {damage}");
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Bytes(..) => "Vec<u8>",
            Self::Words(..) => "Vec<u64>",
            Self::Text(..) => "String",
            Self::Map(..) => "HashMap<u64, u64>",
            Self::Boxed(..) => "Box<[u64; 12]>",
        }
    }

    /// The address of its memory; null if it shows none.
    pub fn address(&self) -> *const u8 {
        match self {
            Self::Bytes(_, bytes) => bytes.as_ptr(),
            Self::Words(_, words) => words.as_ptr().cast(),
            Self::Text(_, text) => text.as_ptr(),
            Self::Map(..) => std::ptr::null(),
            Self::Boxed(_, words) => words.as_ptr().cast(),
        }
    }
}

fn differing<T>(elements: &[T], wanted: impl Fn(usize) -> T) -> Option<String>
where
    T: PartialEq + std::fmt::LowerHex,
{
    let place = (0..elements.len()).find(|&place| elements[place] != wanted(place))?;
    Some(format!("{place} is {:#x}, not {:#x}", elements[place], wanted(place)))
}
