//! Readers of directives, blocks and parameters.

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
}

/// Makes `read` return its value with the current position.
pub fn placed<T>(
    conf: &Conf,
    read: impl Fn(&str) -> ConfResult<T>,
) -> impl Fn(&str) -> ConfResult<Placed<T>> {
    move |text| read(text).map(|value| Placed::new(conf, value))
}

const DUPLICATE: &str = "is a duplicate, remove one of them";

/// A directive of a block, or a `NAME=VALUE` parameter. Its reader calls one of the methods for
/// each name that is allowed.
pub struct Statement<'a> {
    name: &'a str,
    values: &'a [&'a str],
    /// The allowed names.
    allowed: Vec<&'static str>,
    /// Names of the statements so far.
    seen: &'a mut Vec<&'static str>,
    result: Option<ConfResult>,
}

impl<'a> Statement<'a> {
    fn new(name: &'a str, values: &'a [&'a str], seen: &'a mut Vec<&'static str>) -> Self {
        Self {
            name,
            values,
            allowed: vec![],
            seen,
            result: None,
        }
    }

    /// Reads the arguments of a statement that may be repeated.
    pub fn each(&mut self, name: &'static str, read: impl FnOnce(&[&str]) -> ConfResult) {
        self.allowed.push(name);
        if self.name == name {
            self.result = Some(read(self.values));
            self.seen.push(name);
        }
    }

    /// Reads the arguments of a statement that must not be repeated.
    pub fn once(&mut self, name: &'static str, read: impl FnOnce(&[&str]) -> ConfResult) {
        let is_duplicate = self.seen.contains(&name);
        self.each(name, |values| match is_duplicate {
            true => Err(DUPLICATE.into()),
            false => read(values),
        });
    }

    /// Reads the only argument of a statement that must not be repeated into `place`.
    pub fn one<T, P: From<T>>(
        &mut self,
        name: &'static str,
        place: &mut P,
        read: impl FnOnce(&str) -> ConfResult<T>,
    ) {
        self.once(name, |values| {
            *place = single(read)(values)?.into();
            Ok(())
        });
    }
}

/// Makes `read` take a list of arguments, which must have one.
pub fn single<T>(
    read: impl FnOnce(&str) -> ConfResult<T>,
) -> impl FnOnce(&[&str]) -> ConfResult<T> {
    |values| match values {
        [value] => read(value),
        _ => Err("takes one argument".into()),
    }
}

/// Reads the only argument of the directive into `place`, which must be empty.
pub fn one<T>(
    conf: &Conf,
    place: &mut Option<T>,
    read: impl FnOnce(&str) -> ConfResult<T>,
) -> Read {
    many(conf, place, single(read))
}

/// Reads the arguments of the directive into `place`, which must be empty.
pub fn many<T>(
    conf: &Conf,
    place: &mut Option<T>,
    read: impl FnOnce(&[&str]) -> ConfResult<T>,
) -> Read {
    if place.is_some() {
        return Err(Some(DUPLICATE.into()));
    }
    let words = conf.words()?;
    *place = Some(read(words.get(1..).unwrap_or_default())?);
    Ok(())
}

/// Reads the directive's block. Returns the names of the directives in it.
pub fn block(
    conf: &mut Conf,
    mut read: impl FnMut(&Conf, &mut Statement<'_>),
) -> Result<Vec<&'static str>, Option<String>> {
    let title = match conf.words()?.as_slice() {
        [name, block, ..] => format!("{name} \"{block}\""),
        words => words.concat(),
    };
    let mut seen = vec![];
    let read = |conf: &Conf, line: nginx_safe::Block<'_>| {
        let [name, values @ ..] = line.words else {
            return Ok(());
        };
        let mut statement = Statement::new(name, values, &mut seen);
        read(conf, &mut statement);
        let allowed = statement.allowed;
        let result = statement.result.ok_or_else(|| {
            let names = allowed.join(", ");
            format!("{title}: unknown directive \"{name}\", it must be one of {names}")
        })?;
        result.map_err(|e| {
            // If this line lacks its semicolon, the name of the next line is among its values.
            let next = values.iter().skip(1).find(|value| allowed.contains(value));
            let e = next.map_or(e, |next| missing_semicolon(next));
            format!("{title}: {name}: {e}")
        })
    };
    conf.block(read).map_err(|()| None)?;
    Ok(seen)
}

/// Reads `NAME=VALUE` parameters.
pub fn parameters(words: &[&str], mut read: impl FnMut(&mut Statement<'_>)) -> ConfResult {
    let mut seen = vec![];
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or_default();
        let values = [value];
        let mut statement = Statement::new(name, &values, &mut seen);
        read(&mut statement);
        let names = statement.allowed.join("=, ");
        let unknown = || format!("invalid parameter \"{word}\", it must be one of {names}=");
        let result = statement.result.ok_or_else(unknown)?;
        result.map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

/// Like [`parameters`], but fails if there are none.
pub fn some_parameters(words: &[&str], mut read: impl FnMut(&mut Statement<'_>)) -> ConfResult {
    if !words.is_empty() {
        return parameters(words, read);
    }
    let mut seen = vec![];
    let mut none = Statement::new("", &[], &mut seen);
    read(&mut none);
    let names = none.allowed.join("=, ");
    Err(format!("takes one or more parameters of {names}="))
}

/// Position of a name among those that exist; if it is unknown, the error message lists them.
pub fn find<'a>(
    kind: &str,
    directive: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> ConfResult<usize> {
    known
        .clone()
        .position(|known| known == name)
        .ok_or_else(|| {
            let known: Vec<_> = known.map(|name| format!("\"{name}\"")).collect();
            let known = match known.as_slice() {
                [] => String::new(),
                known => format!(", or use {}", known.join(" or ")),
            };
            format!(
                "no {kind} \"{name}\"; define it in http by \"{directive} {name} {{ ... }}\"{known}"
            )
        })
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

/// Copies a setting from the level above if it is not set.
pub fn inherit<T: Clone>(own: &mut Option<T>, above: &Option<T>) {
    if own.is_none() {
        own.clone_from(above);
    }
}

/// Declares a struct with settings that are inherited from the level above. Each has a method
/// that returns its value, or the default if no level sets it.
macro_rules! settings {
    (
        $(#[$about:meta])*
        pub struct $settings:ident { $($(#[$note:meta])* $seen:vis $own:ident: $kind:ty,)* }
        inherited { $($(#[$doc:meta])* $name:ident: $type:ty = $default:expr,)+ }
    ) => {
        $(#[$about])*
        #[derive(Default)]
        pub struct $settings {
            $($(#[$note])* $seen $own: $kind,)*
            $(pub(super) $name: Option<$type>,)+
        }

        impl $settings {
            /// Copies the settings that are not set from the level above.
            pub(super) fn inherit_settings(&mut self, above: &Self) {
                $(super::lines::inherit(&mut self.$name, &above.$name);)+
            }

            $($(#[$doc])*
            pub fn $name(&self) -> $type {
                self.$name.unwrap_or($default)
            })+
        }
    };
}
