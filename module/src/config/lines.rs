//! Readers of directives, lines of blocks, and parameters.

use nginx_safe::{Conf, ConfResult, Mistake, Position, argument, missing_semicolon};
use openai_core::echo::begins_like_a_key;

/// What a directive's reader returns: see [`nginx_safe::Directive::read`].
pub type Read = Result<(), Option<String>>;

/// Value of a directive and its position, for checks after the whole configuration has been read.
#[derive(Clone)]
pub struct Placed<T> {
    pub value: T,
    pub at: Position,
}

impl<T> Placed<T> {
    pub fn new(conf: &Conf, value: T) -> Self {
        let at = conf.position();
        Self { value, at }
    }

    /// A mistake in the directive.
    pub fn mistake(&self, message: impl Into<String>) -> Mistake {
        self.at.mistake(message)
    }

    /// Another value for the same directive.
    pub fn with<U>(&self, value: U) -> Placed<U> {
        let at = self.at.clone();
        Placed { value, at }
    }
}

/// A mistake in a directive; without a position if the directive is absent.
pub fn mistake<T>(directive: Option<&Placed<T>>, message: String) -> Mistake {
    match directive {
        Some(placed) => placed.mistake(message),
        None => message.into(),
    }
}

/// Makes `read` return its value with the current position.
pub fn placed<T>(
    conf: &Conf,
    read: impl Fn(&str) -> ConfResult<T>,
) -> impl Fn(&str) -> ConfResult<Placed<T>> {
    move |text| read(text).map(|value| Placed::new(conf, value))
}

/// A directive, a line of a block, or a `NAME=VALUE` parameter.
pub struct Line<'a> {
    pub name: &'a str,
    pub values: &'a [&'a str],
}

impl Line<'_> {
    /// Reads its only argument into `place`, which must be empty.
    pub fn one<T>(
        &self,
        place: &mut Option<T>,
        read: impl FnOnce(&str) -> ConfResult<T>,
    ) -> ConfResult {
        self.many(place, |values| match values {
            [value] => read(value),
            _ => Err("takes one argument".into()),
        })
    }

    /// Reads its arguments into `place`, which must be empty.
    pub fn many<T>(
        &self,
        place: &mut Option<T>,
        read: impl FnOnce(&[&str]) -> ConfResult<T>,
    ) -> ConfResult {
        if place.is_some() {
            return Err("is a duplicate, remove one of them".into());
        }
        *place = Some(read(self.values)?);
        Ok(())
    }
}

/// Reads the arguments of the directive.
pub fn directive(conf: &Conf, read: impl FnOnce(&Line<'_>) -> ConfResult) -> Read {
    match conf.words()?.as_slice() {
        [name, values @ ..] => Ok(read(&Line { name, values })?),
        [] => Err(None),
    }
}

/// Reads the lines of the directive's block; each must begin with one of these names.
pub fn block(
    conf: &mut Conf,
    names: &[&str],
    mut read: impl FnMut(&Conf, &Line<'_>) -> ConfResult,
) -> Read {
    let title = match conf.words()?.as_slice() {
        [name, block, ..] => format!("{name} \"{block}\""),
        words => words.concat(),
    };
    let read = |conf: &Conf, line: nginx_safe::Block<'_>| {
        let [name, values @ ..] = line.words else {
            return Ok(());
        };
        if !names.contains(name) {
            let names = names.join(", ");
            return Err(format!(
                "{title}: unknown directive \"{name}\", it must be one of {names}"
            ));
        }
        read(conf, &Line { name, values }).map_err(|e| {
            // If this line lacks its semicolon, the name of the next line is among its values.
            let next = values.iter().skip(1).find(|value| names.contains(value));
            let e = next.map_or(e, |next| missing_semicolon(next));
            format!("{title}: {name}: {e}")
        })
    };
    conf.block(read).map_err(|()| None)
}

/// Reads `NAME=VALUE` parameters with one of these names.
pub fn parameters(
    words: &[&str],
    names: &[&str],
    mut read: impl FnMut(&Line<'_>) -> ConfResult,
) -> ConfResult {
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or_default();
        if !names.contains(&name) {
            let names = names.join("=, ");
            return Err(format!(
                "invalid parameter \"{word}\", it must be one of {names}="
            ));
        }
        let values = &[value];
        read(&Line { name, values }).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

/// Error message for an unknown name, with the names that exist.
pub fn none_named<'a>(
    kind: &str,
    directive: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> String {
    let known: Vec<_> = known.map(|name| format!("\"{name}\"")).collect();
    let known = match known.as_slice() {
        [] => String::new(),
        known => format!(", or use {}", known.join(" or ")),
    };
    format!("no {kind} \"{name}\"; define it in http by \"{directive} {name} {{ ... }}\"{known}")
}

/// Reads the name of the directive's block. `reserved` has another meaning and is rejected.
pub fn name(
    conf: &Conf,
    reserved: &str,
    is_taken: impl FnOnce(&str) -> bool,
) -> ConfResult<String> {
    let name = argument(conf)?;
    if name.is_empty() || name == reserved || begins_like_a_key(&name) {
        return Err(format!("invalid name \"{name}\", use another"));
    }
    if is_taken(&name) {
        return Err(format!("\"{name}\" is a duplicate, use another name"));
    }
    Ok(name)
}
