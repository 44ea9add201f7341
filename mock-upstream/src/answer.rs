//! Answers that leave in one piece.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::chunks::Usage;
use crate::head::ChatHead;
use crate::script::Script;
use crate::witness::InFlight;

/// A body in one piece; the request is over just before it leaves.
#[derive(Debug)]
pub(crate) struct Whole {
    bytes: Option<Bytes>,
    in_flight: InFlight,
}

impl Whole {
    pub(crate) fn new(bytes: impl Into<Bytes>, in_flight: InFlight) -> Self {
        Self {
            bytes: Some(bytes.into()),
            in_flight,
        }
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = self.bytes.take();
        self.in_flight.finish();
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// A body that breaks before its first byte, and with it the connection before the headers.
#[derive(Debug)]
pub(crate) struct Broken;

impl Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
    }
}

/// The `chat.completion` object: what the stream would have said, at once.
pub(crate) fn completion(
    script: &Script,
    head: &ChatHead<'_>,
    words: u32,
    id: &str,
    created: u64,
) -> String {
    let model = head.model;
    let usage = Usage {
        prompt: head.prompt_tokens,
        completion: u64::from(words),
    };
    let mut json = format!(
        "{{\"id\":\"{id}\",\"object\":\"chat.completion\",\"created\":{created},\
         \"model\":{model},\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\""
    );
    for word in (0..words).filter_map(|index| script.word(index, words)) {
        json.push_str(&word.escaped);
    }
    json.push_str("\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":");
    json.push_str(&usage.to_json());
    json.push('}');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completion_says_what_the_stream_says() {
        let head = ChatHead::read(br#"{"model":"gpt-4o","messages":[1]}"#);
        let script = Script::new("say \"hi\"");
        insta::assert_snapshot!(completion(&script, &head, 3, "chatcmpl-1", 7), @r#"{"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"say \"hi\" say ","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":3,"total_tokens":4}}"#);
    }
}
