//! Requests go where their model is served.

mod aliases;
mod bed;
mod choice;
mod misconfigured;
mod restored;
mod variables;
