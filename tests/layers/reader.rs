//! Reads Rust source as far as `layers.rs` needs it: tokens, and the paths in them.

/// A word or sign of Rust source, with its line.
pub type Token = (String, usize);

/// Splits source into tokens, without comments, strings and characters.
pub fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |place: usize| chars.get(place).copied().unwrap_or('\0');
    let (mut found, mut place, mut line) = (Vec::new(), 0, 1);
    while place < chars.len() {
        let start = place;
        match (at(place), at(place + 1)) {
            ('/', '/') => {
                while place < chars.len() && at(place) != '\n' {
                    place += 1;
                }
            }
            ('/', '*') => place = end_of_comment(&chars, place),
            ('"', _) => place = end_of_string(&chars, place),
            ('r', '"' | '#') if is_raw_string(&chars, place) => {
                place = end_of_raw_string(&chars, place);
            }
            // A character, not a lifetime.
            ('\'', '\\') => {
                place += 3;
                while place < chars.len() && at(place) != '\'' {
                    place += 1;
                }
                place += 1;
            }
            ('\'', _) if at(place + 2) == '\'' => place += 3,
            (':', ':') => {
                found.push(("::".into(), line));
                place += 2;
            }
            (first, _) if first.is_alphanumeric() || first == '_' => {
                while at(place).is_alphanumeric() || at(place) == '_' {
                    place += 1;
                }
                found.push((chars[start..place].iter().collect(), line));
            }
            (sign, _) => {
                if !sign.is_whitespace() {
                    found.push((sign.into(), line));
                }
                place += 1;
            }
        }
        line += chars[start..place.min(chars.len())].iter().filter(|&&c| c == '\n').count();
    }
    found
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut place) = (0, start);
    while place < chars.len() {
        match chars[place..] {
            ['/', '*', ..] => (depth, place) = (depth + 1, place + 2),
            ['*', '/', ..] => (depth, place) = (depth - 1, place + 2),
            _ => place += 1,
        }
        if depth == 0 {
            break;
        }
    }
    place
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut place = start + 1;
    while place < chars.len() && chars[place] != '"' {
        place += if chars[place] == '\\' { 2 } else { 1 };
    }
    place + 1
}

fn is_raw_string(chars: &[char], start: usize) -> bool {
    chars[start + 1..].iter().find(|&&c| c != '#') == Some(&'"')
}

fn end_of_raw_string(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|&&c| c == '#').count();
    let mut place = start + hashes + 2;
    while place < chars.len() {
        let ends = chars[place] == '"'
            && chars[place + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
        place += 1;
        if ends {
            break;
        }
    }
    place + hashes
}

/// The paths that begin with `crate`, `super` or `self`, as paths from the crate's root,
/// with their lines; groups are written out. `module` is where the source lies.
pub fn paths(source: &str, module: &[String]) -> Vec<(Vec<String>, usize)> {
    let tokens = tokens(source);
    let word = |place: usize| tokens.get(place).map_or("", |token| token.0.as_str());
    // The modules that are open here, and at which depth of braces each began.
    let (mut inline, mut depth) = (Vec::<(String, usize)>::new(), 0);
    let (mut found, mut place) = (Vec::new(), 0);
    while place < tokens.len() {
        match word(place) {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last().is_some_and(|(_, began)| *began == depth) {
                    inline.pop();
                }
            }
            "mod" if word(place + 2) == "{" => {
                inline.push((word(place + 1).into(), depth));
            }
            // `pub(crate)` is no path.
            "crate" | "super" | "self"
                if word(place + 1) == "::" && (place == 0 || word(place - 1) != "::") =>
            {
                let mut here = module.to_vec();
                here.extend(inline.iter().map(|(name, _)| name.clone()));
                place = read_path(&tokens, place, &here, &mut found);
                continue;
            }
            _ => {}
        }
        place += 1;
    }
    found
}

/// Reads one path, or a tree of paths, that begins at `place`, in the module `here`.
/// Returns the place behind the path.
pub fn read_path(
    tokens: &[Token],
    mut place: usize,
    here: &[String],
    found: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    let word = |place: usize| tokens.get(place).map_or("", |token| token.0.as_str());
    let line = tokens[place].1;
    let mut path = here.to_vec();
    loop {
        match word(place) {
            "crate" => path.clear(),
            "super" => drop(path.pop()),
            "self" => {}
            "{" => {
                place += 1;
                while !matches!(word(place), "}" | "") {
                    place = read_path(tokens, place, &path, found);
                    // The rest of a member: `as name`, and a comma.
                    while !matches!(word(place), "," | "}" | "") {
                        place += 1;
                    }
                    place += usize::from(word(place) == ",");
                }
                return place + 1;
            }
            name => path.push(name.into()),
        }
        place += 1;
        if word(place) != "::" || word(place + 1) == "<" {
            found.push((path, line));
            return place;
        }
        place += 1;
    }
}
