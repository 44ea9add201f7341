//! The mock over real sockets, as its clients see it.

#![cfg(test)]

mod admin;
mod answers;
mod bench;
#[expect(dead_code, reason = "the other test program uses the rest")]
mod capture;
mod echo;
mod endpoints;
mod faults;
mod limits;
mod schema;
mod stop;
mod streams;
mod tls;
mod tokens;
mod wire;
mod witness;
