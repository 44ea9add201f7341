pub(crate) mod abort;
pub(crate) mod attempt;
pub(crate) mod rewrite;
pub(crate) mod swap;
pub(crate) mod wrap;
