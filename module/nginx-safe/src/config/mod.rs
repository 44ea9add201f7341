pub(crate) mod directive;
pub(crate) mod entries;
pub(crate) mod location;
pub(crate) mod module;
pub(crate) mod parse;
pub(crate) mod registered;
pub(crate) mod tagged;
pub(crate) mod variable;
