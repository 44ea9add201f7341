//! The mock over real sockets, as its clients see it.

#![cfg(test)]

mod answers;
mod echo;
mod faults;
mod program;
mod stop;
mod streams;
mod tls;
mod tokens;
mod wire;
mod witness;
