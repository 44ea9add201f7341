//! Quoting configuration values in messages: without secrets and in one line.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

/// Replacement of a secret.
const MASK: &str = "***";
/// Prefixes of keys of OpenAI and others.
const KEY_PREFIXES: [&str; 3] = ["sk-", "sk_", "AGE-SECRET-KEY-"];
/// Minimum number of letters and digits of a secret without such a prefix.
const LONG: usize = 20;
/// Minimum length of a word that is a secret although it has fewer changes than other secrets.
const VERY_LONG: usize = 40;
/// Minimum number of different letters and digits in such a word.
const DISTINCT: u32 = 8;
/// Minimum number of changes between letters and digits, or from lower to upper case, in a secret.
const CHANGES: usize = 5;
/// Suffixes of the names of options and parameters that contain secrets.
const SECRET_NAMES: [&str; 7] = [
    "password", "passwd", "secret", "token", "api_key", "api-key", "apikey",
];

/// Prepares a message about a directive for the log: masks secrets and escapes control characters.
/// `words` are the name and the arguments of the directive.
#[must_use]
pub fn message(text: &str, words: &[&str]) -> String {
    let mut text = Cow::Borrowed(text);
    for word in words.iter().skip(1) {
        // Masks the whole quoted argument, even if only a part of it looks like a secret.
        let known = tokens(word).any(|token| masked(token).is_some());
        if known && !word.contains("://") && text.contains(word) {
            let kept = kept(word);
            text = Cow::Owned(text.replace(word, &format!("{kept}{MASK}")));
        }
    }
    one_line(&without_secrets(&text))
}

/// Masks everything in a text that looks like a secret.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for token in tokens(text) {
        match masked(token) {
            Some(masked) => shown.push_str(&masked),
            None => shown.push_str(token),
        }
    }
    shown
}

/// Returns the name of an environment variable if it looks like one. Otherwise returns a mask,
/// because it may be a password.
#[must_use]
pub fn variable(name: &str) -> &str {
    let usual = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if name.bytes().all(usual) { name } else { MASK }
}

/// Whether a value begins with a known prefix of keys, in any case.
#[must_use]
pub fn begins_like_a_key(value: &str) -> bool {
    KEY_PREFIXES.iter().any(|prefix| {
        let head = value.get(..prefix.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    })
}

/// Escapes control characters and other characters that affect a terminal.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        let obeyed = c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
        if obeyed {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// The part of an argument that is not secret: the type of its source, or the name of the option.
fn kept(word: &str) -> &str {
    let end = word.find([':', '=']).map_or(0, |at| at + 1);
    let name = &word[..end];
    if name.len() <= 16 && !begins_like_a_key(name) {
        name
    } else {
        ""
    }
}

/// Splits a text into words and the text between them.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let is_between = between(first);
        let end = rest.find(|c| between(c) != is_between);
        let (token, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(token)
    })
}

fn between(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "\"'`,;()<>{}\\".contains(c)
}

/// Masks the secrets in a word; `None` when there are none.
fn masked(word: &str) -> Option<String> {
    if let Some(masked) = without_userinfo(word) {
        // The rest of the address may contain a secret, too.
        let rest = &masked[masked.find(MASK).map_or(0, |at| at + MASK.len())..];
        let head = &masked[..masked.len() - rest.len()];
        let rest = masked_parts(rest).unwrap_or_else(|| rest.to_owned());
        return Some(format!("{head}{rest}"));
    }
    masked_parts(word)
}

/// Masks user and password of an address: `scheme://user:password@host`, or without scheme.
fn without_userinfo(word: &str) -> Option<String> {
    let at = word.rfind('@').filter(|_| !word.starts_with("file:"))?;
    let from = match word[..at].find("://") {
        Some(scheme) => scheme + 3,
        // POOL@UPSTREAM is no address with a password.
        None => word[..at].find(':').map(|_| 0)?,
    };
    (from < at).then(|| format!("{}{MASK}{}", &word[..from], &word[at..]))
}

/// Masks the first secret among the parts of a word, which are separated by `=`, `:` and similar
/// characters, and everything after it. `None` when there is no secret.
fn masked_parts(word: &str) -> Option<String> {
    let mut from = 0;
    loop {
        let part_end = word[from..]
            .find(['=', ':', '?', '&', '@', '#'])
            .map_or(word.len(), |at| from + at);
        let part = &word[from..part_end];
        let names_secret = word[part_end..].starts_with('=') && {
            let lower = part.to_ascii_lowercase();
            SECRET_NAMES.iter().any(|name| lower.ends_with(name))
        };
        if names_secret && part_end + 1 < word.len() {
            return Some(format!("{}{MASK}", &word[..=part_end]));
        }
        // Everything after a key's prefix belongs to the key.
        if let Some(at) = secret_at(part) {
            return Some(format!("{}{MASK}", &word[..from + at]));
        }
        if part_end == word.len() {
            return None;
        }
        from = part_end + 1;
    }
}

/// Where a secret begins in a part of a word.
fn secret_at(part: &str) -> Option<usize> {
    let is_path = part.starts_with(['/', '.']);
    let starts = part.char_indices().scan(' ', |before, (at, c)| {
        Some((at, std::mem::replace(before, c)))
    });
    // Not within a word, as in `task-force`.
    let mut starts = starts.filter(|(_, before)| !before.is_ascii_alphanumeric());
    if let Some((at, _)) = starts.find(|&(at, _)| is_key(&part[at..])) {
        return Some(at);
    }
    if !is_path {
        return is_random(part).then_some(0);
    }
    let mut from = 0;
    for segment in part.split('/') {
        if is_random(segment) {
            return Some(from);
        }
        from += segment.len() + 1;
    }
    None
}

/// Whether a text begins with a known prefix of keys, followed by a letter or digit, or by `*` in a
/// partly masked key.
fn is_key(text: &str) -> bool {
    let mut prefixes = KEY_PREFIXES.iter().filter(|prefix| {
        let head = text.get(..prefix.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    });
    prefixes
        .any(|prefix| text[prefix.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '*'))
}

/// Whether a text is long and looks random.
fn is_random(text: &str) -> bool {
    let letters = text.bytes().filter(u8::is_ascii_alphanumeric).count();
    if letters < LONG {
        return false;
    }
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let longest = words.clone().map(str::len).max().unwrap_or(0);
    let changes: usize = words.map(changes).sum();
    (longest >= VERY_LONG && distinct(text) >= DISTINCT)
        || changes >= CHANGES
        || (longest >= LONG && changes > 1)
}

/// Number of different letters and digits.
fn distinct(text: &str) -> u32 {
    let letters = text.bytes().filter(u8::is_ascii_alphanumeric);
    let seen = letters.fold(0_u128, |seen, byte| seen | 1 << byte);
    seen.count_ones()
}

/// Number of changes between letters and digits, or from lower to upper case.
fn changes(word: &str) -> usize {
    let pairs = word.as_bytes().windows(2);
    let changes = pairs.filter(|pair| {
        let (a, b) = (pair[0], pair[1]);
        a.is_ascii_digit() != b.is_ascii_digit()
            || (a.is_ascii_lowercase() && b.is_ascii_uppercase())
    });
    changes.count()
}
