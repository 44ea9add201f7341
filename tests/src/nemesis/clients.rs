//! The clients of both gateways, and what became of their requests.

use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::load_client::{END, leave_early, receive, status};
use crate::raw_client::post;

/// One of so many requests is a stream that outlives its lease several times.
const LONG: u64 = 200;
/// How long a client that was refused waits before it comes again.
const RESPITE: Duration = Duration::from_millis(20);

/// A request by its number: a function of the seed.
pub(crate) struct Clients {
    pub(crate) ports: [u16; 2],
    pub(crate) seed: u64,
    pub(crate) ttl: Duration,
    pub(crate) leavers: u64,
}

/// How a request ends that arrives whole.
pub(crate) const COMPLETE: &str = "complete";
/// How a request ends whose client leaves.
pub(crate) const LEFT: &str = "left";
/// How a request ends whose connection breaks.
pub(crate) const BROKEN: &str = "broken";

impl Clients {
    /// Sends a request, and says what became of it.
    pub(crate) fn send(&self, number: usize) -> String {
        let number = number as u64;
        let mut random = StdRng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A));
        let port = self.ports[(number % 2) as usize];
        let (words, delay) = if random.random_ratio(1, LONG as u32) {
            let ms = self.ttl.as_millis() as u64;
            (random.random_range(ms * 3 / 2..ms * 3) / 20, 20_000)
        } else {
            (3, random.random_range(0..4) * 500)
        };
        let head = format!(
            "Content-Type: application/json\r\nX-Mock-Words: {words}\r\nX-Mock-Delay: {delay}us\r\n"
        );
        let request = post(&head, r#"{"model":"gpt-4o","stream":true}"#);
        if self.leavers > 0 && number.is_multiple_of(self.leavers) {
            leave_early(port, &request, number as usize);
            return LEFT.to_owned();
        }
        let ended = match receive(port, &request) {
            Ok(answer) => outcome(&answer),
            Err(_) => BROKEN.to_owned(),
        };
        if ended != COMPLETE {
            thread::sleep(RESPITE);
        }
        ended
    }
}

/// What an answer is: by its status and the code of its error, if it has one.
fn outcome(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let code = text
        .split_once("\"code\":\"")
        .and_then(|(_, rest)| Some(rest.split_once('"')?.0));
    match (status(answer), code) {
        (Some(200), None) if answer.ends_with(END) => COMPLETE.to_owned(),
        (Some(status), Some(code)) => format!("{status} {code}"),
        (Some(200), None) | (None, _) => BROKEN.to_owned(),
        (Some(status), None) => status.to_string(),
    }
}
