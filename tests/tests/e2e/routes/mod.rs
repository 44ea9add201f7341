//! Requests go where their model is served.

mod bed;
mod choice;
mod misconfigured;
mod variables;
