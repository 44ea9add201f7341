//! Sizes and times as nginx writes them.

use nginx_safe::ConfResult;

/// A size: bytes, or with `k`, `m` or `g`.
pub fn size(text: &str) -> ConfResult<usize> {
    let (digits, unit) = split(text);
    let factor = match unit {
        "" => Some(1),
        "k" | "K" => Some(1 << 10),
        "m" | "M" => Some(1 << 20),
        "g" | "G" => Some(1 << 30),
        _ => None,
    };
    let value = digits
        .parse::<usize>()
        .ok()
        .zip(factor)
        .and_then(|(n, f)| n.checked_mul(f));
    value.ok_or_else(|| format!("invalid size \"{text}\""))
}

/// A time in milliseconds: seconds, or with `ms`, `s`, `m`, `h` or `d`.
pub fn time_ms(text: &str) -> ConfResult<u64> {
    let (digits, unit) = split(text);
    let factor = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let value = digits.parse::<u32>().ok().zip(factor);
    value
        .map(|(n, f)| u64::from(n) * f)
        .ok_or_else(|| format!("invalid time \"{text}\""))
}

/// `on` or `off`.
pub fn flag(text: &str) -> ConfResult<bool> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!(
            "invalid value \"{text}\", it must be \"on\" or \"off\""
        )),
    }
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

/// Notes what a line of a block says that may stand once.
pub fn once<T>(place: &mut Option<T>, value: ConfResult<T>) -> ConfResult {
    if place.is_some() {
        return Err("is a duplicate".into());
    }
    *place = Some(value?);
    Ok(())
}
