//! Server-sent events as they come, and what they mean for a measurement.

use serde::Deserialize;
use serde_json::value::RawValue;

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It brings a part of the answer.
    Token,
    /// It brings nothing that anybody reads.
    Other,
    /// The answer is complete.
    Done,
    /// It reports an error.
    Error,
    /// It is not what it should be.
    Malformed,
}

/// Cuts a stream into events.
#[derive(Debug, Default)]
pub(super) struct Events {
    rest: Vec<u8>,
}

impl Events {
    /// Takes what has come, and reports the events that it completes.
    pub(super) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Kind)) {
        let whole;
        let mut bytes = bytes;
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(bytes);
            whole = std::mem::take(&mut self.rest);
            bytes = &whole;
        }
        while let Some((event, after)) = split(bytes) {
            if let Some(kind) = kind(event) {
                each(kind);
            }
            bytes = after;
        }
        self.rest = bytes.to_vec();
    }
}

/// The first event, and what follows its empty line.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == b'\n') {
        let end = from + at;
        match &bytes[end + 1..] {
            [b'\n', after @ ..] | [b'\r', b'\n', after @ ..] => {
                return Some((&bytes[..end], after));
            }
            _ => from = end + 1,
        }
    }
    None
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

/// None for an event without data, such as a comment.
fn kind(event: &[u8]) -> Option<Kind> {
    let data = event
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"data:"))?;
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        return Some(Kind::Done);
    }
    let Ok(event) = serde_json::from_slice::<Event<'_>>(data) else {
        return Some(Kind::Malformed);
    };
    if event.error.is_some_and(|error| error.get() != "null") {
        return Some(Kind::Error);
    }
    let says = |value: Option<&RawValue>| {
        value.is_some_and(|value| !matches!(value.get(), "null" | "\"\""))
    };
    let token = event.choices.iter().any(|choice| {
        let delta = choice.delta.as_ref();
        says(choice.text)
            || delta.is_some_and(|delta| says(delta.content) || says(delta.tool_calls))
    });
    Some(match event.kind.map(|kind| kind.get().trim_matches('"')) {
        Some("response.completed" | "response.incomplete") => Kind::Done,
        Some("response.failed" | "error") => Kind::Error,
        Some(kind) if kind.ends_with(".delta") => Kind::Token,
        _ if token => Kind::Token,
        _ => Kind::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = concat!(
        ": a comment\n\n",
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
        "data: {\"choices\":[{\"text\":\"a\"}]}\r\n\r\n",
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n",
        "data: {\"choices\":[],\"usage\":{}}\n\n",
        "data: {\"choices\":\n\n",
        "data: {\"error\":{\"message\":\"x\"}}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n",
        "data: [DONE]\n\n",
    );

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let kinds = |size: usize| {
            let (mut events, mut kinds) = (Events::default(), Vec::new());
            for piece in STREAM.as_bytes().chunks(size) {
                events.feed(piece, |kind| kinds.push(kind));
            }
            kinds
        };
        use Kind::{Done, Error, Malformed, Other, Token};
        let expected = [
            Other, Token, Token, Token, Token, Other, Malformed, Error, Done, Done,
        ];
        for size in [1, 2, 3, 7, 64, 10_000] {
            assert_eq!(kinds(size), expected, "{size} bytes at a time");
        }
    }

    #[test]
    fn half_an_event_is_none() {
        let mut events = Events::default();
        events.feed(b"data: [DO", |_| panic!("no event"));
        let mut kinds = Vec::new();
        events.feed(b"NE]\n\n", |kind| kinds.push(kind));
        assert_eq!(kinds, [Kind::Done]);
    }
}
