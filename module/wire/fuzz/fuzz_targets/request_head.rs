//! `cargo +nightly fuzz run request_head`
#![no_main]

#[path = "../checks/request_head.rs"]
mod request_head;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    request_head::check(body);
});
