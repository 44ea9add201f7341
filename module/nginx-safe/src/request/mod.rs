pub(crate) mod body;
pub(crate) mod content;
pub(crate) mod context;
pub(crate) mod ending;
pub(crate) mod handle;
pub(crate) mod headers;
pub(crate) mod phase;
pub(crate) mod reply;

#[cfg(test)]
mod tests;
