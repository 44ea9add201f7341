//! Values of directives: sizes, times, numbers and choices.

use std::ops::RangeInclusive;

use nginx_safe::ConfResult;
use openai_core::digits;

/// Milliseconds in a second, an hour and a day.
pub const SECOND: u64 = 1_000;
pub const HOUR: u64 = 3_600 * SECOND;
pub const DAY: u64 = 24 * HOUR;

/// The units of times, in milliseconds; the largest first.
const TIMES: [(&str, u64); 5] = [
    ("d", DAY),
    ("h", HOUR),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1),
];

/// Reads a size in bytes, or with the unit `k`, `m` or `g`.
pub fn size(text: &str) -> ConfResult<u64> {
    let (digits, unit) = split(text);
    let factor = match unit {
        "" => Some(1),
        "k" | "K" => Some(1 << 10),
        "m" | "M" => Some(1 << 20),
        "g" | "G" => Some(1 << 30),
        _ => None,
    };
    let value = digits.parse::<u64>().ok().zip(factor);
    let value = value.and_then(|(n, f)| n.checked_mul(f));
    value.ok_or_else(|| {
        format!("invalid size \"{text}\", it must be a number, in bytes or with k, m or g, as 32m")
    })
}

/// Reads a time, in milliseconds. The unit is `ms`, `s`, `m`, `h` or `d`; seconds if there is none.
pub fn time_ms(text: &str) -> ConfResult<u64> {
    let (digits, unit) = split(text);
    let unit = if unit.is_empty() { "s" } else { unit };
    let factor = TIMES.iter().find(|(name, _)| *name == unit);
    let value = digits.parse::<u32>().ok().zip(factor);
    value
        .map(|(n, (_, factor))| u64::from(n) * factor)
        .ok_or_else(|| {
            format!(
                "invalid time \"{text}\", it must be a number with one unit: ms, s, m, h or d, as 90s"
            )
        })
}

/// Reads a time within this range, in milliseconds.
pub fn time(range: RangeInclusive<u64>) -> impl Fn(&str) -> ConfResult<u64> {
    move |text| {
        let known = time_ms(text).ok();
        known.filter(|ms| range.contains(ms)).ok_or_else(|| {
            let (least, most) = (as_time(*range.start()), as_time(*range.end()));
            let wanted = format!("it must be from {least} to {most}");
            match known {
                Some(_) => format!("\"{text}\" is out of range, {wanted}"),
                None => format!("invalid time \"{text}\", {wanted}, with one unit"),
            }
        })
    }
}

/// Formats a time with the largest unit that divides it.
pub fn as_time(ms: u64) -> String {
    let unit = TIMES
        .iter()
        .find(|(_, factor)| ms >= *factor && ms.is_multiple_of(*factor));
    let (name, factor) = unit.unwrap_or(&("ms", 1));
    format!("{}{name}", ms / factor)
}

/// Reads a number within this range.
pub fn number(range: RangeInclusive<u32>) -> impl Fn(&str) -> ConfResult<u32> {
    move |text| {
        let number = digits(text).filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let wanted = format!("a number from {} to {}", range.start(), range.end());
            invalid(text, &wanted)
        })
    }
}

/// Reads one of these words, and returns its value.
pub fn one_of<T: Copy>(words: &[(&str, T)]) -> impl Fn(&str) -> ConfResult<T> {
    move |text| {
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|&(_, value)| value).ok_or_else(|| {
            let quoted: Vec<_> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            invalid(text, &quoted.join(" or "))
        })
    }
}

/// Reads `on` or `off`.
pub fn flag(text: &str) -> ConfResult<bool> {
    one_of(&[("on", true), ("off", false)])(text)
}

/// Reads `off` as this value, and any other text with `read`.
pub fn unless_off<T: Copy>(
    off: T,
    read: impl Fn(&str) -> ConfResult<T>,
) -> impl Fn(&str) -> ConfResult<T> {
    move |text| match text {
        "off" => Ok(off),
        _ => read(text).map_err(|e| format!("{e}, or \"off\"")),
    }
}

/// Reads `off` as `None`, and any other text with `read`.
pub fn or_off<T: Copy>(
    read: impl Fn(&str) -> ConfResult<T>,
) -> impl Fn(&str) -> ConfResult<Option<T>> {
    unless_off(None, move |text| read(text).map(Some))
}

/// Reads any text.
pub fn text(text: &str) -> ConfResult<String> {
    Ok(text.to_string())
}

/// Error message for an invalid value; `wanted` says what is valid.
pub fn invalid(text: &str, wanted: &str) -> String {
    format!("invalid value \"{text}\", it must be {wanted}")
}

fn split(text: &str) -> (&str, &str) {
    let unit = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(unit.unwrap_or(text.len()))
}
