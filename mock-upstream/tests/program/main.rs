//! The program, and what else has to start processes: while one is being started it holds copies
//! of every socket of the tests beside it, whose ends would then come late.

#![cfg(test)]

#[path = "../http/capture.rs"]
mod capture;
mod files;
mod program;
mod start;
mod ways;
#[path = "../http/wire.rs"]
#[expect(dead_code, reason = "the other test program uses the rest")]
mod wire;
